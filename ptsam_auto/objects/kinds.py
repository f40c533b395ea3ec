"""The formats in which objects are exported. This module does not import slow packages."""

EXPORTS = ("geojson", "imagej", "coco", "ome-zarr")

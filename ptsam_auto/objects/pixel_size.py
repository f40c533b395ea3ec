"""The physical size of a pixel, as a TIFF states it (OME-XML, ImageJ's description, resolution tags), or OME-Zarr."""

import re
from dataclasses import dataclass
from pathlib import Path

import tifffile
from defusedxml import ElementTree

from ptsam_auto.data.ome_zarr import OmeZarr
from ptsam_auto.data.raster import ZARR_SUFFIX, failures_as_problems
from ptsam_auto.errors import ConfigError, DatasetError

TIFF_SUFFIXES = (".tif", ".tiff")
MICROMETRES = {
    **{"nm": 1e-3, "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "\\u00b5m": 1.0, "mm": 1e3, "cm": 1e4},
    **{"m": 1e6, "pm": 1e-6, "å": 1e-4, "inch": 25_400.0},
    # As OME-Zarr writes them.
    **{"picometer": 1e-6, "angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3},
    **{"centimeter": 1e4, "meter": 1e6},
}
OF_TAG = {2: 25_400.0, 3: 1e4}  # TIFF's ResolutionUnit: inch and centimetre, in micrometres
# Programs write resolutions for screens and printers that mean nothing; a microscope's pixel is smaller than this.
LARGEST_OF_TAG = 20.0  # micrometres
OME = "{*}"


@dataclass(frozen=True)
class PixelSize:
    """Width and height of a pixel in micrometres, both above 0."""

    width: float
    height: float

    @property
    def area(self) -> float:
        """Return the area of a pixel in square micrometres."""
        return self.width * self.height

    @classmethod
    def parse(cls, text: str) -> "PixelSize":
        """Return the size that a user gives, such as "0.65" or "0.65um" or "120nm"; without a unit it is micrometres.

        Raises:
            ConfigError: It is not a size.
        """
        matched = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(\S*)\s*", text)
        factor = MICROMETRES.get(matched[2].lower()) if matched and matched[2] else 1.0
        try:
            side = float(matched[1]) * factor if matched and factor else 0.0
        except ValueError:
            side = 0.0
        if not 0 < side < float("inf"):
            raise ConfigError(f'--pixel-size is "{text}"; expected a size such as 0.65, 0.65um or 120nm')
        return cls(side, side)


def pixel_size_of(path: Path) -> PixelSize | None:
    """Return the size of a pixel that a file states, or None."""
    if path.name.lower().endswith(ZARR_SUFFIX):
        return _of_zarr(path)
    if not path.name.lower().endswith(TIFF_SUFFIXES):
        return None
    try:
        with tifffile.TiffFile(path) as tiff:
            return _of_ome(tiff.ome_metadata) or _of_imagej(tiff) or _of_tags(tiff)
    except (OSError, ValueError, KeyError, IndexError, tifffile.TiffFileError, ElementTree.ParseError):
        return None  # The file was read already, so only its description is unusual.


def _of_zarr(path: Path) -> PixelSize | None:
    import zarr

    try:
        with failures_as_problems(path):
            image = OmeZarr.open(path, zarr)
    except DatasetError:
        return None  # The image was read already, so only its description is unusual.
    known = {axis: (size, unit) for axis, size, unit in zip(image.axes, image.scale, image.units, strict=True)}
    sides = [_micrometres(str(known[axis][0]), known[axis][1]) for axis in "XY" if axis in known]
    return PixelSize(*sides) if len(sides) == 2 and all(sides) else None


def _of_ome(xml: str | None) -> PixelSize | None:
    pixels = ElementTree.fromstring(xml).find(f".//{OME}Pixels") if xml else None
    if pixels is None:
        return None
    sides = [
        _micrometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY"
    ]
    return PixelSize(*sides) if all(sides) else None


def _of_imagej(tiff: tifffile.TiffFile) -> PixelSize | None:
    unit = str((tiff.imagej_metadata or {}).get("unit", ""))
    if unit.lower() not in MICROMETRES:
        return None
    return _of_resolution(tiff, MICROMETRES[unit.lower()])


def _of_tags(tiff: tifffile.TiffFile) -> PixelSize | None:
    tag = tiff.pages[0].tags.get("ResolutionUnit")
    unit = OF_TAG.get(int(tag.value)) if tag is not None else None
    found = _of_resolution(tiff, unit) if unit else None
    return found if found and max(found.width, found.height) <= LARGEST_OF_TAG else None


def _of_resolution(tiff: tifffile.TiffFile, unit: float) -> PixelSize | None:
    """Return the size from the numbers of pixels per unit."""
    tags = [tiff.pages[0].tags.get(name) for name in ("XResolution", "YResolution")]
    if any(tag is None for tag in tags):
        return None
    per_unit = [tag.value[0] / tag.value[1] for tag in tags if tag.value[1]]
    return PixelSize(unit / per_unit[0], unit / per_unit[1]) if len(per_unit) == 2 and all(per_unit) else None


def _micrometres(value: str | None, unit: str) -> float:
    size = float(value) * MICROMETRES.get(unit.lower(), 0.0) if value else 0.0
    return size if 0 < size < float("inf") else 0.0

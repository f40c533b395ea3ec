"""What is exported is read by the libraries of the other side, and is what was in the mask."""

import json

import numpy as np
import pytest
import roifile
import shapely
import shapely.geometry
import tifffile
import zarr
from ome_types import from_tiff
from ome_zarr_models.v04.image import ImageAttrs
from pycocotools.coco import COCO
from scipy import ndimage
from skimage.draw import polygon2mask

from ptsam_auto.data.raster import Pages
from ptsam_auto.files import replacing_folder
from ptsam_auto.objects.exports import Coco, annotations_of, features_of, rois_of, write_geojson, write_rois
from ptsam_auto.objects.label_files import write_labels
from ptsam_auto.objects.measures import Page, rows_of_objects
from ptsam_auto.objects.outlines import outlines
from ptsam_auto.objects.pixel_size import PixelSize, pixel_size_of
from ptsam_auto.objects.separation import NOT_LEARNED, separated
from ptsam_auto.objects.zarr_labels import ZarrLabels


def random_labels(seed=0, shape=(60, 80)):
    """Objects of all shapes, some with holes, some at the border."""
    mask = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2) > 0
    mask[:16, :16] = False
    labels = separated(mask, NOT_LEARNED)
    labels[1:14, 1:14] = labels.max() + 1
    labels[6:9, 6:9] = 0
    return labels


def inside(polygon, shape):
    """Return the pixels whose centres are in a polygon."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return shapely.contains_xy(polygon, columns + 0.5, rows + 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_geojson_has_valid_polygons_with_exactly_the_pixels_of_the_objects(tmp_path, seed):
    page = Page("a", random_labels(seed), None, PixelSize(0.5, 0.5))
    write_geojson(tmp_path / "a.geojson", features_of(page, rows_of_objects(page), "cells"))
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert len(features) == page.labels.max()
    assert any(len(feature["geometry"]["coordinates"]) > 1 for feature in features), "an object with a hole"
    for number, feature in enumerate(features, start=1):
        polygon = shapely.geometry.shape(feature["geometry"])
        assert polygon.is_valid, shapely.is_valid_reason(polygon)
        assert (inside(polygon, page.labels.shape) == (page.labels == number)).all()
        properties = feature["properties"]
        assert (properties["objectType"], properties["classification"]["name"]) == ("detection", "cells")
        assert properties["measurements"]["area_px"] == (page.labels == number).sum()
        assert "image" not in properties["measurements"]


def test_imagej_finds_each_object_on_its_page(tmp_path):
    first, second = random_labels(0), random_labels(1)
    write_rois(tmp_path / "stack.zip", [*rois_of(Page("p0", first), 1), *rois_of(Page("p1", second), 2)])
    rois = roifile.roiread(tmp_path / "stack.zip")
    assert len(rois) == first.max() + second.max()
    assert {roi.position for roi in rois} == {1, 2}
    on_second = [roi for roi in rois if roi.position == 2]
    filled = ndimage.binary_fill_holes(second == 1)
    ring = on_second[0].coordinates()
    drawn = polygon2mask(second.shape, ring[:, ::-1] - 0.5)
    assert np.count_nonzero(drawn != filled) <= len(ring), "but for pixels on the outline"


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools itself
def test_coco_gives_back_the_objects(tmp_path):
    labels = random_labels(2)
    coco = Coco(["cells"])
    coco.add("a.png", labels.shape, annotations_of(Page("a", labels)))
    coco.add("empty.png", (4, 5), annotations_of(Page("empty", np.zeros((4, 5), np.int32))))
    coco.write(tmp_path / "coco.json")
    read = COCO(tmp_path / "coco.json")
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == ["a.png", "empty.png"]
    assert read.loadCats(1)[0]["name"] == "cells"
    annotations = read.loadAnns(read.getAnnIds(imgIds=1))
    assert len(annotations) == labels.max()
    kinds = set()
    for number, annotation in enumerate(annotations, start=1):
        drawn, truth = read.annToMask(annotation).astype(bool), labels == number
        kinds.add(type(annotation["segmentation"]).__name__)
        assert annotation["area"] == truth.sum()
        if isinstance(annotation["segmentation"], dict):
            assert (drawn == truth).all(), "run lengths are exact"
        x, y, width, height = annotation["bbox"]
        rows, columns = np.nonzero(truth)
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert kinds == {"dict", "list"}


def test_a_label_tiff_has_the_axes_and_the_pixel_size_of_its_stack(tmp_path):
    pages = [random_labels(seed) for seed in range(6)]
    path = tmp_path / "labels.tif"
    write_labels(path, pages, Pages("TZ", (2, 3)), PixelSize(0.25, 0.5))
    with tifffile.TiffFile(path) as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("TZYX", (2, 3, 60, 80))
        assert tiff.series[0].dtype == np.uint16
        assert (tiff.asarray().reshape(6, 60, 80) == np.stack(pages)).all()
    described = from_tiff(path).images[0].pixels
    assert (described.size_t, described.size_z) == (2, 3)
    assert (described.physical_size_x, described.physical_size_y) == (0.25, 0.5)
    assert described.physical_size_x_unit.value == "µm"


def test_more_than_65535_objects_have_32_bits_and_unknown_axes_become_z(tmp_path):
    many = np.arange(70_000, dtype=np.int32).reshape(200, 350)
    write_labels(tmp_path / "many.tif", [many], Pages(), None)
    read = tifffile.imread(tmp_path / "many.tif")
    assert (read.dtype, read.shape, read.max()) == (np.uint32, (200, 350), 69_999)
    write_labels(tmp_path / "stack.tif", [random_labels()] * 3, Pages("Q", (3,)), None)
    with tifffile.TiffFile(tmp_path / "stack.tif") as tiff:
        assert tiff.series[0].axes == "ZYX"


def test_an_outline_has_no_corner_on_a_straight_line():
    labels = np.zeros((10, 12), np.int32)
    labels[2:7, 3:9] = 1
    (outline,) = outlines(labels)
    assert len(outline.ring) == 8, "each corner of a pixel is cut, and nothing else"
    assert outline.ring.min(axis=0).tolist() == [3, 2]
    assert outline.ring.max(axis=0).tolist() == [9, 7]


def test_labels_in_ome_zarr_have_levels_axes_and_the_size_of_a_pixel(tmp_path):
    labels = [random_labels(seed, (700, 1100)) for seed in range(2)]
    path = tmp_path / "cells.ome.zarr"
    for _ in range(2):  # The second time it is replaced.
        with replacing_folder(path) as folder:
            volume = ZarrLabels(folder, "cells", (700, 1100), Pages("T", (2,)), 2, PixelSize(0.5, 0.25), np.uint16)
            for page, own in enumerate(labels):
                again = list(volume.add(page, np.array_split(own, [100, 333])))  # in bands of any height
                assert np.array_equal(np.concatenate(again), own)
    group = zarr.open_group(str(path), mode="r")
    ImageAttrs.model_validate(dict(group.attrs))  # the model of the specification
    (image,) = group.attrs["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["t", "y", "x"]
    assert "image-label" in group.attrs
    for level, about in enumerate(image["datasets"]):
        step = 2**level
        assert np.array_equal(group[about["path"]][:], np.stack(labels)[:, ::step, ::step])
        assert about["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 0.25 * step, 0.5 * step]}]
    assert max(group[about["path"]].shape) <= 512
    assert [one.name for one in tmp_path.iterdir()] == ["cells.ome.zarr"]
    assert pixel_size_of(path) == PixelSize(0.5, 0.25)

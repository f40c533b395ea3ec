"""A region of a large TIFF has the pixels that the whole image has, whatever its storage."""

import numpy as np
import pytest
import tifffile

from ptsam_auto.data.formats.sources import ImageFiles
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.data.regions import Regions, opened, size_of
from ptsam_auto.data.value_range import Counted, Listed, shown_range
from ptsam_auto.errors import DatasetError

HEIGHT, WIDTH = 150, 130
BOXES = [
    (slice(0, 40), slice(0, 50)),
    (slice(0, 40), slice(50, WIDTH)),
    (slice(33, 97), slice(7, 8)),
    (slice(110, HEIGHT), slice(90, WIDTH)),
]


def picture(dtype=np.uint8, channels=3):
    """Smooth, so that JPEG has something to keep, and different in every channel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin(y / (9 + n)) * np.cos(x / (7 + 2 * n)) for n in range(channels)]
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1000
    return ((np.stack(waves, axis=-1) + 1) / 2 * top * 0.9).astype(dtype)


def tiled(**options):
    return {"tile": (32, 48), "photometric": "rgb", **options}


CHANNELS = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
STORED = {
    "tiles": (picture(), tiled(compression="zlib")),
    "JPEG tiles": (picture(), tiled(compression="jpeg")),
    "LZW with predictor": (picture(), tiled(compression="lzw", predictor=True)),
    "strips": (picture(), {"rowsperstrip": 7, "photometric": "rgb", "compression": "zlib"}),
    "one piece": (picture(), {"photometric": "rgb"}),
    "big endian": (picture(np.uint16), {"photometric": "rgb", "byteorder": ">"}),
    "grey, 16 bits": (picture(np.uint16)[..., 0], {"tile": (32, 32), "photometric": "minisblack"}),
    "white is zero": (picture()[..., 0], {"tile": (32, 32), "photometric": "miniswhite"}),
    "alpha": (picture(channels=4), tiled(extrasamples=["unassalpha"])),
    "channels in pages": (np.moveaxis(picture(np.uint16), -1, 0), {"tile": (32, 32), **CHANNELS}),
    "OME": (np.moveaxis(picture(np.uint16), -1, 0), {"ome": True, "rowsperstrip": 9, **CHANNELS}),
}


def assert_regions_are_the_image(path, reading=ImageReading(), page=0):  # noqa: B008 - a constant
    image = ImageFiles((path,)).known_to(reading)
    whole = image.read(page, reading)
    with opened(image, page, reading) as regions:
        assert isinstance(regions, Regions), "read whole"
        assert regions.shape == whole.shape
        for box in BOXES:
            assert np.array_equal(regions[box], whole[box])


@pytest.mark.parametrize("kind", STORED)
def test_regions_are_those_of_the_image(tmp_path, kind):
    values, options = STORED[kind]
    path = tmp_path / "a.tif"
    writer = {name: options[name] for name in ("byteorder", "ome") if name in options}
    rest = {name: value for name, value in options.items() if name not in writer}
    with tifffile.TiffWriter(path, **writer) as tiff:
        tiff.write(values, **rest)
    assert_regions_are_the_image(path)
    assert size_of(ImageFiles((path,))) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("scaling", ["each", "fixed"])
def test_every_rule_of_scaling_is_that_of_the_whole_image(tmp_path, scaling):
    tifffile.imwrite(tmp_path / "a.tif", picture(), **tiled())
    ends = {"low": (20.0,), "high": (180.0,)} if scaling == "fixed" else {}
    assert_regions_are_the_image(tmp_path / "a.tif", ImageReading(scaling=scaling, **ends))


def test_one_page_of_a_stack_and_the_full_resolution_of_a_pyramid(tmp_path):
    stack = np.stack([picture()[..., 0], picture()[..., 1]])
    tifffile.imwrite(tmp_path / "stack.tif", stack, metadata={"axes": "ZYX"}, tile=(32, 32), photometric="minisblack")
    assert_regions_are_the_image(tmp_path / "stack.tif", page=1)
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif", ome=True) as tiff:
        tiff.write(picture(), subifds=1, **tiled())
        tiff.write(picture()[::2, ::2], subfiletype=1, **tiled())
    assert_regions_are_the_image(tmp_path / "pyramid.ome.tif")


@pytest.mark.parametrize("kind", ["float", "planes", "tall strip"])
def test_what_has_no_regions_is_read_whole(tmp_path, kind, monkeypatch):
    path = tmp_path / "a.tif"
    match kind:
        case "float":
            tifffile.imwrite(path, picture()[..., 0].astype(np.float32), tile=(32, 32))
        case "planes":
            planes = np.moveaxis(picture(), -1, 0)
            tifffile.imwrite(path, planes, planarconfig="separate", photometric="rgb", tile=(32, 32))
        case "tall strip":
            monkeypatch.setattr("ptsam_auto.data.regions.TALLEST_STRIP", 100)
            tifffile.imwrite(path, picture(), rowsperstrip=HEIGHT, compression="zlib", photometric="rgb")
    with opened(ImageFiles((path,)), 0, ImageReading()) as pixels:
        assert isinstance(pixels, np.ndarray)


def test_a_damaged_tile_is_a_problem_of_the_file(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(), **tiled(compression="zlib"))
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages.first.dataoffsets[-1]
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="damaged"), opened(ImageFiles((path,)), 0, ImageReading()) as regions:
        regions[slice(130, HEIGHT), slice(0, WIDTH)]


def test_an_error_of_the_caller_is_not_taken_for_a_damaged_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(), **tiled())
    with pytest.raises(ZeroDivisionError), opened(ImageFiles((tmp_path / "a.tif",)), 0, ImageReading()):
        raise ZeroDivisionError


@pytest.mark.parametrize("seed", range(20))
def test_the_range_by_counts_is_that_of_the_array(seed):
    rng = np.random.default_rng(seed)
    dtype = rng.choice([np.uint8, np.uint16])
    values = rng.normal(100, rng.uniform(0, 30), int(rng.integers(1, 3000))).clip(0, 255).astype(dtype)
    if seed % 3 == 0:
        values[: len(values) // 10] = 0  # a border
    if seed % 4 == 0:
        values[-2:] = np.iinfo(dtype).max  # hot pixels
    counted = Counted(np.bincount(values, minlength=np.iinfo(dtype).max + 1))
    assert shown_range(counted) == shown_range(Listed(values))

"""The size of a pixel is read where a microscope states it, and not where a screen's resolution stands."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto.errors import ConfigError
from ptsam_auto.objects.pixel_size import PixelSize, pixel_size_of

PIXELS = np.zeros((8, 9), np.uint16)


def written(tmp_path, **how):
    tifffile.imwrite(tmp_path / "image.tif", PIXELS, **how)
    return pixel_size_of(tmp_path / "image.tif")


def test_ome_xml_with_a_unit(tmp_path):
    metadata = {"axes": "YX", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm"}
    metadata |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    assert written(tmp_path, ome=True, metadata=metadata) == PixelSize(0.25, 0.5)
    assert written(tmp_path, ome=True, metadata={"axes": "YX"}) is None
    for nonsense in ("nan", "-1", "0", "inf"):
        description = f'<?xml version="1.0"?><OME><Pixels PhysicalSizeX="{nonsense}" PhysicalSizeY="1"/></OME>'
        assert written(tmp_path, description=description, metadata=None) is None


@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m"])
def test_imagej(tmp_path, unit):
    found = written(tmp_path, imagej=True, resolution=(4, 4), metadata={"unit": unit})
    assert (found.width, found.height) == (pytest.approx(0.25), pytest.approx(0.25))
    assert written(tmp_path, imagej=True, metadata={"unit": "pixel"}) is None


def test_resolution_tags_of_a_microscope_but_not_those_of_a_screen(tmp_path):
    assert written(tmp_path, resolution=(20_000, 20_000), resolutionunit="CENTIMETER").width == pytest.approx(0.5)
    assert written(tmp_path, resolution=(72, 72), resolutionunit="INCH") is None, "353 um"
    assert written(tmp_path, resolution=(300, 300), resolutionunit="INCH") is None, "85 um"
    assert written(tmp_path) is None


def test_a_png_and_a_damaged_description_state_nothing(tmp_path):
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "image.png", dpi=(25_400, 25_400))
    assert pixel_size_of(tmp_path / "image.png") is None
    assert written(tmp_path, description='<?xml version="1.0"?><OME><Pixels', metadata=None) is None
    (tmp_path / "image.tif").write_bytes(b"no tiff")
    assert pixel_size_of(tmp_path / "image.tif") is None


@pytest.mark.parametrize(("text", "side"), [("0.65", 0.65), ("0.65um", 0.65), ("120 nm", 0.12), ("1e-1µm", 0.1)])
def test_a_size_that_the_user_gives(text, side):
    assert PixelSize.parse(text) == PixelSize(pytest.approx(side), pytest.approx(side))


@pytest.mark.parametrize("text", ["0", "-1", "wide", "5 parsec", "nan", "inf", "1e999", ""])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match=r"expected a size such as 0\.65"):
        PixelSize.parse(text)

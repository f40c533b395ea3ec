"""Masks as files: no input and nobody's work is replaced unasked, and images are read as those of the training were."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ptsam_auto.data.images import read_image
from ptsam_auto.data.new_images import find_new_images, source_of
from ptsam_auto.data.raster import SOURCE, SPECIALIST, is_ours
from ptsam_auto.data.reading import READ_AS_STORED, ImageReading
from ptsam_auto.errors import OutputError
from ptsam_auto.specialist.masks import Destination, predict_source
from tests.data.folders import picture, save


class Bright(SimpleNamespace):
    """Takes the brightness for the probability, and keeps what it was shown."""

    def probability(self, image):
        self.shown = image
        return image[..., 0] / np.float32(255)


def specialist(identity="s" * 64, reading=None):
    data = SimpleNamespace(reading=reading or READ_AS_STORED)
    return Bright(identity=identity, record=SimpleNamespace(data=data))


def predict_file(made, path, to):
    return predict_source(made, source_of(path, made.record.data.reading), to)


@pytest.fixture
def to(tmp_path):
    destination = Destination(tmp_path / "out")
    destination.create_folders()
    return destination


def test_a_mask_is_kept_for_the_same_image_and_specialist_alone(tmp_path, to):
    path = save(tmp_path / "a.png", picture())
    assert predict_file(specialist(), path, to).written == 1
    assert predict_file(specialist(), path, to).kept == 1
    assert is_ours(to.masks / "a.png")
    found = predict_file(specialist("t" * 64), path, to)
    assert (
        found.problem == f"{to.masks / 'a.png'} exists and was not made by this specialist; overwrite it with --force"
    )


def test_another_image_of_the_same_name_does_not_replace_the_first_ones_mask(tmp_path, to):
    first, second = save(tmp_path / "1/a.png", picture(1)), save(tmp_path / "2/a.png", picture(2))
    predict_file(specialist(), first, to)
    before = (to.masks / "a.png").read_bytes()
    found = predict_file(specialist(), second, to)
    assert found.problem == (
        f"{to.masks / 'a.png'} exists and was made from another image of this name; overwrite it with --force"
    )
    assert (to.masks / "a.png").read_bytes() == before
    assert predict_file(specialist(), second, Destination(to.masks, replace=True)).written == 1


def test_another_threshold_gives_another_mask_without_force_and_the_same_one_is_kept(tmp_path, to):
    path = save(tmp_path / "a.png", picture())
    predict_file(specialist(), path, to)
    bright = np.count_nonzero(Image.open(to.masks / "a.png"))
    lower = Destination(to.masks, threshold=0.1)
    assert predict_file(specialist(), path, lower).written == 1
    assert np.count_nonzero(Image.open(to.masks / "a.png")) > bright
    assert predict_file(specialist(), path, lower).kept == 1


def test_a_mask_of_a_version_without_thresholds_has_the_usual_one(tmp_path, to):
    path = save(tmp_path / "a.png", picture())
    predict_file(specialist(), path, to)
    with Image.open(to.masks / "a.png") as mask:
        info = PngInfo()
        for key in (SPECIALIST, SOURCE):
            info.add_text(key, mask.info[key])
        pixels = mask.copy()
    pixels.save(to.masks / "a.png", pnginfo=info)
    assert predict_file(specialist(), path, to).kept == 1
    assert predict_file(specialist(), path, Destination(to.masks, threshold=0.1)).written == 1


def test_the_probability_is_written_as_it_is_and_added_to_masks_of_before(tmp_path, to):
    image = picture()
    path = save(tmp_path / "a.png", image)
    predict_file(specialist(), path, to)
    more = Destination(to.masks, probability=True)
    assert predict_file(specialist(), path, more).written == 1
    probability = tifffile.imread(to.masks / "probability" / "a.tif")
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability, read_image(path)[..., 0] / 255, atol=1e-6)
    assert predict_file(specialist(), path, more).kept == 1


@pytest.mark.parametrize("overlays", [False, True])
def test_an_input_is_never_replaced_even_by_force(tmp_path, overlays):
    path = save(tmp_path / "images/a.png", picture())
    before = path.read_bytes()
    to = Destination(tmp_path / "out", path.parent, True) if overlays else Destination(path.parent, None, True)
    to.create_folders()
    with pytest.raises(OutputError) as raised:
        predict_file(specialist(), path, to)
    assert str(raised.value) == (
        f"{path} is an image to predict on, and a result would overwrite it.\nChoose another folder for the results."
    )
    assert path.read_bytes() == before


def test_an_image_is_scaled_as_those_of_the_training_were(tmp_path, to):
    reading = ImageReading(scaling="fixed", low=(0.0,), high=(1000.0,), stored=1)
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 9), 250, np.uint16))
    seen = specialist(reading=reading)
    assert predict_file(seen, tmp_path / "a.tif", to).problem == ""
    assert seen.shown[0, 0].tolist() == [64, 64, 64]


def test_other_channels_than_in_the_training_are_refused(tmp_path, to):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((5, 9, 9), np.uint8), metadata={"axes": "CYX"}, photometric="minisblack"
    )
    found = predict_file(specialist(reading=ImageReading(stored=2)), tmp_path / "a.tif", to)
    assert found.problem == "has 5 channels, but the specialist was trained on images with 2"


def test_channels_in_several_files_and_pages_become_masks_of_their_names(tmp_path, to):
    for channel in range(2):
        save(tmp_path / f"imagesTs/a_000{channel}.png", picture(channel)[..., 0])
    tifffile.imwrite(tmp_path / "imagesTs/s_0000.tif", np.zeros((6, 9, 9), np.uint8))
    tifffile.imwrite(tmp_path / "imagesTs/s_0001.tif", np.zeros((6, 9, 9), np.uint8))
    for source in find_new_images([tmp_path / "imagesTs"]).sources:
        assert predict_source(specialist(), source, to).problem == ""
    assert sorted(p.name for p in to.masks.iterdir()) == ["a.png", *(f"s_p00{page}.png" for page in range(6))]
    mask = np.asarray(Image.open(to.masks / "a.png"))
    assert np.array_equal(mask > 0, read_image(tmp_path / "imagesTs/a_0000.png")[..., 0] > 127)

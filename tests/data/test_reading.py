"""How stored values become what the network sees: the same at training and at prediction."""

import pickle

import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.images import as_image, read_image
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.errors import ConfigError, DatasetError, SpecialistError
from ptsam_auto.records import from_json, to_json
from tests.data.folders import marking, picture, save
from tests.data.stored import scene

EACH = ImageReading(scaling="each")


def deep(seed=0):
    """A 12-bit camera's picture, H W, uint16."""
    return scene(seed)[0].astype(np.uint16) * np.uint16(4) + np.uint16(300)


def contrast(image, seed=0):
    labels = scene(seed)[1]
    grey = image[..., 0].astype(float)
    return grey[labels > 0].mean() - grey[labels == 0].mean()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda image: image.__setitem__(np.s_[-4:-2, 20:60], 60_000), id="a burned-in bar"),
        pytest.param(lambda image: image.__setitem__(np.s_[:10], 0), id="a black border"),
        pytest.param(lambda image: image.__setitem__(np.s_[::9, ::9], 65_535), id="hot pixels"),
        pytest.param(
            lambda image: image.__setitem__(np.s_[::8, ::8], np.linspace(2_000, 60_000, 64).reshape(8, 8).astype(int)),
            id="debris of all brightnesses",
        ),
        pytest.param(lambda image: image.__setitem__(np.s_[:12, :12], 4095), id="a saturated area"),
    ],
)  # fmt: skip
def test_what_is_burned_in_does_not_blacken_the_rest(tmp_path, spoil):
    image = deep()
    clean = contrast(as_image(image))
    spoil(image)
    tifffile.imwrite(tmp_path / "a.tif", image)
    assert contrast(read_image(tmp_path / "a.tif")) > 0.2 * clean


def test_one_scene_in_any_depth_looks_the_same_to_a_specialist_for_16_bits(tmp_path):
    wanted = as_image(deep(), EACH).astype(int)
    for name, values in {
        "uint32": deep().astype(np.uint32),
        "float": deep().astype(np.float32) / 4095,
        "negative": deep().astype(np.float32) - 700,
        "big-endian": deep().astype(">u2"),
        "8 bits": (deep() >> 3).astype(np.uint8),
    }.items():
        tifffile.imwrite(tmp_path / "a.tif", values)
        assert np.abs(read_image(tmp_path / "a.tif", reading=EACH) - wanted).max() <= 4, name
        assert np.abs(as_image(values, EACH) - wanted).max() <= 4, name


def test_a_specialist_for_8_bits_leaves_them_as_they_are():
    assert np.array_equal(as_image(picture()), picture())


def test_what_was_scaled_is_said_and_kept(tmp_path):
    for seed in range(2):
        (tmp_path / "images").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"images/{seed}.tif", deep(seed))
        save(tmp_path / f"masks/{seed}.png", scene(seed)[1] > 0)
    understanding = read_folder(tmp_path).understanding
    assert understanding.scaling.startswith("2 uint16; 8-bit values as they are; all others scaled, each image by its")
    assert understanding.reading == ImageReading(stored=1, scaling="each")
    fixed = read_folder(tmp_path, ReadingOptions(scaling="set"))
    assert fixed.understanding.reading.scaling == "fixed"
    reading = from_json(ImageReading, to_json(fixed.understanding.reading))
    assert reading == fixed.understanding.reading
    assert pickle.loads(pickle.dumps(reading)) == reading
    seen = fixed.pairs[1].load().image
    assert np.array_equal(seen, read_image(tmp_path / "images/1.tif", reading=reading))
    dim = read_image(tmp_path / "images/1.tif", reading=reading).mean() - as_image(deep(1) // 2, reading).mean()
    assert dim > 20, "a darker image stays darker"


def test_no_number_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8), np.nan, np.float32))
    with pytest.raises(DatasetError) as raised:
        read_image(tmp_path / "a.tif")
    assert raised.value.problems[0].what == "holds no number: every value is NaN or infinite"


def test_complex_numbers_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((8, 8), np.complex64))
    with pytest.raises(DatasetError) as raised:
        read_image(tmp_path / "a.tif")
    assert raised.value.problems[0].what == "holds complex numbers; save their magnitude or their phase instead"


def test_constant_images_and_long_ones_are_said(tmp_path):
    save(tmp_path / "images/a.png", picture())
    save(tmp_path / "images/b.png", np.full((8, 40, 3), 7, np.uint8))
    save(tmp_path / "masks/a.png", marking())
    mask = np.zeros((8, 40), bool)
    mask[2:4] = True
    save(tmp_path / "masks/b.png", mask)
    notes = read_folder(tmp_path).understanding.notes
    assert notes[0] == "images/b.png: every pixel has the same value."
    assert notes[1].startswith("images/b.png: more than 3 times as long as wide")


def test_inks_and_white_is_zero_are_shown_as_a_viewer_shows_them(tmp_path):
    grey = scene(0)[0]
    tifffile.imwrite(tmp_path / "w.tif", 255 - grey, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "w16.tif", 65535 - deep(), photometric="miniswhite")
    Image.fromarray(np.dstack([grey] * 3)).convert("CMYK").save(tmp_path / "c.tif")
    assert np.array_equal(read_image(tmp_path / "w.tif")[..., 0], grey)
    assert np.array_equal(read_image(tmp_path / "w16.tif"), as_image(deep()))
    assert np.array_equal(read_image(tmp_path / "c.tif")[..., 0], grey)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_every_orientation_is_shown_as_pillow_shows_it(tmp_path, orientation, ending):
    from PIL import ImageOps

    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(0, 20, 30)).save(path, exif=exif)
    with Image.open(path) as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(read_image(path), wanted)


def test_a_moving_picture_is_pages(tmp_path):
    frames = [Image.fromarray(picture(seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DatasetError) as raised:
        read_image(tmp_path / "a.gif")
    assert raised.value.problems[0].what == "holds 3 pages; expected one"
    assert not np.array_equal(read_image(tmp_path / "a.gif", 0), read_image(tmp_path / "a.gif", 2))


def test_channels_are_chosen_counted_from_1():
    values = np.random.default_rng(0).integers(0, 255, (9, 8, 5), dtype=np.uint8)
    shown = as_image(values, ImageReading(channels=(5, 1)))
    assert np.array_equal(shown[..., :2], values[..., [4, 0]])
    assert not shown[..., 2].any()
    with pytest.raises(SpecialistError) as raised:
        as_image(values, ImageReading(channels=(6,)))
    assert str(raised.value) == "The image has 5 channels, but channel 6 is asked for."


def test_a_specialist_for_five_channels_refuses_two():
    with pytest.raises(SpecialistError) as raised:
        as_image(np.zeros((9, 8, 2), np.uint16), ImageReading(stored=5))
    assert str(raised.value) == "The image has 2 channels, but the specialist was trained on images with 5."
    assert as_image(picture(), ImageReading(stored=1)).shape == (12, 16, 3), "grey and colour go together"


def test_any_image_that_python_holds(tmp_path):
    grey = picture()[..., 0]
    wanted = np.dstack([grey] * 3)
    path = save(tmp_path / "a.png", grey)
    turned = Image.fromarray(grey)
    turned.getexif()[0x0112] = 3
    for given in (path, str(path), Image.open(path), grey, grey[..., None], wanted, np.dstack([wanted, grey])):
        assert np.array_equal(as_image(given), wanted)
    assert np.array_equal(as_image(turned), wanted[::-1, ::-1])
    assert as_image(grey > 100).max() == 255


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "A int is not an image; expected a path, a PIL image or an array."),
        ([[1, 2], [3, 4]], "A list is not an image; expected a path, a PIL image or an array."),
        (np.zeros((2, 3, 4, 5)), "The image is float64, 2 x 3 x 4 x 5; expected height x width or height x width x "
         "channels, of integers or floats."),
        (np.zeros((0, 3)), "The image is float64, 0 x 3; expected height x width or height x width x channels, of "
         "integers or floats."),
        (np.zeros((3, 64, 64)), "The image is float64, 3 x 64 x 64; expected height x width or height x width x "
         "channels, of integers or floats. Are the channels first? Use numpy.moveaxis(x, 0, -1)."),
        (np.zeros((8, 8), complex), "The image is complex128, 8 x 8; expected height x width or height x width x "
         "channels, of integers or floats."),
        (np.full((8, 8), np.inf), "The image holds no number: every value is NaN or infinite."),
    ],
)  # fmt: skip
def test_what_is_no_image_is_called_by_its_name(given, message):
    with pytest.raises(SpecialistError) as raised:
        as_image(given)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": (0,)}, "the channels are 0; expected one to three numbers, counted from 1"),
        ({"channels": (1, 2, 3, 4)}, "the channels are 1, 2, 3, 4; expected one to three numbers, counted from 1"),
        ({"scaling": "loud"}, "the scaling is loud; expected one of as-stored, each, fixed"),
        ({"scaling": "fixed"}, "a fixed scaling needs the values that are black and white, and no other scaling has any"),  # noqa: E501
    ],
)  # fmt: skip
def test_readings_that_make_no_sense(fields, message):
    with pytest.raises(ConfigError) as raised:
        ImageReading(**fields)
    assert str(raised.value) == message

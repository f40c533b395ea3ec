"""Mask values of a folder: certain ones are read and said, all others are a question with its answer."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import ConfigError, DatasetError
from tests.data.folders import save
from tests.data.stored import scene

ANSWER = (
    "Say which values are foreground (such as --foreground {}), which are background (--background VALUE) or which "
    "take no part (--ignore VALUE), then run the command again."
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scenes(folder, draw, count=4, **how):
    """Images of discs, and masks as `draw` makes them of (labels, place)."""
    truths = {}
    for place in range(count):
        image, labels = scene(place, **how)
        save(folder / f"set/images/s{place}.png", image)
        mask = draw(labels, place)
        if isinstance(mask, np.ndarray):
            mask = Image.fromarray(mask.astype(np.uint8))
        (folder / "set/masks").mkdir(exist_ok=True)
        mask.save(folder / f"set/masks/s{place}.png")
        truths[f"s{place}"] = labels > 0
    return truths


def refusal(folder, **options):
    with pytest.raises(DatasetError) as raised:
        read_folder(folder / "set", ReadingOptions(**options))
    error = raised.value
    return [f"{problem.where}: {problem.what}" for problem in error.problems], str(error).splitlines()[-1]


def assert_truth(folder, truths, **options):
    dataset = read_folder(folder / "set", ReadingOptions(**options))
    for pair in dataset.pairs:
        assert np.array_equal(pair.load().mask, truths[pair.name])
    return dataset.understanding


def test_labels_1_and_2_are_a_question_and_either_answer_is_taken(folder):
    truths = scenes(folder, lambda labels, _: np.where(labels > 0, 2, 1))
    problems, advice = refusal(folder)
    (problem,) = problems
    assert problem.startswith(
        "masks: no value is 0, so that none is background for certain; values and their areas: 1 ("
    )
    assert advice == ANSWER.format(2)
    assert_truth(folder, truths, foreground=("2",))
    understanding = assert_truth(folder, truths, background=("1",))
    assert understanding.values[0].startswith("foreground: 2 (")


def test_two_classes_are_a_question_until_one_is_named(folder):
    classes = np.array([0, 1, 2, 2, 1], np.uint8)
    truths = scenes(folder, lambda labels, _: classes[labels], objects=4)
    problems, _ = refusal(folder)
    assert problems[0].startswith("masks: the masks hold several grey levels or labels, and each marks many areas")
    assert_truth(folder, truths, foreground=("1", "2"))
    assert_truth(folder, {k: np.isin(scene(i, 4)[1], (1, 4)) for i, k in enumerate(truths)}, foreground=("1",))


def test_background_as_a_label_of_its_own_is_not_taken_for_an_object(folder):
    scenes(folder, lambda labels, _: labels + 1, objects=1)
    assert "no value is 0" in refusal(folder)[0][0]


def test_two_labels_of_one_area_each_that_look_different_in_every_image_are_a_question(folder):
    def draw(labels, place):
        image, _ = scene(place)
        mask = np.zeros_like(labels)
        mask[labels == 1] = 1
        mask[20:30, 50:60] = 2 if not (labels[20:30, 50:60] > 0).any() else 0
        image[20:30, 50:60] = 10
        Image.fromarray(image).save(folder / f"set/images/s{place}.png")
        return mask

    scenes(folder, draw, count=5)
    assert "classes, or objects?" in refusal(folder)[0][0] or "each marks many areas" in refusal(folder)[0][0]


def test_a_void_value_without_a_palette_is_a_question_and_ignored_when_said(folder):
    def draw(labels, _):
        marked = (labels > 0).astype(np.uint8)
        ring = cv2.dilate(marked, np.ones((3, 3))) - marked
        return np.where(ring > 0, 255, marked)

    truths = scenes(folder, draw)
    assert "several grey levels or labels" in refusal(folder)[0][0]
    dataset = read_folder(folder / "set", ReadingOptions(ignore=("255",)))
    sample = dataset.pairs[0].load()
    assert np.array_equal(sample.mask, truths["s0"])
    assert sample.ignored.any()
    assert not (sample.ignored & sample.mask).any()
    assert dataset.understanding.values[2].startswith("takes no part: 255 (")


def test_pixels_that_take_no_part_are_part_of_a_pairs_identity(folder):
    scenes(folder, lambda labels, _: np.where(labels == 3, 255, labels > 0))
    ignored, marked = (
        read_folder(folder / "set", ReadingOptions(**how)).fingerprint
        for how in ({"ignore": ("255",)}, {"foreground": ("1", "255")})
    )
    assert ignored != marked


def test_masks_inverted_in_some_files_are_named(folder):
    scenes(folder, lambda labels, place: 255 * ((labels > 0) != (place == 2)), count=4)
    problems, advice = refusal(folder)
    assert "masks/s2.png: foreground and background seem to be exchanged" in problems
    assert advice.startswith("Invert these masks; say which values are foreground")
    assert len(read_folder(folder / "set", ReadingOptions(foreground=("255",))).pairs) == 4


def test_masks_inverted_in_all_files_are_a_question(folder):
    truths = scenes(folder, lambda labels, _: 255 * (labels == 0))
    problems, advice = refusal(folder)
    assert problems[0].startswith("masks: what is not 0 covers most of every image up to its border")
    assert advice == ANSWER.format(255)
    assert_truth(folder, truths, foreground=("0",))


def test_objects_that_fill_the_image_are_not_called_inverted(folder):
    truths = scenes(folder, lambda labels, _: 255 * (labels > 0))
    large = np.zeros((64, 64), bool)
    large[6:58, 6:58] = True
    save(folder / "set/masks/s1.png", large)
    assert_truth(folder, truths | {"s1": large})


def test_an_overlay_given_as_mask_is_no_mask(folder):
    def draw(labels, place):
        y, x = np.mgrid[:64, :64]
        photo = np.dstack([x * 3, y * 3, x + y]).astype(np.uint8)
        photo[labels > 0, 0] = 255
        return photo

    scenes(folder, draw)
    problems, advice = refusal(folder)
    assert problems[0] == (
        "masks/s0.png: a picture, an overlay or a heat map rather than a mask: its values change gradually, or are too "
        "many"
    )
    assert advice == "Export masks with one value for each class, then run the command again."


def test_a_mask_smoothed_by_resizing_is_cut_at_half_and_said(folder):
    scenes(folder, lambda labels, _: cv2.GaussianBlur(255 * (labels > 0).astype(np.uint8), (0, 0), 1.5))
    understanding = read_folder(folder / "set").understanding
    assert understanding.notes == ("4 of 4 masks hold slopes or noise between two values; half counts.",)


def test_a_thin_line_in_a_jpeg_is_not_lost(folder):
    line = np.zeros((64, 64), np.uint8)
    line[30:32, 5:60] = 255
    save(folder / "set/images/s.png", scene(0)[0])
    save(folder / "set/masks/s.jpg", line)
    mask = read_folder(folder / "set").pairs[0].load().mask
    assert (mask & (line > 0)).sum() > 0.9 * (line > 0).sum()


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([[0, np.nan], [0, 1]], "holds NaN or infinite values"),
        ([[-3.5, 2.25], [0, 1]], "holds fractions from -3.5 to 2.25"),
    ],
)
def test_numbers_that_no_mask_holds(folder, values, what):
    save(folder / "set/images/s.png", scene(0)[0][:2, :2])
    (folder / "set/masks").mkdir()
    tifffile.imwrite(folder / "set/masks/s.tif", np.float32(values))
    assert refusal(folder)[0] == [f"masks/s.tif: {what}; expected labels, or probabilities between 0 and 1"]


def test_two_channels_are_no_mask(folder):
    save(folder / "set/images/s.png", scene(0)[0])
    (folder / "set/masks").mkdir()
    channels = np.random.default_rng(0).integers(0, 2, (64, 64, 2), dtype=np.uint8)
    tifffile.imwrite(folder / "set/masks/s.tif", channels, planarconfig="contig", photometric="minisblack")
    assert refusal(folder)[0] == ["masks/s.tif: has 2 channels; expected one, or a colour: save each class as a mask"]


def test_small_objects_of_many_labels_are_not_taken_for_the_slopes_of_a_soft_brush(folder):
    labels = np.zeros((64, 64), np.uint8)
    labels[2::6, 2::6] = np.arange(1, 122).reshape(11, 11) + 100
    labels[2::6, 3::6] = labels[2::6, 2::6][:, :11]
    save(folder / "set/images/s.png", scene(0)[0])
    save(folder / "set/masks/s.png", labels)
    assert np.array_equal(read_folder(folder / "set").pairs[0].load().mask, labels > 0)


def test_a_soft_mask_of_16_bits_is_cut_at_half(folder):
    _, labels = scene(1)
    soft = cv2.GaussianBlur(65535 * (labels > 0).astype(np.uint16), (0, 0), 1.5)
    save(folder / "set/images/s.png", scene(1)[0])
    save(folder / "set/masks/s.png", soft)
    mask = read_folder(folder / "set").pairs[0].load().mask
    assert np.array_equal(mask, soft > 32767)


def test_a_label_within_another_one_is_a_class_rather_than_an_object(folder):
    def draw(labels, _):
        disc = (labels == 1).astype(np.uint8)
        return disc + cv2.erode(disc, np.ones((5, 5)))

    scenes(folder, draw, objects=1)
    assert "classes, or objects?" in refusal(folder)[0][0]


def test_negative_labels_are_a_question(folder):
    save(folder / "set/images/s.png", scene(0)[0])
    (folder / "set/masks").mkdir()
    labels = scene(0)[1].astype(np.int16)
    tifffile.imwrite(folder / "set/masks/s.tif", np.where(labels == 2, -1, labels > 0).astype(np.int16))
    assert "masks/s.tif: some values are negative" in refusal(folder)[0][0]
    sample = read_folder(folder / "set", ReadingOptions(ignore=("-1",))).pairs[0].load()
    assert np.array_equal(sample.ignored, labels == 2)


def test_a_value_that_no_mask_holds(folder):
    scenes(folder, lambda labels, _: labels > 0)
    assert refusal(folder, foreground=("3",))[0][0].startswith("masks: no mask holds the value 3; values and their")


def test_a_value_that_is_on_neither_side(folder):
    scenes(folder, lambda labels, _: labels, objects=3)
    found = refusal(folder, foreground=("1",), background=("0",))[0][0]
    assert found.startswith("masks: the value 2, 3 is neither foreground, background nor ignored; values and their")


def test_a_value_that_is_none(folder):
    scenes(folder, lambda labels, _: labels > 0)
    with pytest.raises(ConfigError) as raised:
        read_folder(folder / "set", ReadingOptions(foreground=("red",)))
    assert str(raised.value) == (
        'the mask value is red; expected a number such as 1, a colour such as "#ff0000", or transparent'
    )


def test_a_colour_answers_among_colours(folder):
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [255, 0, 0], [0, 0, 255]], np.uint8)
    scenes(folder, lambda labels, _: Image.fromarray(colours[labels]), objects=4)
    assert "several colours" in refusal(folder)[0][0]
    truths = {f"s{place}": np.isin(scene(place, 4)[1], (1, 3)) for place in range(4)}
    assert_truth(folder, truths, foreground=("#ff0000",))


def test_values_are_decoded_once(folder, monkeypatch):
    from ptsam_auto.data import images
    from ptsam_auto.data.formats import sources

    scenes(folder, lambda labels, _: labels > 0)
    seen = []
    for module in (images, sources):
        really = module.decode
        monkeypatch.setattr(module, "decode", lambda path, *a, r=really, **k: (seen.append(path), r(path, *a, **k))[1])
    read_folder(folder / "set")
    assert len(seen) == len(set(seen)) == 8

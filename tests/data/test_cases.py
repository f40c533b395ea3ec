"""The collected inputs after public threads: each is read as its truth, or refused with its cause."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.images import read_image
from ptsam_auto.data.leaks import shared
from ptsam_auto.data.new_images import find_new_images
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.raster import pages_of_file
from ptsam_auto.data.split import hold_out
from ptsam_auto.errors import DatasetError

CASES = Path(__file__).parents[3] / "shared" / "cases"
pytestmark = [
    pytest.mark.real_images,
    pytest.mark.skipif(not CASES.is_dir(), reason="no collected inputs here"),
]
SOFT = ("jpeg_color_128_0_0", "png_bilinear_2x", "png_soft_brush", "tif_probability_float")  # stored with loss
REFUSED = {
    "ilastik_1_2": "no value is 0",
    "ilastik_1_2_with_border0": "the masks hold several grey levels or labels",
    "inverted_polarity_some": "masks/v3.png: foreground and background seem to be exchanged",
    "jpeg_two_classes_127_255": "the masks hold several grey levels or labels",
}


def refusal(folder, **options):
    with pytest.raises(DatasetError) as raised:
        read_folder(folder, **options)
    return "\n".join(f"{problem.where}: {problem.what}" for problem in raised.value.problems)


def mask_values():
    return sorted(p.name for p in (CASES / "06-mask-values").iterdir() if p.name != "truth") if CASES.is_dir() else []


@pytest.mark.parametrize("case", mask_values())
def test_06_mask_values(case):
    folder = CASES / "06-mask-values" / case
    if case in REFUSED:
        assert REFUSED[case] in refusal(folder)
        return
    pairs = read_folder(folder).pairs
    assert len(pairs) == 4
    for pair in pairs:
        sample = pair.load()
        truth = np.asarray(Image.open(CASES / "06-mask-values" / "truth" / f"{pair.name}.png")) > 0
        seen = np.ones(truth.shape, bool) if sample.ignored is None else ~sample.ignored
        mask, truth = sample.mask & seen, truth & seen
        dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert dice > (0.94 if case in SOFT else 0.9999)


@pytest.mark.parametrize(("case", "options"), [("ilastik_1_2", {"foreground": ("1",)}), ("voc_void_255", {})])
def test_06_an_answer_gives_the_truth(case, options):
    for pair in read_folder(CASES / "06-mask-values" / case, ReadingOptions(**options)).pairs:
        sample = pair.load()
        truth = np.asarray(Image.open(CASES / "06-mask-values" / "truth" / f"{pair.name}.png")) > 0
        seen = np.ones(truth.shape, bool) if sample.ignored is None else ~sample.ignored
        assert np.array_equal(sample.mask & seen, truth & seen)


def test_01_masks_drawn_on_unturned_photos():
    assert len(read_folder(CASES / "01-exif-orientation" / "A").pairs) == 4
    message = refusal(CASES / "01-exif-orientation" / "B")
    assert message.count("was drawn on the image as it lies in the file") == 4


def test_07_channels_in_files_of_their_own():
    reading = read_folder(CASES / "07-nnunet-multichannel-predict" / "D").understanding.reading
    assert (reading.files, reading.stored) == (2, 2)
    found = find_new_images([CASES / "07-nnunet-multichannel-predict" / "D" / "imagesTs"], reading)
    assert [source.names for source in found.sources] == [("case_006",), ("case_007",), ("case_008",)]
    for source in found.sources:
        image = source.image.read(0, reading)
        assert image[..., 0].any()
        assert image[..., 1].any()
        assert not image[..., 2].any()


def test_08_cellpose_names():
    assert len(read_folder(CASES / "08-cellpose-names" / "IMG").pairs) == 4
    found = find_new_images([CASES / "08-cellpose-names" / "STD"])
    assert [source.names for source in found.sources] == [("000",), ("001",), ("002",), ("003",)]
    assert len(found.left_out) == 12


def test_09_five_channels():
    dataset = read_folder(CASES / "09-multichannel-tiff" / "pairs")
    assert len(dataset.pairs) == 3
    assert dataset.understanding.channels == "5; 1, 2, 3 are shown, 4, 5 left out (choose with --channels 1,2,5)"
    files = sorted((CASES / "09-multichannel-tiff" / "img").iterdir())
    for file in files:
        assert pages_of_file(file, planes="channels").count == 1, file.name
    found = find_new_images([files[0].parent], dataset.understanding.reading)
    assert all(len(source.names) == 1 for source in found.sources)
    chosen = read_folder(CASES / "09-multichannel-tiff" / "pairs", ReadingOptions(channels=(1,)))
    sample = chosen.pairs[0].load()
    assert sample.image[sample.mask].mean() > sample.image[~sample.mask].mean() + 20, "the object is in channel 1"


@pytest.mark.parametrize("case", ["A", "B"])
def test_10_names_with_brackets(case):
    names = [pair.name for pair in read_folder(CASES / "10-qupath-bracket-names" / case).pairs]
    assert names[0] == "slide 1 [d=2,x=0,y=0,w=512,h=512]"
    assert len(set(names)) == 4


def test_11_pages_of_a_stack_stay_on_one_side():
    for seed in range(5):
        train, test = hold_out(read_folder(CASES / "11-leak-stack-pages" / "Z").pairs, seed=seed)
        assert train
        assert test
        assert not {pair.group for pair in train} & {pair.group for pair in test}


def test_12_one_scene_in_ten_encodings():
    folder = CASES / "12-bit-depth-and-blank"
    reading = read_folder(folder / "train").understanding.reading
    wanted = read_image(folder / "new/same16/n0.tif", reading=reading).astype(int)
    for case in ("bigendian16", "uint32", "float01", "floatneg", "as8_shift2", "bright_debris", "nan", "as8_shift4"):
        (file,) = (folder / "new" / case).glob("n0.*")
        image = read_image(file, reading=reading).astype(int)
        assert np.percentile(np.abs(image - wanted), 98) <= 9, case


def test_13_axes_and_sets():
    pairs = read_folder(CASES / "13-ome-t-z-order-and-sets" / "TZ").pairs
    for pair in pairs:
        truth = np.asarray(Image.open(CASES / "13-ome-t-z-order-and-sets" / "truth" / f"{pair.name}.png")) > 0
        assert np.array_equal(pair.load().mask, truth)
    assert len(pairs) == 6
    found = find_new_images([CASES / "13-ome-t-z-order-and-sets" / "SET"])
    assert [len(source.names) for source in found.sources] == [2]
    assert len(found.left_out) == 1


@pytest.mark.parametrize("case", ["DRIVE", "JUNK", "MASK0", "NEST", "NFD", "OME", "QP", "SEG", "SING", "VOC"])
def test_14_names(case):
    dataset = read_folder(CASES / "14-names-unicode-ome-junk" / case)
    assert len(dataset.pairs) == (4 if case == "NEST" else 3)
    assert dataset.understanding.pattern


def test_15_what_is_not_read_is_said():
    found = find_new_images([CASES / "15-predict-skips" / "new"])
    assert [source.names[0] for source in found.sources] == ["f0", "f1", "f2", "f3", "f4"]
    left_out = {Path(problem.where).name for problem in (*found.left_out, *found.unreadable)}
    assert left_out == {"IM0001", "ct.dcm", "ct.nii.gz", "scan.czi", "scan.nd2", "slide.svs", "plate2"}
    with pytest.raises(DatasetError, match="both are x_p000; rename one"):
        find_new_images([CASES / "15-predict-skips" / "collide"])


def test_18_the_same_pictures_annotated_twice():
    first, second = (read_folder(CASES / "18-test-set-same-images" / part).pairs for part in "AB")
    assert [(one.name, other.name) for one, other in shared(first, second)] == [(f"p{i}", f"p{i}") for i in range(4)]


def test_19_a_stray_json_file_is_no_layout():
    assert len(read_folder(CASES / "19-other-tools-annotations" / "strayjson_cellpose").pairs) == 3


@pytest.mark.parametrize("case", ["flat", "stage1_train"])
def test_20_one_mask_an_object(case):
    for pair in read_folder(CASES / "20-dsb2018-mask-per-object" / case).pairs:
        files = [
            *(CASES / "20-dsb2018-mask-per-object/flat/masks").glob(f"{pair.name}_*.png"),
        ]
        truth = np.any([np.asarray(Image.open(file)) > 0 for file in files], axis=0)
        assert np.array_equal(pair.load().mask, truth)


def test_21_complex_numbers():
    found = find_new_images([CASES / "21-tiff-structures" / "cplx"])
    assert [source.names for source in found.sources] == [("zz",)]
    assert found.unreadable[0].what == "holds complex numbers; save their magnitude or their phase instead"


@pytest.mark.parametrize("case", ["cmyk.jpg", "cmyk_t.tif", "miniswhite_same_look.tif", "palette_t.tif", "ycbcr.tif"])
def test_22_as_a_viewer_shows_it(case):
    folder = CASES / "22-image-photometrics" / "img"
    wanted = read_image(folder / "tif_named.png").astype(int)
    assert np.abs(read_image(folder / case).astype(int) - wanted).max() <= 9


def test_23_controls():
    for case, options in (("D", {"allow_blank": True}), ("E", {"unmasked_are_blank": True})):
        folder = CASES / "23-negatives-in-evaluate" / case
        pairs = read_folder(folder, ReadingOptions(**options)).pairs
        assert len(pairs) == 6
        for seed in range(8):
            train, test = hold_out(pairs, seed=seed)
            assert not all(pair.blank for pair in test)
            assert not all(pair.blank for pair in train)


def test_24_long_images_are_said():
    notes = read_folder(CASES / "24-sizes" / "strip").understanding.notes
    assert "more than 3 times as long as wide" in notes[0]

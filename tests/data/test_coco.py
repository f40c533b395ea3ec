"""COCO files as people have them: what is read, what is refused, and what is said."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from pycocotools import mask as coco_mask

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.formats import coco
from ptsam_auto.data.formats.drawn import image_size
from ptsam_auto.data.images import read_image
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import DatasetError
from tests.data.folders import marking, picture, save

ADVICE = "Fix or remove these files, then run the command again."
SHAPE = (12, 16)
BOX = [[3, 2, 11, 2, 11, 5, 3, 5]]  # marking() as a polygon
LEFT = [[0, 0, 4, 0, 4, 12, 0, 12]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    return Path("set")


def content(outlines, names=("a.png",), **changes):
    """A COCO file of images with these names; each outline is of the first one."""
    return {
        "images": [{"id": i, "file_name": name, "height": 12, "width": 16} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": 1, "segmentation": outline} for i, outline in enumerate(outlines)
        ],
        "categories": [{"id": 1, "name": "cell"}],
    } | changes


def write(folder, what, name="c.json", images=("images/a.png",)):
    for seed, image in enumerate(images):
        save(folder / image, picture(seed))
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(json.dumps(what))


def annotation(number, image, outline, **more):
    return {"id": number, "image_id": image, "category_id": 1, "segmentation": outline} | more


def masks(folder, options=None):
    listing = coco.read(folder, options or ReadingOptions())
    assert not listing.problems
    return {entry.name: entry.mask.read(0) for entry in listing.entries}


def notes(folder, options=None):
    return coco.read(folder, options or ReadingOptions()).notes


def message(folder, options=None):
    with pytest.raises(DatasetError) as raised:
        _ = read_folder(folder) if options is None else coco.read(folder, options)
    return str(raised.value)


def boxed(left, top, right, bottom):
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


def run_lengths(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def test_outlines_of_one_image_are_painted_on_another_where_two_files_share_ids(folder):
    what = content([BOX], ("a.png", "b.png", "c.png"))
    what["images"][2]["id"] = 0
    write(folder, what, images=("a.png", "b.png", "c.png"))
    assert message(folder) == (
        "set/ has 1 problem:\n"
        "  c.json  image id 0 is given to a.png and to c.png; expected a different id for each image "
        f"(files that were joined need new ids, for their annotations too)\n{ADVICE}"
    )


def test_annotation_ids_given_twice(folder):
    what = content([], ("a.png", "b.png"), annotations=[annotation(7, 0, BOX), annotation("7", 1, BOX)])
    write(folder, what, images=("a.png", "b.png"))
    assert message(folder) == (
        f"set/ has 1 problem:\n  c.json  annotation id 7 is given twice, in image 0 and in image 1\n{ADVICE}"
    )


def test_many_annotation_ids_given_twice_are_counted(folder):
    write(folder, content([], annotations=[annotation(i % 5, 0, BOX) for i in range(10)]))
    assert message(folder).splitlines()[-2] == (
        "  c.json  2 more annotation ids are given twice; expected a different id for each"
    )


@pytest.mark.parametrize("total", ["short", "long"])
@pytest.mark.parametrize("kind", ["compressed", "plain"])
def test_run_lengths_that_do_not_add_up_are_not_read_from_uninitialised_memory(folder, total, kind):
    if kind == "plain":
        outline = {"size": list(SHAPE), "counts": [5, 5] if total == "short" else [5, 188]}
    else:
        outline = run_lengths(marking(6, 8) if total == "short" else marking(24, 32)) | {"size": list(SHAPE)}
    sums = {("short", "plain"): 10, ("long", "plain"): 193, ("short", "compressed"): 48, ("long", "compressed"): 768}
    write(folder, content([outline]))
    assert message(folder) == (
        "set/ has 1 problem:\n  c.json: a.png  annotation 0 cannot be drawn: "
        f"its run lengths add up to {sums[total, kind]} px, but its size has 192 px\n{ADVICE}"
    )


@pytest.mark.parametrize("seed", range(20))
def test_compressed_run_lengths_are_read_as_cocos_own_library_reads_them(folder, seed):
    mask = np.random.default_rng(seed).random(SHAPE) < seed / 20
    mask[0, 0] = seed % 2
    mask[3, 3] = True
    write(folder, content([run_lengths(mask)]))
    assert np.array_equal(masks(folder)["a"], mask)


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ("P", "its run lengths are empty or cut short"),
        ("PPPPPPPP0", "a run length is larger than any image"),
        ("0 0", "its run lengths hold characters that COCO does not use"),
        ("\u20ac", "its run lengths hold characters that COCO does not use"),
        ("O0", "a run length is negative"),
        ([5, -1, 188], "its run lengths are not whole numbers between 0 and 192"),
        ([5, 10**30], "its run lengths are not whole numbers between 0 and 192"),
        ([5.5, 186.5], "its run lengths are not whole numbers between 0 and 192"),
        ([[5, 187]], "its run lengths are not whole numbers between 0 and 192"),
        (None, "its run lengths are not whole numbers between 0 and 192"),
    ],
)
def test_damaged_run_lengths(folder, counts, what):
    write(folder, content([{"size": list(SHAPE), "counts": counts}]))
    assert message(folder) == (f"set/ has 1 problem:\n  c.json: a.png  annotation 0 cannot be drawn: {what}\n{ADVICE}")


def test_run_lengths_of_another_size(folder):
    write(folder, content([run_lengths(marking(16, 12))]))
    assert message(folder) == (
        "set/ has 1 problem:\n  c.json: a.png  annotation 0 cannot be drawn: "
        f"its run lengths are of size [16, 12], its image of [12, 16]\n{ADVICE}"
    )


@pytest.mark.parametrize(("number", "shown"), [(float("nan"), "nan"), (float("inf"), "inf"), (10**400, "inf")])
def test_a_coordinate_that_is_not_finite_crashes_nothing(folder, number, shown):
    write(folder, content([[[3, 2, 11, 2, number, 5, 3, 5]]]))
    assert message(folder) == (
        "set/ has 1 problem:\n  c.json: a.png  annotation 0 cannot be drawn: "
        f"a coordinate is {shown}; expected a finite number\n{ADVICE}"
    )


@pytest.mark.parametrize("number", [3e9, -3e9, 1e308, 33])
def test_a_coordinate_far_outside_takes_no_memory(folder, number):
    write(folder, content([[[3, 2, 11, 2, number, 5, 3, 5]]]))
    assert message(folder) == (
        "set/ has 1 problem:\n  c.json: a.png  annotation 0 cannot be drawn: "
        f"its point ({number:g}, 5) is far outside the image of 16 x 12 px\n{ADVICE}"
    )


def test_an_outline_that_reaches_a_little_beyond_the_image_is_cut_at_its_edge(folder):
    write(folder, content([[[-3, -2, 20, -2, 20, 5, -3, 5]]]))
    assert np.array_equal(masks(folder)["a"], boxed(0, 0, 16, 5))


def test_an_outline_of_endless_length_takes_no_memory(folder):
    write(folder, content([[[0, 0, 16, 12] * 200_000 + [16, 0]]]))
    assert message(folder) == (
        "set/ has 1 problem:\n  c.json: a.png  annotation 0 cannot be drawn: "
        f"its outline is longer than 4,000,000 px\n{ADVICE}"
    )


def test_a_stated_size_of_another_image_is_compared_before_memory_is_taken(folder):
    what = content([[[3, 2, 30_000, 2, 11, 5]]])
    what["images"][0] |= {"height": 30_000, "width": 30_000}
    write(folder, what)
    assert message(folder) == (
        f"set/ has 1 problem:\n  c.json: a.png  30000 x 30000 px, but its image is 16 x 12 px\n{ADVICE}"
    )


@pytest.mark.parametrize("size", [(0, 16), (-12, 16), (10**9, 10**9), (10**30, 1)])
def test_a_stated_size_that_no_image_has(folder, size):
    what = content([BOX, {"size": list(size), "counts": "0"}])
    what["images"][0] |= {"height": size[0], "width": size[1]}
    write(folder, what)
    assert message(folder) == (
        "set/ has 1 problem:\n"
        f"  c.json: a.png  states {size[1]} x {size[0]} px, which no image that is read has\n{ADVICE}"
    )


@pytest.mark.parametrize(
    "flat", [[10, 10, 12, 12], [10, 10], [], [1, 1, 5, 5, 9, 9], [4, 4, 4, 4, 4, 4], [0, 3, 8, 3, 4, 3]]
)
def test_a_polygon_without_area_is_skipped_and_named(folder, flat):
    write(folder, content([BOX, [flat], [*LEFT, flat]]))
    assert np.array_equal(masks(folder)["a"], marking() | boxed(0, 0, 4, 12))
    assert notes(folder) == ("c.json: annotations 1, 2 without an area, such as a polygon of two points: skipped.",)


def test_a_bow_tie_has_an_area(folder):
    write(folder, content([[[0, 0, 8, 8, 8, 0, 0, 8]]]))
    assert masks(folder)["a"].sum() == pytest.approx(32, abs=8)
    assert notes(folder) == ()


def test_a_polygon_inside_another_is_filled_and_named(folder):
    write(folder, content([[[0, 0, 12, 0, 12, 12, 0, 12], [4, 4, 8, 4, 8, 8, 4, 8]], [*BOX, *LEFT]]))
    assert np.array_equal(masks(folder)["a"], boxed(0, 0, 12, 12))
    assert notes(folder) == (
        "c.json: annotation 0 with a polygon inside another one, which COCO fills: foreground "
        "(if it is a hole, export run lengths, RLE).",
    )


def test_crowds_are_said(folder):
    write(folder, content([], annotations=[annotation(1, 0, BOX), annotation(2, 0, run_lengths(marking()), iscrowd=1)]))
    assert notes(folder) == ("c.json: crowds (iscrowd) in annotation 2: foreground like all others.",)


def two_categories(folder):
    write(
        folder,
        content(
            [],
            annotations=[annotation(1, 0, BOX), annotation(2, 0, LEFT, category_id=9), annotation(3, 0, LEFT)],
            categories=[{"id": 1, "name": "cell"}, {"id": 9, "name": "debris"}, {"id": 4, "name": "hole"}],
        ),
    )


def test_all_categories_are_foreground_and_said(folder):
    two_categories(folder)
    assert np.array_equal(masks(folder)["a"], marking() | boxed(0, 0, 4, 12))
    assert notes(folder) == (
        "2 categories, all of them foreground: cell (2 annotations), debris (1 annotation); "
        "choose with --category NAME, or tell them apart with --classes.",
    )


def test_a_chosen_category_alone_is_foreground(folder):
    two_categories(folder)
    chosen = ReadingOptions(categories=("debris",))
    assert np.array_equal(masks(folder, chosen)["a"], boxed(0, 0, 4, 12))
    assert notes(folder, chosen) == ("foreground is debris (1); left out: cell (2).",)


def test_a_category_that_does_not_exist(folder):
    two_categories(folder)
    assert message(folder, ReadingOptions(categories=("cell", "cells"))) == (
        "set/ has 1 problem:\n"
        "  no category 'cells'; its categories are cell (2 annotations), debris (1 annotation), hole (0 annotations)\n"
        "Choose among them with --category NAME, then run the command again."
    )


def test_what_cannot_be_drawn_does_not_matter_in_a_category_that_is_not_chosen(folder):
    two_categories(folder)
    what = json.loads((folder / "c.json").read_text())
    what["annotations"][1]["segmentation"] = []
    write(folder, what)
    assert np.array_equal(masks(folder, ReadingOptions(categories=("cell",)))["a"], marking() | boxed(0, 0, 4, 12))


def test_one_category_id_for_two_names(folder):
    write(folder, content([BOX], categories=[{"id": 1, "name": "cell"}, {"id": "1", "name": "debris"}]))
    assert message(folder) == (
        "set/ has 1 problem:\n"
        f"  c.json  not as COCO writes it: category id 1 is given to cell and to debris; export it again\n{ADVICE}"
    )


def test_a_byte_order_mark(folder):
    write(folder, content([BOX]))
    text = (folder / "c.json").read_text()
    (folder / "c.json").write_text(text, encoding="utf-8-sig")
    assert np.array_equal(masks(folder)["a"], marking())


def test_ids_as_text_and_as_numbers_with_a_point(folder):
    what = content([], annotations=[annotation(1, "0", BOX), annotation(2, 1.0, LEFT)], names=("a.png", "b.png"))
    write(folder, what, images=("a.png", "b.png"))
    found = masks(folder)
    assert np.array_equal(found["a"], marking())
    assert np.array_equal(found["b"], boxed(0, 0, 4, 12))


def test_one_name_in_two_subfolders(folder):
    what = content([], ("a/0.png", "b/0.png"), annotations=[annotation(1, 0, BOX), annotation(2, 1, LEFT)])
    write(folder, what, images=("images/a/0.png", "images/b/0.png"))
    found = masks(folder)
    assert np.array_equal(found["a_0"], marking())
    assert np.array_equal(found["b_0"], boxed(0, 0, 4, 12))
    assert notes(folder) == (
        "several folders use the same file names, so folders are part of the names (images/a/0.png is a_0).",
    )


def test_an_image_of_another_subfolder_is_not_taken_for_a_missing_one(folder):
    write(folder, content([BOX], ("b/0.png",)), images=("images/a/0.png",))
    assert message(folder) == (
        f"set/ has 1 problem:\n  b/0.png  listed in c.json, but neither here nor in images/\n{ADVICE}"
    )


def test_a_name_that_fits_two_images(folder):
    write(folder, content([BOX], ("0.png",)), images=("one/0.png", "two/0.png"))
    assert message(folder) == (
        f"set/ has 1 problem:\n  0.png  listed in c.json, and may be one/0.png or two/0.png; keep one\n{ADVICE}"
    )


@pytest.mark.parametrize(
    ("stated", "file"),
    [
        ("a.jpg", "a.JPG"),
        ("1a2b3c4d-a.png", "a.png"),
        ("a.png", "1a2b3c4d-a.png"),
        ("a_png.rf.0123456789abcdef0123456789abcdef.jpg", "a.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
    ],
)
def test_names_that_upload_or_export_changed(folder, stated, file):
    write(folder, content([BOX], (stated,)), images=(f"images/{file}",))
    assert np.array_equal(masks(folder)[file.rpartition(".")[0]], marking())
    assert notes(folder) == (f"1 image found under a slightly different name ({stated} is {file}).",)


def test_a_date_in_front_of_a_name_is_not_taken_for_an_upload(folder):
    write(folder, content([BOX], ("20200101-a.png",)), images=("images/20200202-a.png",))
    assert "listed in c.json, but neither here nor in images/" in message(folder)


def test_one_file_listed_twice_is_the_fault_of_the_json(folder):
    write(folder, content([BOX], ("a.png", "images/a.png")))
    assert message(folder) == (
        f"set/ has 1 problem:\n  c.json  lists images/a.png twice; keep one entry with all its annotations\n{ADVICE}"
    )


def test_several_files_of_different_images_are_joined(folder):
    write(folder, content([BOX]), "annotations/train.json")
    write(folder, content([LEFT], ("b.png",)), "annotations/val.json", ("images/a.png", "images/b.png"))
    found = masks(folder)
    assert np.array_equal(found["a"], marking())
    assert np.array_equal(found["b"], boxed(0, 0, 4, 12))


def test_several_files_that_say_the_same_count_once(folder):
    write(folder, content([BOX]), "annotations/train.json")
    write(folder, content([BOX]), "annotations/val.json")
    assert np.array_equal(masks(folder)["a"], marking())
    assert notes(folder) == (
        "annotations/val.json: 1 image annotated exactly as in annotations/train.json, counted once.",
    )


def test_captions_beside_outlines_are_left_alone(folder):
    write(folder, content([BOX]), "annotations/instances.json")
    write(folder, content([], annotations=[{"id": 1, "image_id": 0, "caption": "x"}]), "annotations/captions.json")
    assert np.array_equal(masks(folder)["a"], marking())
    assert notes(folder) == ("annotations/captions.json: captions without outlines, left alone.",)


def test_images_that_are_not_listed_are_said(folder):
    write(folder, content([BOX]), images=("images/a.png", *(f"images/more{i}.png" for i in range(7))))
    assert notes(folder) == (
        "7 images without COCO annotations left out: images/more0.png, images/more1.png, images/more2.png, "
        "images/more3.png, images/more4.png and 2 more.",
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"images": [7]}, "entry 1 of images is no object"),
        ({"annotations": [[]]}, "entry 1 of annotations is no object"),
        ({"images": [{"id": None, "file_name": "a.png"}]}, "an id is of the type NoneType; expected a number or text"),
        ({"images": [{"id": 1, "file_name": 3}]}, "the file_name of image 1 is no text"),
        (
            {"images": [{"id": 1, "file_name": "a.png", "height": 12.5, "width": 16}]},
            "the height of image 1 is no whole number",
        ),
        ({"categories": 7}, "its categories are no list"),
        ({"categories": [7]}, "a category is no object"),
        ({"annotations": [{"id": 1}]}, "KeyError 'image_id'"),
    ],
)
def test_entries_of_the_wrong_type(folder, changes, what):
    write(folder, content([BOX], **changes))
    assert message(folder) == f"set/ has 1 problem:\n  c.json  not as COCO writes it: {what}; export it again\n{ADVICE}"


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        ([[1, 1, 5, 5, 9]], "5 coordinates; expected two a point"),
        ([[1, 1, "5", 5, 9, 9]], "a coordinate is '5'; expected a number"),
        ([[1, 1, True, 5, 9, 9]], "a coordinate is True; expected a number"),
        ([[1, 1, None, 5, 9, 9]], "a coordinate is None; expected a number"),
        ("polygon", "expected polygons or run lengths"),
        ([BOX[0], 7], "expected a list of coordinates"),
    ],
)
def test_outlines_of_the_wrong_type(folder, segmentation, what):
    write(folder, content([segmentation]))
    assert message(folder) == f"set/ has 1 problem:\n  c.json: a.png  annotation 0 cannot be drawn: {what}\n{ADVICE}"


def test_a_single_polygon_without_a_list_around_it(folder):
    write(folder, content(BOX))
    assert np.array_equal(masks(folder)["a"], marking())


def test_nesting_without_end(folder):
    write(folder, content([BOX]))
    (folder / "c.json").write_text('{"images": ' + "[" * 100_000)
    assert message(folder) == (f"set/ has 1 problem:\n  c.json  not valid JSON: too deeply nested\n{ADVICE}")


def test_stray_json_beside_cellpose_masks_is_no_coco_file(folder):
    save(folder / "a.png", picture())
    save(folder / "a_masks.png", marking())
    (folder / "log.json").write_text('{"a": 1}\n{"a": 2}\n')
    assert read_folder(folder).layout == "cellpose"


def test_an_image_that_its_exif_orientation_turns_is_measured_as_it_is_shown(folder):
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    for suffix in ("png", "jpg", "tif"):
        path = folder / f"a.{suffix}"
        Image.fromarray(picture()).save(path, exif=turned) if suffix != "tif" else save(path, picture())
        assert image_size(path) == ((12, 16) if suffix == "tif" else (16, 12))
        assert image_size(path) == read_image(path).shape[:2]


def test_outlines_in_an_image_that_cannot_be_opened_are_not_drawn(folder):
    write(folder, content([BOX]))
    (folder / "images/a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DatasetError) as raised:
        coco.read(folder).entries[0].mask.read(0)
    assert [problem.where for problem in raised.value.problems] == ["a.png"]

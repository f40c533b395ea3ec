"""The inputs of ../shared/cases that are about annotation files: each gives what its row says is right."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptsam_auto.data.formats import listed
from ptsam_auto.data.options import ReadingOptions

CASES = Path(__file__).parents[3] / "shared" / "cases"
pytestmark = [
    pytest.mark.real_images,
    pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases"),
]


def read(case, **options):
    """As `read_folder` lists a case; its truth/ would be taken for masks."""
    layout, listing = listed(CASES / case, ReadingOptions(layout="coco" if case.startswith("02") else "", **options))
    return layout.NAME, listing


def masks(listing):
    assert not listing.problems
    return {entry.name: entry.mask.read(0) for entry in listing.entries}


def dice_with(truth, found):
    """The lowest Dice with the masks of a folder."""
    expected = {file.stem: np.asarray(Image.open(file)) > 0 for file in (CASES / truth).glob("*.png")}
    assert set(expected) == set(found)
    return min(2 * (found[n] & expected[n]).sum() / (found[n].sum() + expected[n].sum()) for n in found)


def refused(case):
    return [problem.what for problem in read(case)[1].problems]


def test_02_names_the_ids_and_both_images():
    assert [what.split(";")[0] for what in refused("02-coco-duplicate-image-ids")] == [
        "image id 1 is given to a0.png and to b0.png",
        "image id 2 is given to a1.png and to b1.png",
        "image id 3 is given to a2.png and to b2.png",
    ]


@pytest.mark.parametrize(("case", "total"), [("S", 2304), ("L", 36864)])
def test_03_run_lengths_that_do_not_add_up(case, total):
    assert refused(f"03-coco-rle-wrong-length/{case}") == [
        f"annotation {number} cannot be drawn: its run lengths add up to {total} px, but its size has 9216 px"
        for number in (1, 2, 3)
    ]


def test_04_holes_are_said():
    _, listing = read("04-coco-holes-crowd-overlap/H")
    assert listing.notes == (
        "c.json: annotations 1, 2, 3 with a polygon inside another one, which COCO fills: foreground "
        "(if it is a hole, export run lengths, RLE).",
    )


def test_04_categories_are_said_and_chosen():
    _, listing = read("04-coco-holes-crowd-overlap/K")
    assert listing.notes == (
        "2 categories, all of them foreground: cell (3 annotations), debris (3 annotations); "
        "choose with --category NAME, or tell them apart with --classes.",
    )
    _, chosen = read("04-coco-holes-crowd-overlap/K", categories=("cell",))
    assert dice_with("04-coco-holes-crowd-overlap/truthK", masks(chosen)) > 0.99


def test_04_a_polygon_of_two_points_is_skipped():
    _, listing = read("04-coco-holes-crowd-overlap/D")
    assert dice_with("04-coco-holes-crowd-overlap/truthD", masks(listing)) > 0.99
    assert listing.notes == ("c.json: annotations 2, 4, 6 without an area, such as a polygon of two points: skipped.",)


def test_04_a_coordinate_that_is_no_number():
    assert refused("04-coco-holes-crowd-overlap/N") == [
        f"annotation {number} cannot be drawn: a coordinate is nan; expected a finite number" for number in (1, 2, 3)
    ]


def test_05_odd_files_give_the_same_four_masks():
    plain = masks(read("05-coco-odd-json/BOM")[1])
    assert [int(mask.sum()) for mask in plain.values()] == [699, 935, 602, 1111]
    for case in ("CASE", "TWO"):
        found = masks(read(f"05-coco-odd-json/{case}")[1])
        assert all(np.array_equal(found[name], plain[name]) for name in plain)
    subfolders = masks(read("05-coco-odd-json/SUB")[1])
    for name, other in {"a_000": "n0", "b_000": "n1", "a_001": "n2", "b_001": "n3"}.items():
        assert np.array_equal(subfolders[name], plain[other])


def test_05_one_file_listed_twice_is_the_fault_of_the_json():
    _, listing = read("05-coco-odd-json/DUP")
    assert [(problem.where, problem.what) for problem in listing.problems] == [
        ("instances.json", "lists images/n0.png twice; keep one entry with all its annotations")
    ]


def test_19_other_tools():
    name, listing = read("19-other-tools-annotations/labelme")
    assert name == "labelme"
    expected = np.zeros((96, 96), bool)
    expected[10:40, 10:40] = True
    assert all(np.array_equal(mask, expected) for mask in masks(listing).values())
    assert read("19-other-tools-annotations/geojson")[0] == "geojson"
    assert read("19-other-tools-annotations/strayjson_cellpose")[0] == "cellpose"
    assert refused("19-other-tools-annotations/cvatxml") == [
        "lists no image; in CVAT export the task as CVAT for images 1.1, or as COCO 1.0"
    ]

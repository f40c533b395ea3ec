"""Annotations of other tools: each draws the same mask, or is recognised and says what to export."""

import base64
import io
import json
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import roifile
from PIL import Image

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.formats import cvat, geojson, imagej, label_studio, labelme, not_read, recognise, via, yolo
from ptsam_auto.data.formats.outlines import Patch, draw
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import DatasetError
from tests.data.folders import marking, picture, save

ADVICE = "Fix or remove these files, then run the command again."
RECTANGLE = [[3, 2], [11, 2], [11, 5], [3, 5]]  # marking() as a polygon
LEFT = [[0, 0], [4, 0], [4, 12], [0, 12]]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    for seed, name in enumerate("ab"):
        save(Path("set") / f"{name}.png", picture(seed))
    return Path("set")


def message(folder):
    with pytest.raises(DatasetError) as raised:
        read_folder(folder)
    return str(raised.value)


def assert_reads(folder, tool, left_out=()):
    """a.png is marked as marking() says, b.png in its left part."""
    assert recognise(folder) is tool
    dataset = read_folder(folder)
    assert dataset.layout == tool.NAME
    found = {pair.name: pair.load().mask for pair in dataset.pairs}
    assert set(found) == {"a", "b"} - set(left_out)
    assert np.array_equal(found["a"], marking())
    if "b" in found:
        assert np.array_equal(found["b"], left())


def left():
    mask = np.zeros((12, 16), bool)
    mask[:, :4] = True
    return mask


def disc(x, y, radius):
    rows, columns = np.mgrid[:12, :16] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def assert_nearly(mask, expected):
    """Equal but for a few pixels of the outline."""
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.93


def only_mask(tool, folder, options=None):
    listing = tool.read(folder, options or ReadingOptions())
    assert not listing.problems
    return {entry.name: entry.mask.read(0) for entry in listing.entries}["a"]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


# labelme


def of_labelme(image, shapes, **changes):
    size = {"imageHeight": 12, "imageWidth": 16, "imageData": None, "version": "5.4.1", "flags": {}}
    return {"imagePath": image, "shapes": shapes} | size | changes


def shape(points, kind="polygon", label="cell", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | more


def labelme_folder(folder, *more):
    write(folder / "a.json", of_labelme("a.png", [shape(RECTANGLE), *more]))
    write(folder / "b.json", of_labelme("..\\lab\\b.png", [shape(LEFT)]))


def test_labelme(folder):
    labelme_folder(folder)
    assert_reads(folder, labelme)


def test_labelme_where_images_and_json_were_renamed_together(folder):
    labelme_folder(folder)
    write(folder / "a.json", of_labelme("IMG_0001.png", [shape(RECTANGLE)]))
    assert_reads(folder, labelme)


def test_labelme_images_without_annotation_are_said(folder):
    write(folder / "a.json", of_labelme("a.png", [shape(RECTANGLE)]))
    assert labelme.read(folder).notes == ("1 image without labelme annotations left out: b.png.",)
    assert_reads(folder, labelme, left_out="b")


def test_labelme_circles(folder):
    labelme_folder(folder)
    write(folder / "a.json", of_labelme("a.png", [shape([[8, 6], [8, 10]], "circle")]))
    assert_nearly(only_mask(labelme, folder), disc(8, 6, 4))


def test_labelme_masks(folder):
    buffer = io.BytesIO()
    patch = np.array([[0, 255], [255, 255]], np.uint8)
    Image.fromarray(patch).save(buffer, format="PNG")
    mask = shape([[14, 10], [15, 11]], "mask", mask=base64.b64encode(buffer.getvalue()).decode())
    labelme_folder(folder, mask)
    expected = marking()
    expected[10:, 14:] = patch > 0
    assert np.array_equal(only_mask(labelme, folder), expected)


@pytest.mark.parametrize("top", [-9, -2, 0, 5, 11, 12, 13, 20])
@pytest.mark.parametrize("left", [-9, -2, 0, 9, 15, 16, 17, 24])
def test_small_masks_are_cut_at_the_edge_of_the_image(top, left):
    small = np.random.default_rng(0).random((6, 4)) < 0.5
    wide = np.zeros((60, 60), bool)
    wide[20 + top : 26 + top, 20 + left : 24 + left] = small
    assert np.array_equal(draw([Patch(small, top, left)], 12, 16), wide[20:32, 20:36])


@pytest.mark.parametrize("mask", ["!!", "aGVsbG8=", None, 7])
def test_labelme_masks_that_are_damaged(folder, mask):
    labelme_folder(folder, shape([[14, 10], [15, 11]], "mask", mask=mask))
    what = "its mask is damaged" if isinstance(mask, str) else "its mask is no text"
    assert message(folder) == f"set/ has 1 problem:\n  a.json  shape 2 cannot be drawn: {what}\n{ADVICE}"


def test_labelme_boxes_and_lines_are_no_masks(folder):
    labelme_folder(
        folder, shape([[1, 1], [2, 2]], "rectangle"), shape([[1, 1], [2, 2]], "line"), shape([[1, 1]], "point")
    )
    assert message(folder) == (
        "set/ has 2 problems:\n"
        "  a.json  shape 2 cannot be drawn: a box, which is not a mask; outline the object with a polygon\n"
        f"  a.json  shapes 3, 4 cannot be drawn: a line or a point, which has no area\n{ADVICE}"
    )


def test_labelme_classes_are_chosen(folder):
    labelme_folder(folder, shape(LEFT, label="debris"), shape([[1, 1], [2, 2]], "rectangle", label="scale bar"))
    assert np.array_equal(only_mask(labelme, folder, ReadingOptions(categories=("debris",))), left())


def test_labelme_of_another_size(folder):
    write(folder / "a.json", of_labelme("a.png", [shape(RECTANGLE)], imageHeight=5_000, imageWidth=5_000))
    assert message(folder) == (f"set/ has 1 problem:\n  a.json  5000 x 5000 px, but its image is 16 x 12 px\n{ADVICE}")


def test_two_labelme_files_of_one_image(folder):
    labelme_folder(folder)
    write(folder / "b.json", of_labelme("a.png", [shape(LEFT)]))
    assert message(folder) == (
        "set/ has 1 problem:\n"
        f"  b.json  annotates a.png in another way than a.json does; keep one of the two files, or join what they say\n"
        f"{ADVICE}"
    )


# CVAT


def cvat_folder(folder, more=""):
    points = ";".join(f"{x},{y}" for x, y in RECTANGLE)
    write(
        folder / "annotations.xml",
        f"""<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta></meta>
        <image id="0" name="a.png" width="16" height="12">
          <polygon label="cell" occluded="0" points="{points}" z_order="0"></polygon>{more}</image>
        <image id="1" name="lab/b.png" width="16" height="12">
          <mask label="cell" rle="0, 48" left="0" top="0" width="4" height="12"></mask></image></annotations>""",
    )


def test_cvat(folder):
    cvat_folder(folder)
    assert_reads(folder, cvat)


def test_cvat_run_lengths_go_along_the_rows(folder):
    cvat_folder(folder, '<mask label="cell" rle="1, 2, 1" left="14" top="10" width="2" height="2"></mask>')
    expected = marking()
    expected[10:, 14:] = [[False, True], [True, False]]
    assert np.array_equal(only_mask(cvat, folder), expected)


def test_cvat_ellipses_turn_clockwise(folder):
    cvat_folder(folder, '<ellipse label="cell" cx="8" cy="6" rx="6" ry="1" rotation="30"></ellipse>')
    mask = only_mask(cvat, folder) & ~marking()
    assert mask[7:, 9:].sum() > 3
    assert not mask[7:, :6].any()


def test_cvat_boxes_are_no_masks(folder):
    cvat_folder(folder, '<box label="cell" xtl="1" ytl="1" xbr="3" ybr="3"></box>')
    assert message(folder) == (
        "set/ has 1 problem:\n  annotations.xml: a.png  shape 2 cannot be drawn: "
        f"a box, which is not a mask; outline the object with a polygon\n{ADVICE}"
    )


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        ('rle="1, 2" left="0" top="0" width="2" height="2"', "its run lengths add up to 3 px, but its size has 4 px"),
        ('rle="4" left="0" top="0" width="99999" height="99999"', "its mask is stated as 99999 x 99999 px"),
        ('rle="4" left="0" top="0" width="2"', "'' is no number"),
        ('rle="0,4" left="900" top="0" width="2" height="2"', "it reaches far outside the image of 16 x 12 px"),
        ('rle="x" left="0" top="0" width="2" height="2"', "'x' is no number"),
    ],
)
def test_cvat_masks_that_are_damaged(folder, mask, what):
    cvat_folder(folder, f'<mask label="cell" {mask}></mask>')
    assert message(folder) == (
        f"set/ has 1 problem:\n  annotations.xml: a.png  shape 2 cannot be drawn: {what}\n{ADVICE}"
    )


def test_cvat_without_images(folder):
    write(folder / "annotations.xml", "<annotations><version>1.1</version></annotations>")
    assert message(folder) == (
        "set/ has 1 problem:\n  annotations.xml  lists no image; "
        f"in CVAT export the task as CVAT for images 1.1, or as COCO 1.0\n{ADVICE}"
    )


def test_xml_entities_are_not_expanded(folder):
    lol = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    write(folder / "annotations.xml", f"{lol}<annotations><image name='&b;'/></annotations>")
    assert message(folder) == (
        "set/ has 1 problem:\n"
        f"  annotations.xml  declares XML entities, which can stand for anything; expected plain XML\n{ADVICE}"
    )


# VIA


def via_region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def via_polygon(points):
    return {"name": "polygon", "all_points_x": [x for x, _ in points], "all_points_y": [y for _, y in points]}


def via_images(*more):
    first = via_region(via_polygon(RECTANGLE), kind="cell")
    return {
        "a.png9": {"filename": "a.png", "size": 9, "regions": [first, *more]},
        "b.png9": {"filename": "b.png", "size": 9, "regions": [via_region(via_polygon(LEFT), kind={"cell": True})]},
    }


def test_via_json(folder):
    write(folder / "via_export.json", via_images())
    assert_reads(folder, via)


def test_via_project(folder):
    write(folder / "project.json", {"_via_settings": {}, "_via_img_metadata": via_images(), "_via_attributes": {}})
    assert_reads(folder, via)


def test_via_regions_numbered_as_in_version_1(folder):
    images = via_images()
    for image in images.values():
        image["regions"] = {str(number): region for number, region in enumerate(image["regions"])}
    write(folder / "via.json", images)
    assert_reads(folder, via)


def test_via_csv(folder):
    lines = ["filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    for name, points in (("a.png", RECTANGLE), ("b.png", LEFT)):
        quoted = json.dumps(via_polygon(points)).replace('"', '""')
        lines.append(f'{name},9,"{{}}",1,0,"{quoted}","{{""kind"":""cell""}}"')
    write(folder / "via.csv", "\n".join(lines))
    assert_reads(folder, via)


def test_via_circles_and_ellipses(folder):
    circle = via_region({"name": "circle", "cx": 8, "cy": 6, "r": 4})
    ellipse = via_region({"name": "ellipse", "cx": 8, "cy": 6, "rx": 4, "ry": 4, "theta": 0.3})
    images = via_images()
    for one in (circle, ellipse):
        images["a.png9"]["regions"] = [one]
        write(folder / "via.json", images)
        assert_nearly(only_mask(via, folder), disc(8, 6, 4))


def test_via_boxes_points_and_nonsense(folder):
    odd = [{"name": "rect", "x": 1, "y": 1, "width": 3, "height": 3}, {"name": "point", "cx": 1, "cy": 1}, None, {}]
    write(folder / "via.json", via_images(*(via_region(one) for one in odd)))
    assert message(folder) == (
        "set/ has 4 problems:\n"
        "  via.json: a.png  region 2 cannot be drawn: a box, which is not a mask; outline the object with a polygon\n"
        "  via.json: a.png  region 3 cannot be drawn: a line or a point, which has no area\n"
        "  via.json: a.png  region 4 cannot be drawn: it is not as its tool writes it\n"
        f"  via.json: a.png  region 5 cannot be drawn: it has no 'name'\n{ADVICE}"
    )


# YOLO


def yolo_line(points, category=0):
    return " ".join([str(category), *(f"{x / 16} {y / 12}" for x, y in points)])


def test_yolo_in_images_and_labels(folder):
    for name in "ab":
        (folder / "images").mkdir(exist_ok=True)
        (folder / f"{name}.png").rename(folder / f"images/{name}.png")
    write(folder / "labels/a.txt", yolo_line(RECTANGLE) + "\n")
    write(folder / "labels/b.txt", yolo_line(LEFT))
    write(folder / "data.yaml", "names: [cell, debris]\n")
    assert_reads(folder, yolo)


@pytest.mark.parametrize("place", ["{kind}/{split}", "{split}/{kind}"])
def test_yolo_with_the_same_names_in_train_and_val(folder, place):
    for split, seed, points in (("train", 0, RECTANGLE), ("val", 1, LEFT)):
        save(folder / place.format(kind="images", split=split) / "x.png", picture(seed))
        write(folder / place.format(kind="labels", split=split) / "x.txt", yolo_line(points))
    for name in "ab":
        (folder / f"{name}.png").unlink()
    dataset = read_folder(folder)
    assert dataset.layout == "yolo"
    first, second = (pair.load().mask for pair in dataset.pairs)
    assert np.array_equal(first, marking())
    assert np.array_equal(second, left())


def test_yolo_classes_are_named_and_chosen(folder):
    write(folder / "labels/a.txt", f"{yolo_line(RECTANGLE)}\n{yolo_line(LEFT, 1)}\n")
    write(folder / "data.yaml", "names:\n  0: cell\n  1: debris\n")
    assert yolo.read(folder).notes[0] == (
        "2 categories, all of them foreground: cell (1 line), debris (1 line); choose with --category NAME, or tell "
        "them apart with --classes."
    )
    assert np.array_equal(only_mask(yolo, folder, ReadingOptions(categories=("debris",))), left())


def test_yolo_boxes_pixels_and_nonsense(folder):
    odd = ["0 0.5 0.5 0.1 0.1", "0 3 2 11 2 11 5 3 5", "0 0.1 x 0.2 0.1 0.3 0.3", "0 0.1 0.1 0.2"]
    write(folder / "labels/a.txt", "\n".join([yolo_line(RECTANGLE), *odd]))
    assert message(folder) == (
        "set/ has 4 problems:\n"
        "  labels/a.txt  line 2 cannot be drawn: a box, which is not a mask; outline the object with a polygon\n"
        "  labels/a.txt  line 3 cannot be drawn: "
        "a coordinate is 11; expected fractions of the image's size, between 0 and 1\n"
        "  labels/a.txt  line 4 cannot be drawn: expected a class and numbers between 0 and 1\n"
        f"  labels/a.txt  line 5 cannot be drawn: 3 coordinates; expected two a point\n{ADVICE}"
    )


def test_yolo_with_broken_yaml(folder):
    write(folder / "labels/a.txt", yolo_line(RECTANGLE))
    write(folder / "data.yaml", "names: [cell\n")
    assert message(folder) == (
        "set/ has 1 problem:\n"
        f"  data.yaml  cannot be read as YAML; expected YOLO's file with the names of the classes\n{ADVICE}"
    )


# GeoJSON


def feature(rings, kind="Polygon", name="Tumor"):
    properties = {"objectType": "annotation"} | ({"classification": {"name": name}} if name else {})
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": rings}, "properties": properties}


def closed(points):
    return [*points, points[0]]


def collection(*features):
    return {"type": "FeatureCollection", "features": features}


def test_geojson(folder):
    write(folder / "a.geojson", collection(feature([closed(RECTANGLE)])))
    write(folder / "b.geojson", [feature([[closed(LEFT)]], "MultiPolygon", name=None)])
    assert_reads(folder, geojson)


def test_geojson_holes_stay_open(folder):
    hole = [[5, 3], [7, 3], [7, 4], [5, 4]]
    write(folder / "a.geojson", collection(feature([closed(RECTANGLE), closed(hole)])))
    expected = marking()
    expected[3, 5:7] = False
    assert np.array_equal(only_mask(geojson, folder), expected)


def test_geojson_classes_are_chosen(folder):
    write(folder / "a.geojson", collection(feature([closed(RECTANGLE)]), feature([closed(LEFT)], name="Stroma")))
    assert geojson.read(folder).notes[0] == (
        "2 categories, all of them foreground: Stroma (1 feature), Tumor (1 feature); choose with --category NAME, or "
        "tell them apart with --classes."
    )
    assert np.array_equal(only_mask(geojson, folder, ReadingOptions(categories=("Stroma",))), left())


def test_geojson_lines_and_nonsense(folder):
    odd = [feature([[1, 1], [2, 2]], "LineString"), feature([[1, "x"]], "Polygon"), {"geometry": None}, 7]
    write(folder / "a.geojson", collection(feature([closed(RECTANGLE)]), *odd))
    assert message(folder) == (
        "set/ has 3 problems:\n"
        "  a.geojson  feature 2 cannot be drawn: a line or a point, which has no area\n"
        "  a.geojson  feature 3 cannot be drawn: a coordinate is 'x'; expected a number\n"
        f"  a.geojson  features 4, 5 cannot be drawn: it has no geometry as GeoJSON has it\n{ADVICE}"
    )


def test_geojson_without_an_image(folder):
    write(folder / "c.geojson", collection(feature([closed(RECTANGLE)])))
    assert message(folder) == f"set/ has 1 problem:\n  c.geojson  no image; expected c.png\n{ADVICE}"


# ImageJ


def roi(points, kind=roifile.ROI_TYPE.POLYGON):
    region = roifile.ImagejRoi.frompoints(np.array(points, np.int32))
    region.roitype = kind
    return region


def roi_set(path, *regions):
    with zipfile.ZipFile(path, "w") as archive:
        for number, region in enumerate(regions):
            archive.writestr(f"{number:04d}.roi", region if isinstance(region, bytes) else region.tobytes())


def test_imagej_sets_and_single_regions(folder):
    roi_set(folder / "a_RoiSet.zip", roi(RECTANGLE))
    (folder / "b.roi").write_bytes(roi(LEFT, roifile.ROI_TYPE.TRACED).tobytes())
    assert_reads(folder, imagej)


def test_imagej_rectangles_and_ovals(folder):
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=3, top=2, right=11, bottom=5)
    roi_set(folder / "a.zip", rectangle)
    assert np.array_equal(only_mask(imagej, folder), marking())
    oval = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.OVAL, left=4, top=2, right=12, bottom=10)
    roi_set(folder / "a.zip", oval)
    assert_nearly(only_mask(imagej, folder), disc(8, 6, 4))


def test_imagej_composites_keep_their_holes(folder):
    path = []
    for points in (RECTANGLE, [[5, 3], [7, 3], [7, 4], [5, 4]]):
        for number, (x, y) in enumerate(points):
            path += [1.0 if number else 0.0, x, y]
        path.append(4.0)
    composite = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=3, top=2, right=11, bottom=5)
    composite.shape_roi_size = len(path)
    composite.multi_coordinates = np.array(path, np.float32)
    roi_set(folder / "a.zip", composite)
    expected = marking()
    expected[3, 5:7] = False
    assert np.array_equal(only_mask(imagej, folder), expected)


def test_imagej_set_beside_the_only_image(folder):
    (folder / "b.png").unlink()
    roi_set(folder / "RoiSet.zip", roi(RECTANGLE))
    assert_reads(folder, imagej, left_out="b")


def test_imagej_lines_have_no_area(folder):
    roi_set(folder / "a.zip", roi(RECTANGLE), roi(LEFT, roifile.ROI_TYPE.POLYLINE))
    assert message(folder) == (
        f"set/ has 1 problem:\n  a.zip  region 0001 cannot be drawn: a line or a point, which has no area\n{ADVICE}"
    )


def test_imagej_damaged_regions(folder):
    roi_set(folder / "a.zip", roi(RECTANGLE), roi(LEFT).tobytes()[:70])
    (folder / "b.roi").write_bytes(b"Iout")
    assert message(folder) == (
        "set/ has 2 problems:\n"
        "  a.zip  0001.roi is no region as ImageJ saves it; save the set again\n"
        f"  b.roi  b.roi is no region as ImageJ saves it; save the set again\n{ADVICE}"
    )


# Label Studio


def result(kind, value, **changes):
    value = value | {kind: ["cell"]}
    size = {"original_width": 16, "original_height": 12, "image_rotation": 0}
    return {"id": "r1", "type": kind, "value": value, "to_name": "image", "from_name": "label"} | size | changes


def percent(points):
    return {"points": [[x / 16 * 100, y / 12 * 100] for x, y in points]}


def task(image, *annotations):
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": results} for results in annotations]}


def label_studio_folder(folder, *more):
    write(
        folder / "project-1.json",
        [
            task("/data/upload/1/1a2b3c4d-a.png", [result("polygonlabels", percent(RECTANGLE)), *more]),
            task("/data/local-files/?d=lab/b.png", [result("polygonlabels", percent(LEFT))]),
            task("/data/upload/1/1a2b3c4d-c.png"),
        ],
    )


def stroke(mask):
    """Label Studio's own run lengths of a brush stroke: runs of 8-bit values, lengths of 4 to 16 bits."""
    values = np.repeat(mask.ravel()[:, None] * 255, 4, axis=1).ravel()
    bits = f"{values.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    starts = [0, *(np.flatnonzero(np.diff(values)) + 1), values.size]
    for start, end in pairwise(starts):
        if end - start > 4:
            bits += f"1{3:02b}{end - start - 1:016b}{values[start]:08b}"
        else:
            bits += f"0{1:02b}{end - start - 1:04b}" + "".join(f"{value:08b}" for value in values[start:end])
    bits += "0" * (-len(bits) % 8)
    return {"format": "rle", "rle": [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]}


def test_label_studio(folder):
    label_studio_folder(folder)
    assert_reads(folder, label_studio)


def test_label_studio_brush_strokes(folder):
    mask = np.random.default_rng(0).random((12, 16)) < 0.4
    label_studio_folder(folder, result("brushlabels", stroke(mask)))
    assert np.array_equal(only_mask(label_studio, folder), mask | marking())


def test_label_studio_ellipses(folder):
    ellipse = {"x": 50, "y": 50, "radiusX": 25, "radiusY": 100 / 3, "rotation": 0}
    write(folder / "p.json", [task("a.png", [result("ellipselabels", ellipse)])])
    assert_nearly(only_mask(label_studio, folder), disc(8, 6, 4))


@pytest.mark.parametrize(
    ("rle", "what"),
    [
        ([0, 0, 0, 9, 0], "its brush stroke has 9 values; expected 4 x 16 x 12"),
        ([255] * 9, "its brush stroke has 4294967295 values; expected 4 x 16 x 12"),
        ([0, 0], "its brush stroke is cut short"),
        ([0, 0, 3, 0, 60, 0, 0, 0], "its brush stroke is cut short"),
        ([-1], "its brush stroke is no list of bytes"),
        ("x", "its brush stroke is no list of bytes"),
    ],
)
def test_label_studio_brush_strokes_that_are_damaged(folder, rle, what):
    label_studio_folder(folder, result("brushlabels", {"rle": rle}, id="r2"))
    assert message(folder) == (
        f"set/ has 1 problem:\n  project-1.json: 1/1a2b3c4d-a.png  result r2 cannot be drawn: {what}\n{ADVICE}"
    )


def test_label_studio_boxes_rotation_and_two_annotators(folder):
    polygon = result("polygonlabels", percent(RECTANGLE))
    box = result("rectanglelabels", {"x": 1, "y": 1, "width": 9, "height": 9}, id="r2")
    write(
        folder / "p.json",
        [
            task("a.png", [polygon, box, result("polygonlabels", percent(RECTANGLE), id="r3", image_rotation=90)]),
            task("b.png", [polygon], [polygon]),
            task("b.png", [result("bitmasklabels", {}, id="r4"), {"type": "choices", "value": {}}]),
            {"data": {"x": 1}, "annotations": []},
        ],
    )
    assert message(folder) == (
        "set/ has 5 problems:\n"
        "  p.json         task 4 is not as Label Studio writes it: ValueError it does not name one image; "
        "export it again\n"
        "  p.json: a.png  result r2 cannot be drawn: a box, which is not a mask; outline the object with a polygon\n"
        "  p.json: a.png  result r3 cannot be drawn: its image was rotated in Label Studio; export COCO instead\n"
        "  p.json: b.png  has 2 annotations; keep one, or mark one as ground truth\n"
        "  p.json: b.png  result r4 cannot be drawn: the type 'bitmasklabels' is not read; export masks as PNG\n"
        f"{ADVICE}"
    )


# Recognised only


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.xml", "<annotation><filename>a.png</filename><object><bndbox/></object></annotation>", "voc"),
        ("a.xml", "<annotations><track id='0'/></annotations>", "cvat-video"),
        ("a.xml", "<ASAP_Annotations/>", "asap"),
        ("a.xml", "<Annotations><Annotation/></Annotations>", "imagescope"),
        ("c.json", {"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}, "coco-caption"),
        ("c.json", {"images": [], "annotations": [{"image_id": 1, "keypoints": [1]}]}, "coco-keypoints"),
        ("c.json", {"images": [], "annotations": [{"image_id": 1, "segments_info": []}]}, "coco-segments_info"),
        ("c.json", [{"image_id": 1, "category_id": 1, "segmentation": [], "score": 0.5}], "coco-results"),
        ("c.json", {"project": {}, "config": {}, "metadata": {}}, "via3"),
        ("a.png.json", {"size": {"height": 1, "width": 1}, "objects": [], "tags": []}, "supervisely"),
        ("meta.json", {"classes": [], "projectType": "images"}, "supervisely-meta"),
        ("a.json", {"metadata": {}, "instances": []}, "superannotate"),
        ("a.json", {"version": "2.0", "item": {}, "annotations": []}, "darwin"),
        ("a.json", {"categories": {}, "items": []}, "datumaro"),
        ("a.json", [{"data_row": {}, "projects": {}}], "labelbox"),
        ("a.json", [{"image": "a.png", "annotations": [{"coordinates": {}}]}], "createml"),
        ("a.json", [{"image": "a.png", "label": [{"original_width": 16}]}], "label-studio-min"),
        ("a.npy", "\x93NUMPY", "pickled"),
        ("a.pkl", "x", "pickled"),
    ],
)
def test_what_is_recognised_and_not_read_names_the_export_to_choose(folder, name, content, kind):
    write(folder / name, content)
    assert not_read.detect(folder)
    assert message(folder) == (
        f"set/ has 1 problem:\n  {name}  {not_read.KINDS[kind]}\n"
        "Export them in this format next to their images, then run the command again."
    )


def test_boxes_of_pascal_voc_beside_images(folder):
    (folder / "images").mkdir()
    for name in "ab":
        (folder / f"{name}.png").rename(folder / f"images/{name}.png")
        write(folder / f"annotations/{name}.xml", "<annotation><object><bndbox/></object></annotation>")
    assert message(folder) == (
        "set/ has 1 problem:\n"
        "  annotations/a.xml  Pascal VOC XML with boxes around objects, which are not masks; "
        "outline the objects with polygons and export COCO, or masks as PNG (2 such files)\n"
        "Export them in this format next to their images, then run the command again."
    )


def test_files_that_are_not_read_do_not_matter_beside_masks(folder):
    for name in "ab":
        save(folder / f"images/{name}.png", picture(ord(name)))
        save(folder / f"masks/{name}.png", marking())
        (folder / f"{name}.png").unlink()
        write(folder / f"annotations/{name}.xml", "<annotation/>")
        (folder / f"{name}.npy").write_bytes(b"x")
    assert read_folder(folder).layout == "pairs"

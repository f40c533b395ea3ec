"""Annotation files of every tool with one thing in them replaced: a mask, or a refusal; nothing else may happen."""

import contextlib
import copy
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptsam_auto.data.formats import coco, cvat, geojson, imagej, label_studio, labelme, via, yolo
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import DatasetError
from tests.data import test_coco, test_other_tools
from tests.data.folders import marking, picture, save
from tests.data.test_other_tools import LEFT, RECTANGLE

EXAMPLES = int(os.environ.get("PTSAM_AUTO_EXAMPLES", "100"))
ODD = [None, True, False, 0, -1, 1, 7, 1e308, 3e9, -(2**31), 10**40, 10**400, float("nan"), float("inf"), -float("inf")]
ODD += [
    "",
    "x",
    "a.png",
    "../../etc/passwd",
    "C:\\a.png",
    "\x00",
    "polygon",
    "9" * 30,
    [],
    {},
    [[]],
    [{}],
    [1, 2],
    {"a": 1},
]

PATCH = {"points": [[1, 1], [3, 3]], "shape_type": "mask", "label": "cell", "mask": "iVBORw0KGgo="}
JSONS = {
    "coco": (coco, "c.json", test_coco.content([test_coco.BOX, test_coco.run_lengths(marking())])),
    "labelme": (labelme, "a.json", test_other_tools.of_labelme("a.png", [test_other_tools.shape(RECTANGLE), PATCH])),
    "via": (via, "v.json", test_other_tools.via_images()),
    "geojson": (geojson, "a.geojson", test_other_tools.collection(test_other_tools.feature([RECTANGLE]))),
    "label-studio": (
        label_studio,
        "l.json",
        [
            test_other_tools.task(
                "a.png",
                [
                    test_other_tools.result("polygonlabels", test_other_tools.percent(LEFT)),
                    test_other_tools.result("ellipselabels", {"x": 5, "y": 5, "radiusX": 5, "radiusY": 5}),
                    test_other_tools.result("brushlabels", test_other_tools.stroke(marking())),
                ],
            )
        ],
    ),
}


def paths(content, path=()):
    """Yield the place of everything in a JSON file; of long lists the first entries."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items)[:10]:
        yield from paths(value, (*path, key))


def replaced(content, path, value):
    if not path:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


def assert_read_or_refused(tool, write):
    """Whatever was written: a mask of the image's size, or an error that names a place."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, image in enumerate(("a.png", "b.png")):
            save(folder / image, picture(seed))
        write(folder)
        with contextlib.suppress(DatasetError):
            tool.detect(folder)
            for entry in tool.read(folder, ReadingOptions()).entries:
                with contextlib.suppress(DatasetError):
                    mask = entry.mask.read(0)
                    assert mask.shape == (12, 16)
                    assert mask.dtype == np.bool_


hostile = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", JSONS)
@hostile
@given(data=st.data())
def test_json_with_something_replaced(kind, data):
    tool, name, content = JSONS[kind]
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(paths(content))))
        content = replaced(content, path, data.draw(st.sampled_from(ODD)))
    assert_read_or_refused(tool, lambda folder: (folder / name).write_text(json.dumps(content)))


@hostile
@given(data=st.data())
def test_cvat_with_something_replaced(data):
    shapes = '<mask label="c" rle="1, 2, 1" left="4" top="1" width="2" height="2"/><ellipse label="c" cx="5" cy="5" '
    shapes += 'rx="2" ry="2" rotation="4"/><polygon label="c" points="1,1;5,1;5,5"/>'
    text = f'<annotations><image id="0" name="a.png" width="16" height="12">{shapes}</image></annotations>'
    values = ["", "x", "nan", "inf", "-1", "1e308", "9" * 400, "0", "1,1", ";", "&", "<", "\x00", "1e5", "4294967296"]
    parts = text.split('"')
    for _ in range(data.draw(st.integers(1, 3))):
        parts[2 * data.draw(st.integers(0, len(parts) // 2 - 1)) + 1] = data.draw(st.sampled_from(values))
    assert_read_or_refused(cvat, lambda folder: (folder / "annotations.xml").write_text('"'.join(parts)))


@hostile
@given(st.lists(st.one_of(st.floats().map(str), st.integers().map(str), st.sampled_from(["x", "\n", "\n0 ", "1_0"]))))
def test_yolo_with_random_words(words):
    def write(folder):
        (folder / "labels").mkdir()
        (folder / "labels/a.txt").write_text(test_other_tools.yolo_line(RECTANGLE) + "\n0 " + " ".join(words))

    assert_read_or_refused(yolo, write)


@hostile
@given(
    st.sampled_from([0, 1, 2, 5, 7, 10, -1]), st.lists(st.tuples(st.integers(4, 150), st.integers(0, 255)), max_size=6)
)
def test_imagej_with_bytes_replaced(kind, bytes_):
    region = bytearray(test_other_tools.roi(RECTANGLE).tobytes())
    region[6] = kind % 256
    for at, byte in bytes_:
        region[at % len(region)] = byte
    assert_read_or_refused(imagej, lambda folder: (folder / "a.roi").write_bytes(bytes(region)))

"""Label Studio's JSON: polygons, ellipses and brush strokes, in percent of the image's size."""

# H W  rows and columns in a result, px

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from ptsam_auto.data.formats.annotation_files import files_of_kind, has_kind, load_json, size_of
from ptsam_auto.data.formats.collection import Collection
from ptsam_auto.data.formats.drawn import BOX, LINE, Annotated, Outline, drawing_fault, outlined, size_fault
from ptsam_auto.data.formats.layout import Listing
from ptsam_auto.data.formats.outlines import Patch, Region, ellipse, finite, points_of, polygon
from ptsam_auto.data.options import DEFAULT, ReadingOptions

NAME = "label-studio"
SKETCH = "the JSON export of Label Studio and its images (here or in images/)"
BOXES, LINES = ("rectanglelabels", "rectangle"), ("keypointlabels", "keypoint", "vectorlabels", "vector")
NO_SHAPES = ("choices", "datetime", "number", "pairwise", "ranker", "rating", "relation", "taxonomy", "textarea")
CHANNELS = 4  # a brush stroke is stored as an image with red, green, blue and alpha


def detect(folder: Path) -> bool:
    """Return whether a JSON file was written by Label Studio."""
    return has_kind(folder, NAME, ".json")


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read the tasks of each export; tasks without annotation and images without task are left out.

    Raises:
        DatasetError: The user selected a category that no file has.
    """
    collection = Collection(folder, "Label Studio", "result", options)
    for source in files_of_kind(folder, NAME, ".json"):
        for number, task in enumerate(collection.load(source, load_json) or [], start=1):
            try:
                _read_task(collection, source, task)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                what = f"task {number} is not as Label Studio writes it: {type(error).__name__} {error}"
                collection.problem(source, f"{what}; export it again")
    return collection.listing()


def _read_task(collection: Collection, source: Path, task: Any) -> None:  # noqa: ANN401 - JSON
    stated = _image_name(task["data"])
    written = task.get("annotations", task.get("completions")) or []
    valid = [annotation for annotation in written if not annotation.get("was_cancelled")]
    chosen = [annotation for annotation in valid if annotation.get("ground_truth")] or valid
    if len(chosen) > 1:
        what = f"has {len(chosen)} annotations; keep one, or mark one as ground truth"
        collection.problem(source, what, stated)
    if len(chosen) != 1:
        return
    file = collection.locate(source, stated)
    if file is None:
        return
    results = [result for result in chosen[0]["result"] if result.get("type") not in NO_SHAPES]
    sizes = {size_of(result, "original_height", "original_width") for result in results}
    if len(sizes) > 1:
        collection.problem(source, "its results state different sizes of the image; export it again", stated)
        return
    size = sizes.pop() if sizes else None
    outlines = tuple(_outline(number, result, size) for number, result in enumerate(results, start=1))
    collection.add(Annotated(source, stated, file, size, outlines))


def _image_name(data: dict[str, Any]) -> str:
    """Return the path of the image in a task: an upload, a local file, or a URL."""
    texts = [value for value in data.values() if isinstance(value, str) and value]
    stated = data["image"] if isinstance(data.get("image"), str) else texts[0] if len(texts) == 1 else None
    if stated is None:
        raise ValueError("it does not name one image")
    parts = urlsplit(stated)
    local = parse_qs(parts.query).get("d")
    path = local[0] if local else unquote(parts.path)
    return path.removeprefix("/data/upload/").lstrip("/") if path else stated


def _outline(number: int, result: dict[str, Any], size: tuple[int, int] | None) -> Outline:
    place, label = str(result.get("id") or number)[:20], _label(result)
    if size is None:
        return Outline(place, label, (), drawing_fault("it does not state the image's size"))
    if size_fault(size):
        return Outline(place, label, ())  # the wrong size is reported as the problem
    if result.get("image_rotation"):
        return Outline(place, label, (), drawing_fault("its image was rotated in Label Studio; export COCO instead"))
    return outlined(place, label, lambda: _region(str(result["type"]), result["value"], *size))


def _label(result: dict[str, Any]) -> str:
    value = result.get("value")
    names = value.get(str(result.get("type")), []) if isinstance(value, dict) else []
    return ", ".join(str(name) for name in names) if isinstance(names, list) else ""


def _region(kind: str, value: dict[str, Any], height: int, width: int) -> Region | None:
    if kind.startswith("polygon"):
        return polygon([(points_of(value["points"]) / 100).tolist()], relative=True)
    if kind.startswith("ellipse"):
        x, y, radius_x, radius_y = (finite(value[key]) / 100 for key in ("x", "y", "radiusX", "radiusY"))
        turn = finite(value.get("rotation", 0))
        return ellipse(x * width, y * height, radius_x * width, radius_y * height, turn)
    if kind.startswith("brush"):
        stroke = _brush(value["rle"], height, width)
        return Patch(stroke) if stroke.any() else None
    if kind in LINES:
        raise ValueError(LINE)
    raise ValueError(BOX if kind in BOXES else f"the type {kind[:20]!r} is not read; export masks as PNG")


def _brush(rle: Any, height: int, width: int) -> np.ndarray:  # noqa: ANN401 - JSON
    """Return the pixels where the alpha of a brush stroke is not zero, H W, bool; raises ValueError if it is damaged.

    The format consists of bits, not bytes: 32 bits for the number of values, 5 for the number of bits of a value, and
    four times 4 for the number of bits of a length. Then runs follow. Each has one bit for whether its values are all
    the same, 2 bits that select one of the four widths of a length, the length, and one value or as many values as the
    length.
    """
    if not isinstance(rle, list) or not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
        raise ValueError("its brush stroke is no list of bytes")
    bits = _Bits(rle)
    count = bits.take(32)
    if count != height * width * CHANNELS:
        raise ValueError(f"its brush stroke has {count} values; expected {CHANNELS} x {width} x {height}")
    value_bits = bits.take(5) + 1
    length_bits = [bits.take(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    start = 0
    while start < count:
        is_run = bits.take(1)
        end = min(count, start + 1 + bits.take(length_bits[bits.take(2)]))
        if is_run:
            values[start:end] = bits.take(value_bits) & 255
        else:
            values[start:end] = [bits.take(value_bits) & 255 for _ in range(end - start)]
        start = end
    return values.reshape(height, width, CHANNELS)[..., -1] > 0


class _Bits:
    """Reads numbers from bytes, the highest bit first."""

    def __init__(self, data: list[int]) -> None:
        self._text = "".join(f"{byte:08b}" for byte in data)
        self._at = 0

    def take(self, count: int) -> int:
        """Return the number in the next bits; raises ValueError if too few bits are left."""
        bits = self._text[self._at : self._at + count]
        if len(bits) < count:
            raise ValueError("its brush stroke is cut short")
        self._at += count
        return int(bits, 2)

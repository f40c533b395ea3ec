"""YOLO's segmentation labels: labels/NAME.txt with one class and polygon per line, in fractions of the image size."""

import os
from pathlib import Path

from ptsam_auto.data.formats.annotation_files import load_yaml
from ptsam_auto.data.formats.collection import Collection
from ptsam_auto.data.formats.drawn import BOX, Annotated, Outline, outlined
from ptsam_auto.data.formats.layout import JUNK, Listing, relative
from ptsam_auto.data.formats.outlines import Polygon, polygon
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import is_folder
from ptsam_auto.errors import DatasetError, Problem

NAME = "yolo"
SKETCH = "images/NAME.png and labels/NAME.txt of YOLO's segmentation (also in train/ and val/)"
LABELS = "labels"
DEPTH = 3  # maximum depth of subfolders
BOX_NUMBERS = 4
FARTHEST = 1.5  # larger numbers are pixels, not fractions of the image size
CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")


def detect(folder: Path) -> bool:
    """Return whether a labels/ folder contains a text file with a class and numbers."""
    return any(_is_labels(file) for file in _label_files(folder))


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read one text file per image; an empty file is an image without objects, and images without one are left out.

    Raises:
        DatasetError: The user selected a category that no file has.
    """
    collection = Collection(folder, "YOLO", "line", options)
    names = collection.load(folder, _class_names) or {}
    for name in names.values():
        collection.labels[name] += 0
    for source in _label_files(folder):
        lines = collection.load(source, _lines)
        file = None if lines is None else collection.locate_own(source, source.stem, _image_folder(source, folder))
        if lines is not None and file is not None:
            filled = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
            outlines = tuple(_outline(number, line, names) for number, line in filled)
            collection.add(Annotated(source, "", file, None, outlines))
    return collection.listing()


def _label_files(folder: Path) -> list[Path]:
    files = []
    for place, folders, names in os.walk(folder):
        inside = Path(place).relative_to(folder).parts
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n.lower() not in JUNK)[:1000]
        if len(inside) >= DEPTH:
            folders.clear()
        if LABELS in (part.lower() for part in inside):
            files += [Path(place) / n for n in sorted(names) if n.lower().endswith(".txt") and n not in CLASS_FILES]
    return files


def _image_folder(source: Path, folder: Path) -> Path:
    """Return the image folder of a label file: images/train/ for labels/train/, train/images/ for train/labels/."""
    parts = list(source.parent.relative_to(folder).parts)
    last = max(index for index, part in enumerate(parts) if part.lower() == LABELS)
    parts[last] = "images"
    return folder.joinpath(*parts)


def _is_labels(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            category, *numbers = lines.readline(1_000_000).split()
            return category.isdecimal() and len([float(number) for number in numbers]) >= BOX_NUMBERS
    except (OSError, ValueError):
        return False


def _lines(source: Path) -> list[str]:
    try:
        return source.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        what = f"cannot be opened: {error.strerror}"
    except ValueError:
        what = "not text; expected a class and a polygon in each line"
    raise DatasetError(source.parent, [Problem(source.name, what)])


def _class_names(folder: Path) -> dict[str, str]:
    """Return the names of the classes by their numbers, from data.yaml or classes.txt.

    Raises:
        DatasetError: A YAML file is damaged.
    """
    places = [folder, *(path for path in sorted(folder.iterdir()) if is_folder(path))]
    for file in (file for place in places for file in (*sorted(place.glob("*.yaml")), *sorted(place.glob("*.yml")))):
        if not file.is_file():
            continue
        try:
            content = load_yaml(file)
        except (OSError, ValueError) as error:
            what = "cannot be read as YAML; expected YOLO's file with the names of the classes"
            raise DatasetError(folder, [Problem(relative(file, folder), what)]) from error
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list | dict):
            numbered = names.items() if isinstance(names, dict) else enumerate(names)
            return {str(number): str(name) for number, name in numbered if isinstance(name, str | int)}
    for file in (place / name for place in places for name in CLASS_FILES):
        if file.is_file():
            return {str(number): line.strip() for number, line in enumerate(_lines(file)) if line.strip()}
    return {}


def _outline(number: int, line: str, names: dict[str, str]) -> Outline:
    category, *numbers = line.split()
    label = names.get(category, f"class {category[:20]}")
    return outlined(str(number), label, lambda: _region(numbers))


def _region(numbers: list[str]) -> Polygon | None:
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        raise ValueError("expected a class and numbers between 0 and 1") from None
    if len(values) == BOX_NUMBERS:
        raise ValueError(BOX)
    region = polygon([values], relative=True)
    if region is not None and any(abs(points).max() > FARTHEST for points in region.rings):
        raise ValueError(
            f"a coordinate is {max(values, key=abs):g}; expected fractions of the image's size, between 0 and 1"
        )
    return region

"""The layout with train/ and val/ or test/, each with its own images and masks; they are also the user's split."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ptsam_auto.data.formats import cellpose, class_folders, objects, pairs
from ptsam_auto.data.formats.layout import Layout, Listing, visible
from ptsam_auto.data.names import SPLIT_FOLDERS
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import is_folder
from ptsam_auto.errors import Problem

NAME = "parts"
SKETCH = "train/ and val/ or test/, each as in pairs, classes or cellpose; val/ and test/ are measured on"
INNER: tuple[Layout, ...] = (objects, class_folders, pairs, cellpose)


def detect(folder: Path) -> bool:
    """Return whether there is a folder train/ with images and masks."""
    return any(SPLIT_FOLDERS[path.name.lower()] == "train" and _inner(path) for path in _parts(folder))


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read each part; the names of its images start with the name of the part.

    Raises:
        DatasetError: A part cannot be read.
    """
    parts, problems, listings = _parts(folder), [], {}
    classes = _classes(parts)
    for part in parts:
        layout = _inner(part)
        if classes and class_folders.folders_of(part):
            listings[part.name] = class_folders.read(part, options, classes)
        elif classes and layout is not None:
            problems.append(Problem(f"{part.name}/", f"no folder of masks for each class ({', '.join(classes)})"))
        elif layout is not None:
            listings[part.name] = layout.read(part, options)
    entries = [
        replace(entry, name=f"{name}_{entry.name}", part=SPLIT_FOLDERS[name.lower()])
        for name, listing in listings.items()
        for entry in listing.entries
    ]
    read_parts = [f"{name}/ ({len(listing.entries)} images)" for name, listing in listings.items()]
    return Listing(
        tuple(sorted(entries, key=lambda entry: entry.name)),
        (
            *problems,
            *(_moved(problem, name) for name, listing in listings.items() for problem in listing.problems),
        ),
        (
            f"parts: {', '.join(read_parts)}.",
            *dict.fromkeys(note for listing in listings.values() for note in listing.notes),
        ),
        tuple(_moved(problem, name) for name, listing in listings.items() for problem in listing.left_out),
        next((listing.pattern for listing in listings.values() if listing.pattern), ""),
        tuple(f"{name}/{where}" for name, listing in listings.items() for where in listing.unmasked),
        next((listing.classes for listing in listings.values()), ()),
    )


def _parts(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if is_folder(path) and path.name.lower() in SPLIT_FOLDERS]


def _classes(parts: Sequence[Path]) -> tuple[str, ...]:
    """Return the classes of all parts if one has a folder of masks for each class, otherwise ()."""
    if not any(class_folders.detect(part) for part in parts):
        return ()
    return tuple(sorted({name for part in parts for name in class_folders.folders_of(part)}))


def _inner(part: Path) -> Layout | None:
    return next((layout for layout in INNER if layout.detect(part)), None)


def _moved(problem: Problem, part: str) -> Problem:
    return Problem(f"{part}/{problem.where}", problem.what)

"""List of the supported folder layouts, and detection of the layout of a folder."""

from dataclasses import replace
from pathlib import Path

from ptsam_auto.data.formats import (
    cellpose,
    class_folders,
    coco,
    cvat,
    geojson,
    imagej,
    label_studio,
    labelme,
    nnunet,
    not_read,
    objects,
    pairs,
    parts,
    via,
    yolo,
)
from ptsam_auto.data.formats.layout import Layout, Listing, visible
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import is_folder
from ptsam_auto.errors import ConfigError, DatasetError, Problem, suggestion

OTHER_TOOLS: tuple[Layout, ...] = (labelme, cvat, via, yolo, geojson, imagej, label_studio, not_read)
FROM_FILES: tuple[Layout, ...] = (coco, labelme, cvat, via, yolo, geojson, imagej, label_studio)  # of annotations
LAYOUTS: tuple[Layout, ...] = (nnunet, coco, *OTHER_TOOLS, parts, pairs, class_folders, cellpose, objects)


def recognise(folder: Path, options: ReadingOptions = DEFAULT) -> Layout:
    """Return the layout that the folder follows; see `listed`."""
    return listed(folder, options)[0]


def listed(folder: Path, options: ReadingOptions = DEFAULT) -> tuple[Layout, Listing]:
    """Return the layout of the folder, and the images and masks that it finds by their names.

    Raises:
        DatasetError: The folder does not exist, is empty, follows no layout or several, or cannot be read.
        ConfigError: The options name a layout that does not exist.
    """
    known = {layout.NAME: layout for layout in LAYOUTS}
    if options.layout and options.layout not in known:
        raise ConfigError(f"There is no layout {options.layout}. {suggestion(options.layout, known)}")
    if not folder.exists():
        raise DatasetError(folder, [Problem("", "no such folder")], "Check the path, then run the command again.")
    if not is_folder(folder):
        raise DatasetError(
            folder,
            [Problem("", "an image; expected a folder of images" if folder.is_dir() else "a file; expected a folder")],
            "Check the path, then run the command again.",
        )
    found = visible(folder)
    if not found:
        raise DatasetError(folder, [Problem("", "an empty folder; expected images and masks")], _accepted())
    if options.layout:
        return known[options.layout], known[options.layout].read(folder, options)
    followed = [layout for layout in LAYOUTS if layout.detect(folder)]
    if not followed:
        raise DatasetError(folder, [Problem("", _unknown(folder, found))], _accepted())
    if len(followed) == 1:
        return followed[0], followed[0].read(folder, options)
    return _one_of(folder, followed, options)


def _one_of(folder: Path, followed: list[Layout], options: ReadingOptions) -> tuple[Layout, Listing]:
    """Select one of several detected layouts: the only one that finds images with masks.

    Raises:
        DatasetError: Several layouts find images with masks, or the only one cannot be read.
    """
    listings, failures = [], []
    for layout in followed:
        try:
            listings.append((layout, layout.read(folder, options)))
        except DatasetError as error:
            failures.append(error)
    complete = [(layout, listing) for layout, listing in listings if listing.entries]
    if len(complete) > 1:
        ways = [f"{layout.NAME} ({len(listing.entries)} images)" for layout, listing in complete]
        what = f"two arrangements at once: {' and '.join(ways)}; which one holds what was drawn?"
        advice = f"Say which with --layout {complete[0][0].NAME} (or the other), or move one of them elsewhere."
        raise DatasetError(folder, [Problem("", what)], advice)
    broken = [
        (layout, listing)
        for layout, listing in listings
        if layout in FROM_FILES and listing.problems and not listing.entries
    ]
    if complete and broken:
        both = (
            f"{complete[0][0].NAME} ({len(complete[0][1].entries)} images) and {broken[0][0].NAME}, which has problems"
        )
        problems = [Problem("", f"two arrangements at once: {both}; which one holds what was drawn?")]
        problems += [problem for _, listing in broken for problem in listing.problems]
        advice = f"Correct these, or say --layout {complete[0][0].NAME} if that is what was drawn."
        raise DatasetError(folder, problems, advice)
    if complete:
        layout, listing = complete[0]
        notes = [note for other, found in listings if other is not layout for note in found.notes]
        notes += [f"{p.where or folder} is left out: {p.what}." for error in failures for p in error.problems]
        return layout, replace(listing, notes=(*listing.notes, *notes))
    if failures:
        raise failures[0]
    return listings[0]


def _detect_layout(folder: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.detect(folder)), None)


def _unknown(folder: Path, found: list[Path]) -> str:
    names = [path.name + ("/" if is_folder(path) else "") for path in found]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    inner = [path for path in found if is_folder(path) and _detect_layout(path)]
    hint = f"; did you mean {folder / inner[0].name}/ ?" if inner else ""
    return f"no known arrangement of images and masks; found {shown}{hint}"


def _accepted() -> str:
    width = max(len(layout.NAME) for layout in LAYOUTS)
    order = sorted(LAYOUTS, key=lambda layout: layout is not pairs)  # the simplest first
    lines = [f"  {layout.NAME:<{width}}  {layout.SKETCH}" for layout in order]
    return "\n".join(["Arrange them in one of these ways, then run the command again:", *lines])

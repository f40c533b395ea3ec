"""Layouts that people's folders follow, and which of them a folder follows."""

from pathlib import Path

from ptsam_auto.data.formats import cellpose, coco, nnunet, pairs
from ptsam_auto.data.formats.layout import Layout, visible
from ptsam_auto.errors import DatasetError, Problem

LAYOUTS: tuple[Layout, ...] = (nnunet, coco, pairs, cellpose)


def recognise(folder: Path) -> Layout:
    """Return the layout that the folder follows.

    Raises:
        DatasetError: there is no such folder, it is empty, or it follows none.
    """
    if not folder.exists():
        raise DatasetError(folder, [Problem("", "no such folder")], "Check the path, then run the command again.")
    if not folder.is_dir():
        raise DatasetError(
            folder, [Problem("", "a file; expected a folder")], "Check the path, then run the command again."
        )
    found = visible(folder)
    if not found:
        raise DatasetError(folder, [Problem("", "an empty folder; expected images and masks")], _accepted())
    layout = _follows(folder)
    if layout is None:
        raise DatasetError(folder, [Problem("", _unknown(folder, found))], _accepted())
    return layout


def _follows(folder: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.detect(folder)), None)


def _unknown(folder: Path, found: list[Path]) -> str:
    names = [path.name + ("/" if path.is_dir() else "") for path in found]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    inner = [path for path in found if path.is_dir() and _follows(path)]
    hint = f"; did you mean {folder / inner[0].name}/ ?" if inner else ""
    return f"no known arrangement of images and masks; found {shown}{hint}"


def _accepted() -> str:
    width = max(len(layout.NAME) for layout in LAYOUTS)
    order = sorted(LAYOUTS, key=lambda layout: layout is not pairs)  # the simplest first
    lines = [f"  {layout.NAME:<{width}}  {layout.SKETCH}" for layout in order]
    return "\n".join(["Arrange them in one of these ways, then run the command again:", *lines])

"""A COCO file: outlines as polygons or run lengths, images beside it or in images/."""

# H W  px, rows and columns, as the COCO file states them

import json
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ptsam_auto.data.formats.layout import Entry, ImageFiles, Listing, relative, subfolder, visible
from ptsam_auto.errors import DatasetError, Problem

NAME = "coco"
SKETCH = "a COCO file (here or in annotations/) and its images (here or in images/)"
NOT_COCO = ("dataset.json", "splits.json")


@dataclass(frozen=True)
class DrawnMask:
    """A mask drawn from the outlines of one image; all categories are foreground.

    Args:
        coco_file: where the outlines are from.
        file_name: the image's, as the COCO file has it.
        height: H, px.
        width: W, px.
        outlines: COCO segmentations, polygons or run lengths.
    """

    coco_file: Path
    file_name: str
    height: int
    width: int
    outlines: tuple[Any, ...]

    def label(self, root: Path) -> str:
        """Return what messages call it."""
        return f"{relative(self.coco_file, root)}: {self.file_name}"

    def count_pages(self) -> int:
        """Return 1: COCO knows no stacks."""
        return 1

    def read(self, page: int) -> np.ndarray:  # noqa: ARG002 - a MaskSource
        """Return H W, bool; raises DatasetError where run lengths are damaged."""
        mask = np.zeros((self.height, self.width), bool)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools' own, under numpy 2
                for outline in self.outlines:
                    mask |= coco_mask.decode(_run_lengths(outline, self.height, self.width)).astype(bool)
        except Exception as error:  # the decoder throws whatever it stumbles over
            problem = Problem(self.coco_file.name, f"run lengths of {self.file_name} are damaged; export it again")
            raise DatasetError(self.coco_file.parent, [problem]) from error
        return mask


def detect(folder: Path) -> bool:
    """Say whether a JSON file here or in annotations/ lists images and annotations, and no masks/ says otherwise."""
    return subfolder(folder, "masks") is None and bool(_candidates(folder))


def read(folder: Path) -> Listing:
    """Read the one COCO file; images that it does not list are left alone.

    Raises:
        DatasetError: there are several COCO files, or the one is not valid.
    """
    candidates = _candidates(folder)
    if len(candidates) > 1:
        first, *others = (relative(path, folder) for path in candidates)
        what = (
            f"one of {len(candidates)} COCO files (also {', '.join(others)}); expected one, move the others elsewhere"
        )
        raise DatasetError(folder, [Problem(first, what)])
    path, content = next(iter(candidates.items()))
    where = relative(path, folder)
    if isinstance(content, str):
        raise DatasetError(folder, [Problem(where, content)])
    try:
        annotations = defaultdict(list)
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        images = {image["id"]: image for image in content["images"]}
        listing = _listing(folder, path, images, annotations)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"not as COCO writes it: {type(error).__name__} {error}; export it again"
        raise DatasetError(folder, [Problem(where, what)]) from error
    unknown = sorted(str(key) for key in set(annotations) - set(images))
    lost = [Problem(where, f"annotations of image {key}, which is not among its images") for key in unknown]
    return Listing(listing.entries, (*listing.problems, *lost))


def _candidates(folder: Path) -> dict[Path, dict[str, Any] | str]:
    """Return the files that may be meant, each with what `_content` says."""
    inner = subfolder(folder, "annotations")
    files = [*visible(folder), *(visible(inner) if inner else [])]
    files = [path for path in files if path.suffix.lower() == ".json" and path.name.lower() not in NOT_COCO]
    # A broken file counts, so that the message is about its line 3 and not about an unknown layout.
    contents = {path: _content(path) for path in files}
    return {path: found for path, found in contents.items() if isinstance(found, str) or _is_coco(found)}


def _is_coco(content: dict[str, Any]) -> bool:
    annotations = content.get("annotations")
    if not isinstance(content.get("images"), list) or not isinstance(annotations, list):
        return False
    captions_only = annotations and all("caption" in annotation for annotation in annotations)
    return not captions_only


def _content(path: Path) -> dict[str, Any] | str:
    """Return the parsed file, or what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    except ValueError as error:
        return f"not valid JSON: {error}"
    return content if isinstance(content, dict) else {}


def _listing(folder: Path, path: Path, images: dict[Any, Any], annotations: dict[Any, list[Any]]) -> Listing:
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for key, image in images.items():
        file_name = str(image["file_name"])
        file = _find(folder, path.parent, file_name)
        if file is None:
            problems.append(Problem(file_name, f"listed in {relative(path, folder)}, but neither here nor in images/"))
            continue
        height, width = int(image["height"]), int(image["width"])
        outlines = tuple(annotation.get("segmentation") for annotation in annotations[key])
        bad = sum(not _is_drawable(outline, height, width) for outline in outlines)
        if bad:
            what = f"{bad} of its {len(outlines)} annotations cannot be drawn; expected polygons or run lengths"
            problems.append(Problem(relative(file, folder), what))
        elif file.stem in entries:
            first = relative(entries[file.stem].image.files[0], folder)
            problems.append(Problem(relative(file, folder), f"has the same name as {first}; rename one"))
        else:
            mask = DrawnMask(path, file_name, height, width, outlines)
            entries[file.stem] = Entry(file.stem, ImageFiles((file,)), mask)
    return Listing(tuple(entries[name] for name in sorted(entries)), tuple(problems))


def _find(folder: Path, beside: Path, file_name: str) -> Path | None:
    """Return the image inside the user's folder, also where the file was made on another computer."""
    stated = PureWindowsPath(file_name)  # takes both kinds of slash
    names = (
        [stated.name]
        if stated.is_absolute() or stated.root or ".." in stated.parts
        else [stated.as_posix(), stated.name]
    )
    places = [folder, folder / "images", beside]
    return next((place / name for name in names for place in places if (place / name).is_file()), None)


def _is_drawable(outline: Any, height: int, width: int) -> bool:  # noqa: ANN401 - JSON
    if isinstance(outline, list):
        return bool(outline) and all(
            isinstance(polygon, list)
            and len(polygon) >= 6
            and len(polygon) % 2 == 0
            and all(isinstance(number, int | float) for number in polygon)
            for polygon in outline
        )
    if not isinstance(outline, dict) or list(outline.get("size", [])) != [height, width]:
        return False
    counts = outline.get("counts")
    if isinstance(counts, list):
        return all(isinstance(count, int) and count >= 0 for count in counts) and sum(counts) == height * width
    return isinstance(counts, str)


def _run_lengths(outline: Any, height: int, width: int) -> dict[str, Any]:  # noqa: ANN401 - JSON
    if isinstance(outline, list):
        return coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    if isinstance(outline["counts"], list):
        return coco_mask.frPyObjects(outline, height, width)
    return {"size": outline["size"], "counts": outline["counts"].encode()}

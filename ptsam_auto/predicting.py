"""A specialist on files: masks of new images, scores on annotated ones."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.table import Table

from ptsam_auto.data.decode import count_pages
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.images import SUFFIXES, read_image
from ptsam_auto.errors import DatasetError, OutputError, Problem
from ptsam_auto.show import Show
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.evaluate import Scores, evaluate
from ptsam_auto.specialist.report import overlay


def predict_files(
    specialist: Specialist, inputs: Sequence[Path], out: Path, overlays: Path | None, show: Show
) -> list[Path]:
    """Write the mask of every image as PNG, 0 and 255, at the image's own size; a stack gives one a page.

    An image that cannot be read does not stop the others.

    Args:
        specialist: loaded.
        inputs: image files, or folders of them.
        out: folder of the masks, NAME.png.
        overlays: folder for pictures of image and mask, or None.
        show: where progress goes.

    Returns:
        The masks that were written.

    Raises:
        DatasetError: nothing to predict, two images of one name, or some that could not be read (after the others
            were written).
        OutputError: a folder cannot be written to.
    """
    paths = _image_files(inputs)
    for folder in [out] if overlays is None else [out, overlays]:
        _make(folder)
    written, problems = [], []
    with show.bar("Predicting") as update:
        for done, path in enumerate(paths, start=1):
            try:
                for name, image in _pages(path):
                    mask = specialist.predict(image)
                    written.append(_write(out / f"{name}.png", mask.astype(np.uint8) * 255))
                    if overlays is not None:
                        _write(overlays / f"{name}.png", overlay(image, mask))
            except DatasetError as error:
                problems += [Problem(str(path), problem.what) for problem in error.problems]
            update(done, len(paths))
    show.say(f"{len(written)} masks: {out}/")
    if problems:
        advice = "All other masks are written. Fix or remove these files, then run the command again."
        raise DatasetError(None, problems, advice)
    return written


def evaluate_folder(specialist: Specialist, folder: Path, out: Path | None, allow_blank: bool, show: Show) -> Scores:
    """Measure on an annotated folder; print a table, and write the scores if asked.

    Args:
        specialist: loaded.
        folder: annotated images, in any layout that data.folder reads.
        out: path of a JSON file, or None.
        allow_blank: accept masks without foreground, or without background.
        show: where progress and warnings go.

    Raises:
        DatasetError: every problem of the folder.
        OutputError: out cannot be written.
    """
    with show.bar("Reading") as update:
        dataset = read_folder(folder, allow_blank=allow_blank, progress=update)
    with show.bar("Measuring") as update:
        total = len(dataset.pairs)
        scores = evaluate(specialist.predict, dataset.pairs, progress=lambda done: update(done, total))
    table = Table("image", "Dice", "IoU")
    for image in scores.images:
        table.add_row(image.name, f"{100 * image.dice:.1f}", f"{100 * image.iou:.1f}")
    table.add_section()
    table.add_row(
        "mean over images", f"{100 * scores.dice:.1f} +- {100 * scores.dice_std:.1f}", f"{100 * scores.iou:.1f}"
    )
    show.out.print(table)
    if scores.alarm:
        show.say(f"LOOK BEFORE YOU USE IT: {scores.alarm}")
    if out is not None:
        try:
            out.write_text(json.dumps({"fingerprint": dataset.fingerprint, **scores.as_dict()}, indent=2))
        except OSError as error:
            raise OutputError(f"Cannot write {out}: {error.strerror}.\nChoose another --out.") from None
    return scores


def _image_files(inputs: Sequence[Path]) -> list[Path]:
    paths: list[Path] = []
    problems: list[Problem] = []
    for given in inputs:
        if given.is_dir():
            inside = sorted(p for p in given.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                problems.append(Problem(str(given), f"no images; expected {', '.join(sorted(SUFFIXES))} files"))
            paths += inside
        elif given.is_file():
            paths.append(given)
        else:
            problems.append(Problem(str(given), "no such file or folder"))
    first: dict[str, Path] = {}
    for path in paths:
        if first.setdefault(path.stem, path) != path:
            problems.append(Problem(str(path), f"would overwrite the mask of {first[path.stem]}: both are {path.stem}"))
    if problems:
        raise DatasetError(None, problems)
    return paths


def _pages(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """An image, or each page of a stack, with the name of its mask; the names that `read_folder` gives."""
    count = count_pages(path)
    if count == 1:
        yield path.stem, read_image(path)
        return
    for page in range(count):
        yield f"{path.stem}_p{page:03d}", read_image(path, page)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write to {folder}: {error.strerror}.\nChoose another folder.") from None


def _write(path: Path, pixels: np.ndarray) -> Path:
    try:
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.\nChoose another folder.") from None
    return path

"""A specialist on files: masks of new images, scores on annotated ones."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.images import SUFFIXES
from ptsam_auto.errors import DatasetError, OutputError, Problem
from ptsam_auto.show import Show
from ptsam_auto.specialist.artifact import Specialist, load_specialist
from ptsam_auto.specialist.evaluate import Scores, evaluate
from ptsam_auto.specialist.masks import Destination, Predicted, predict_file


@dataclass(frozen=True)
class Loading:
    """How a specialist is loaded, here or by every worker.

    Args:
        specialist: its folder.
        backbone: path of its checkpoint, where that has moved.
        device: as torch names it; by default a GPU if there is one.
    """

    specialist: Path
    backbone: str | None = None
    device: str | None = None

    def load(self) -> Specialist:
        """The specialist; see `load_specialist`."""
        return load_specialist(self.specialist, backbone=self.backbone, device=self.device)


def predict_files(
    loading: Loading,
    inputs: Sequence[Path],
    to: Destination,
    show: Show,
    workers: int = 1,
    address: str | None = None,
) -> None:
    """Write the masks of images; called again, only what is missing. What cannot be read does not stop the others.

    Args:
        loading: of the specialist.
        inputs: image files, or folders of them.
        to: where masks go, see `specialist.masks`.
        show: where progress goes.
        workers: processes that predict side by side, on Ray; one needs no Ray.
        address: of a running Ray cluster whose machines see specialist, images and masks under these paths.

    Raises:
        DatasetError: nothing to predict, two images of one name, or some that could not be predicted (after the others
            were).
        SpecialistError: see `load_specialist`.
        ClusterError: Ray is not to be had, or has too little.
        OutputError: a folder cannot be written to.
    """
    paths = _image_files(inputs)
    to.make()
    # Loaded here in any case: whatever is wrong with it is said before workers start.
    specialist = loading.load()
    if workers == 1:
        results: Iterator[Predicted] = (predict_file(specialist, path, to) for path in paths)
    else:
        from ptsam_auto.distributed.predict import predict_together

        results = predict_together(loading.load, specialist.model.device.type == "cuda", paths, to, workers, address)
    written = kept = 0
    problems = []
    with show.bar("Predicting") as update:
        for done, one in enumerate(results, start=1):
            written, kept = written + one.written, kept + one.kept
            if one.problem:
                problems.append(Problem(one.path, one.problem))
            update(done, len(paths))
    show.say(f"{written} masks: {to.masks}/" + (f" ({kept} were there already)" if kept else ""))
    if problems:
        advice = "All other masks are written. Fix or remove these files, then run the command again."
        raise DatasetError(None, sorted(problems, key=lambda problem: problem.where), advice)


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

"""The command `evaluate`: computes the scores of a specialist on annotated images."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from rich.markup import escape

from ptsam_auto.commands.options import EvaluateOptions
from ptsam_auto.data.dataset import with_classes
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.leaks import seen_in_training
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import OutputError
from ptsam_auto.files import write_json
from ptsam_auto.metrics.classes import number_of
from ptsam_auto.specialist import scores
from ptsam_auto.specialist.artifact import Specialist, load_specialist
from ptsam_auto.specialist.scores import Scores
from ptsam_auto.terminal import Terminal, table_of
from ptsam_auto.tracking.models import local_folder


def evaluate(options: EvaluateOptions, terminal: Terminal) -> Scores:
    """Evaluate a specialist on annotated images, print a table, and write the scores if --out is given.

    Raises:
        SpecialistError: See `load_specialist`.
        DatasetError: The folder has problems; all of them are listed.
        OutputError: The scores cannot be written.
    """
    specialist = load_specialist(
        local_folder(options.specialist),
        backbone=options.backbone,
        device=options.device,
        tile=options.tile,
        tta=options.tta,
    )
    with terminal.bar("Reading") as update:
        dataset = read_folder(options.dataset, _reading(options, specialist), progress=update)
    if specialist.classes:
        dataset = with_classes(dataset, specialist.classes)
    _refuse_other_file(options.out)
    for line in dataset.understanding.lines():
        terminal.say(line)
    known = seen_in_training(dataset.pairs, specialist.record.data.train_images)
    if known:
        first, trained_as = known[0]
        terminal.say(
            f"WARNING: the specialist was trained on {len(known)} of these {len(dataset.pairs)} images "
            f"({first.name} as {trained_as}, ...). Do not report this score."
        )
    with terminal.bar("Evaluating") as update:
        total = len(dataset.pairs)
        result = scores.evaluate(
            specialist.predict,
            dataset.pairs,
            progress=lambda done: update(done, total),
            classes=number_of(specialist.classes),
        )
    table = table_of("image", "Dice", "IoU")
    for image in result.images:
        # The names of files may look like the markup of Rich.
        if image.blank:
            table.add_row(escape(image.name), "blank", f"{100 * image.predicted_share:.2f} % foreground")
        else:
            table.add_row(escape(image.name), f"{100 * image.dice:.1f}", f"{100 * image.iou:.1f}")
    table.add_section()
    mean, deviation = 100 * result.dice, 100 * result.dice_std
    table.add_row("mean over images", f"{mean:.1f} +- {deviation:.1f}", f"{100 * result.iou:.1f}")
    terminal.out.print(table)
    if specialist.classes:
        by_class = table_of("class", "Dice")
        for name, of_class in zip(specialist.classes, result.of_classes, strict=True):
            by_class.add_row(escape(name), "not shown" if of_class is None else f"{100 * of_class:.1f}")
        terminal.out.print(by_class)
    if result.false_positive_area is not None:
        count = len(result.images) - len(result.measured)
        terminal.say(
            f"{count} blank images are not in the mean. {100 * result.false_positive_area:.2f} % of their area was "
            "predicted as foreground."
        )
    if result.warning:
        terminal.say(f"WARNING: {result.warning}")
    if options.out is not None:
        try:
            write_json(options.out, {"fingerprint": dataset.fingerprint, **asdict(result)})
        except OSError as error:
            raise OutputError(f"Cannot write {options.out}: {error.strerror}.\nChoose another --out.") from None
    return result


def _reading(options: EvaluateOptions, specialist: Specialist) -> ReadingOptions:
    """Return the options for reading: the channels, and classes or not, as the specialist was trained."""
    reading = options.reading()
    if specialist.classes:
        reading = replace(reading, classes=True)
    return reading if reading.channels else replace(reading, channels=specialist.record.data.reading.channels)


def _refuse_other_file(path: Path | None) -> None:
    """Raise OutputError if the file exists and does not contain scores."""
    if path is None or not path.exists():
        return
    try:
        has_scores = {"fingerprint", "dice", "images"} <= json.loads(path.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        has_scores = False
    if not has_scores:
        raise OutputError(f"{path} exists and does not contain scores of ptsam-auto.\nChoose another --out.")

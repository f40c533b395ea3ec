"""The command `suggest`: ranks images without annotation by what annotating them would teach."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from ptsam_auto.commands.options import SuggestOptions
from ptsam_auto.data.dataset import image_digest
from ptsam_auto.data.leaks import KnownImage, is_known, thumbnail
from ptsam_auto.data.new_images import Source, find_new_images
from ptsam_auto.errors import DatasetError, OutputError, Problem
from ptsam_auto.files import write_text
from ptsam_auto.own_files import OwnFiles
from ptsam_auto.specialist.artifact import Specialist, load_descriptors, load_specialist
from ptsam_auto.specialist.masks import reading_of
from ptsam_auto.specialist.suggestion import Suggestion, choose, typical_distance
from ptsam_auto.specialist.suggestion_page import Card, card_of, write_page
from ptsam_auto.specialist.uncertainty import assess
from ptsam_auto.terminal import Terminal, table_of
from ptsam_auto.tracking.models import local_folder

LIST_FILE, PAGE_FILE = "suggested.csv", "suggested.html"


@dataclass(frozen=True)
class _Seen:
    """A page that could be annotated, and what the specialist says of it."""

    source: Source
    page: int
    disagreement: float
    expected_dice: float | None
    descriptor: np.ndarray


def suggest(options: SuggestOptions, terminal: Terminal) -> list[Suggestion]:
    """Rank the images, print the list, and write it if --out is given. Unreadable images are reported at the end.

    Images that the specialist was trained on, or that are nearly the same, are left out.

    Raises:
        DatasetError: There are no images, all of them are annotated, or some cannot be read. The last is raised after
            the others are ranked.
        SpecialistError: See `load_specialist`; or the specialist has no models of a cross-fit.
        OutputError: The list cannot be written, or would replace a file of the user.
    """
    own = None
    if options.out is not None:
        own = OwnFiles(options.out, [options.out / LIST_FILE, options.out / PAGE_FILE])
    folder = local_folder(options.specialist)
    specialist = load_specialist(folder, backbone=options.backbone, device=options.device, folds=True)
    annotated = load_descriptors(folder, specialist.record)
    new = find_new_images(options.images, reading_of(specialist), recursive=options.recursive)
    for note in new.notes:
        terminal.say(note)
    seen, known, problems = _look(specialist, new.sources, terminal)
    problems = [*new.unreadable, *problems]
    if known:
        terminal.say(f"{known} images are left out, because the specialist was trained on them or on nearly the same.")
    if not seen:
        raise _nothing_to_suggest(options.images, problems)
    suggestions, cards = [], []
    unit = typical_distance(annotated)
    picks = choose(
        [one.disagreement for one in seen], np.stack([one.descriptor for one in seen]), annotated, options.count
    )
    for pick in picks:
        one = seen[pick.index]
        suggestions.append(
            Suggestion(
                name=one.source.names[one.page],
                path=one.source.label,
                gain=pick.gain / unit,
                disagreement=one.disagreement,
                expected_dice=one.expected_dice,
                nearest=specialist.record.data.train[pick.nearest],
                distance=pick.distance_to_annotated / unit,
            )
        )
        if own is not None:
            cards.append(_card(specialist, one, suggestions[-1]))
    terminal.out.print(_table(suggestions, options.images))
    terminal.say(
        f"{len(suggestions)} of {len(seen)} images, the most useful one first: those on which the models of the "
        "cross-fit disagree, and that differ from the annotated images and from each other."
    )
    if own is not None:
        _write(own, suggestions, cards, terminal)
    if problems:
        advice = "All other images are ranked. Fix or remove these files, then run the command again."
        raise DatasetError(None, sorted(problems, key=lambda problem: problem.where), advice)
    return suggestions


def _look(
    specialist: Specialist, sources: tuple[Source, ...], terminal: Terminal
) -> tuple[list[_Seen], int, list[Problem]]:
    """Return what the specialist says of each page, the number of pages that are annotated already, and problems."""
    seen: list[_Seen] = []
    known, problems = 0, []
    with terminal.bar("Looking") as update:
        for done, source in enumerate(sources, start=1):
            try:
                for page in range(len(source.names)):
                    image = source.image.read(page, reading_of(specialist))
                    about = KnownImage(source.names[page], image_digest(image), thumbnail(image))
                    if is_known(about, specialist.record.data.train_images):
                        known += 1
                        continue
                    result = assess(specialist, image)
                    seen.append(_Seen(source, page, result.disagreement, result.expected_dice, result.descriptor))
            except DatasetError as error:
                problems.append(Problem(source.label, "; ".join(problem.what for problem in error.problems)))
            except OSError as error:
                problems.append(Problem(source.label, f"cannot be read: {error.strerror or error}"))
            update(done, len(sources))
    return seen, known, problems


def _nothing_to_suggest(given: list[Path], problems: list[Problem]) -> DatasetError:
    if problems:
        return DatasetError(None, problems)
    what = "all images here were annotated for this specialist; expected some without annotation"
    return DatasetError(None, [Problem(str(path), what) for path in given], "Give other images.")


def _card(specialist: Specialist, one: _Seen, suggestion: Suggestion) -> Card:
    """Predict an image again for its pictures; those of all images would not fit in memory."""
    image = one.source.image.read(one.page, reading_of(specialist))
    return card_of(suggestion, image, assess(specialist, image))


def _table(suggestions: list[Suggestion], given: list[Path]) -> Table:
    """Return the list as a table; paths are relative to the folder that was given, so that they are not cut."""
    table = table_of("", "image", "disagreement", "expected Dice", "most similar annotated image", "its distance")
    for rank, one in enumerate(suggestions, start=1):
        # The names of files may look like the markup of Rich.
        several = f" ({one.name})" if not Path(one.path).name.startswith(f"{one.name}.") else ""
        path = Path(one.path)
        path = next((path.relative_to(folder) for folder in given if folder in path.parents), path)
        table.add_row(
            str(rank),
            escape(f"{path}{several}"),
            f"{100 * one.disagreement:.1f}",
            "" if one.expected_dice is None else f"{100 * one.expected_dice:.1f}",
            escape(one.nearest),
            f"{one.distance:.1f}",
        )
    return table


def _write(own: OwnFiles, suggestions: list[Suggestion], cards: list[Card], terminal: Terminal) -> None:
    """Write the list and the page."""
    out = own.folder
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["rank", "image", "file", "disagreement", "expected_dice", "most_similar_annotated", "its_distance"])
    for rank, one in enumerate(suggestions, start=1):
        expected = "" if one.expected_dice is None else f"{one.expected_dice:.4f}"
        table.writerow(
            [rank, one.name, one.path, f"{one.disagreement:.4f}", expected, one.nearest, f"{one.distance:.3f}"]
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with own.being_written():
            write_text(out / LIST_FILE, text.getvalue())
            write_page(out / PAGE_FILE, cards)
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror}.\nChoose another --out.") from None
    terminal.say(f"List: {out / LIST_FILE}. Pictures: {out / PAGE_FILE}")

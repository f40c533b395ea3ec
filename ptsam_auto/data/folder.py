"""Reads a user's folder as a Dataset, or raises one error that lists all its problems."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.data import facts as images
from ptsam_auto.data.dataset import Dataset
from ptsam_auto.data.formats import listed
from ptsam_auto.data.formats.layout import Listing, MaskFile
from ptsam_auto.data.groups import grouped
from ptsam_auto.data.inspection import Inspection, Looked, areas, failed
from ptsam_auto.data.legend import LEGEND_FILE, read_legend
from ptsam_auto.data.meaning import IGNORED_NAMES, Meaning, decide
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.pages import attempt
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.data.understanding import Understanding
from ptsam_auto.errors import DatasetError, Problem, suggestion


@dataclass(frozen=True)
class Findings:
    """Result of reading a folder, whether or not it can be used.

    Args:
        dataset: Pairs that could be read, with a summary of the folder.
        problems: Problems of the folder; with any problem the folder is rejected.
        advice: Last line of the message; "" for the default one.
        looked: All pages whose image and mask could be read, also if the meaning of the mask is not certain.
        meaning: Meaning of the mask values; None if it is not certain.
    """

    dataset: Dataset
    problems: tuple[Problem, ...]
    advice: str = ""
    looked: tuple[Looked, ...] = ()
    meaning: Meaning | None = None


def read_folder(
    folder: Path,
    options: ReadingOptions = DEFAULT,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read and check a folder of annotated images.

    Every file is decoded once for the check and not kept in memory; pairs read it again when they are loaded. Each page
    of a stack is a pair with the name NAME_p000 and so on.

    Args:
        folder: Folder in any layout that formats/ reads.
        options: Options for reading the folder.
        progress: Function that is called with (files done, total files) after each image.

    Raises:
        DatasetError: The folder has problems; the error lists all of them.
        ConfigError: An option has no valid value.
    """
    findings = look_through(folder, options, progress)
    if findings.problems:
        raise failed(folder, list(findings.problems), findings.advice)
    return findings.dataset


def look_through(folder: Path, options: ReadingOptions, progress: Callable[[int, int], None] | None = None) -> Findings:
    """Read a folder and return everything that was found, also if the folder cannot be used.

    Args:
        folder: Folder in any layout that formats/ reads.
        options: Options for reading the folder.
        progress: Function that is called with (files done, total files) after each image.

    Raises:
        DatasetError: Nothing could be read.
        ConfigError: An option has no valid value.
    """
    layout, listing = listed(folder, options)
    reading = ImageReading(channels=options.channels)
    if options.scaling == "set":
        first = _inspected(folder, listing, options, reading, None)
        reading = images.ranged([looked.facts for looked in first.looked], reading)
    inspection = _inspected(folder, listing, options, reading, progress)
    notes: list[str] = []
    decision = decide(
        [
            looked.mask
            for looked in inspection.looked
            if isinstance(looked.entry.mask, MaskFile) and looked.entry.mask.meaning is None
        ],
        options,
        legend=_legend(folder, listing, options, notes),
    )
    pairs = inspection.pairs(decision.meaning)
    problems = [*listing.problems, *inspection.problems, *decision.problems]
    if inspection.marked:  # if no mask has foreground, the advice to accept blank masks does not help
        problems += inspection.blank
    if not problems and not inspection.looked:
        problems.append(Problem("", f"no images; expected {layout.SKETCH}"))
    if not problems and not inspection.marked:
        problems.append(Problem("", "no mask marks anything; expected some that mark what is to be found"))
    grouping_problems: list[Problem] = []
    grouping = attempt(lambda: grouped(folder, pairs, options.groups), folder, grouping_problems)
    problems += grouping_problems
    facts = [looked.facts for looked in inspection.looked]
    grouped_pairs = grouping.pairs if grouping else tuple(pairs)
    understanding = Understanding(
        images=len(inspection.looked),
        blank=sum(pair.blank for pair in pairs),
        stacks=inspection.stacks,
        sizes=images.sizes(facts),
        layout=layout.NAME,
        pattern=listing.pattern,
        values=(*decision.lines, *areas(inspection.looked, listing.classes)),
        channels=images.channels_in_words(facts, options.channels),
        scaling=images.scaling_in_words(facts, reading),
        reading=images.remembered(facts, reading),
        groups=grouping.lines if grouping else (),
        split=grouping.split if grouping else "",
        unmasked=listing.unmasked,
        left_out=(*listing.left_out, *inspection.repeated),
        notes=(*listing.notes, *notes, *decision.notes, *images.notes(facts)),
    )
    ordered = tuple(sorted(grouped_pairs, key=lambda pair: pair.name))
    dataset = Dataset(folder, layout.NAME, ordered, understanding, listing.classes or decision.classes)
    advice = decision.advice if decision.problems and len(problems) == len(decision.problems) else ""
    if decision.advice and not advice:
        advice = f"Fix or remove these files. {decision.advice}"
    return Findings(dataset, tuple(problems), advice, tuple(inspection.looked), decision.meaning)


def _legend(
    folder: Path, listing: Listing, options: ReadingOptions, notes: list[str]
) -> dict[str, tuple[str, ...]] | None:
    """Return the legend of the mask values: classes.json, unless the user or the layout says what they are.

    A file of this name that is no legend may be another program's, so it is only an error if the user asks for classes.
    """
    if options.foreground or options.background or options.ignore or listing.classes:
        return None
    try:
        legend = read_legend(folder)
    except DatasetError as error:
        if options.classes:
            raise
        notes.append(f"{LEGEND_FILE} is not used as a legend: {error.problems[0].what}.")
        return None
    if legend and options.categories:
        unknown = [name for name in options.categories if name not in legend]
        if unknown:
            what = f"no class {', '.join(unknown)}; {suggestion(unknown[0], legend)}"
            raise DatasetError(folder, [Problem(LEGEND_FILE, what)])
        kept = (*options.categories, "background", *IGNORED_NAMES)
        left = tuple(
            text for name, texts in legend.items() if name.lower() not in kept and name not in kept for text in texts
        )
        background = next((texts for name, texts in legend.items() if name.lower() == "background"), ("0",))
        legend = {name: texts for name, texts in legend.items() if name in kept or name.lower() in IGNORED_NAMES}
        legend["background"] = (*background, *left)
    return legend


def _inspected(
    folder: Path,
    listing: Listing,
    options: ReadingOptions,
    reading: ImageReading,
    progress: Callable[[int, int], None] | None,
) -> Inspection:
    inspection = Inspection(folder, options, reading)
    for done, entry in enumerate(listing.entries, start=1):
        inspection.entry(entry)
        if progress is not None:
            progress(done, len(listing.entries))
    return inspection

"""Combines the annotation files of a folder: finds images, selects categories, removes repeats, collects problems."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ptsam_auto.data.formats.drawn import Annotated, DrawnMask, Outline, counted, grouped, nouns, shown, size_fault
from ptsam_auto.data.formats.image_index import ImageIndex, names_of
from ptsam_auto.data.formats.layout import Entry, ImageFiles, Listing, relative
from ptsam_auto.data.meaning import MOST_CLASSES
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import DatasetError, Problem

OPTION = "--category NAME"
T = TypeVar("T")


class Collection:
    """Collects the content of a folder's annotation files, and creates a listing from it.

    Args:
        folder: The user's folder.
        tool: Name of the annotation tool, for messages.
        noun: The tool's word for an outline, such as "annotation".
        options: Options for reading the folder.
    """

    def __init__(self, folder: Path, tool: str, noun: str, options: ReadingOptions) -> None:
        self.folder = folder
        self.tool = tool
        self.noun = noun
        self.options = options
        self.index = ImageIndex(folder)
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.labels: Counter[str] = Counter()  # number of outlines of every category
        self._annotated: list[Annotated] = []
        self._renamed: list[tuple[str, Path]] = []

    def problem(self, source: Path, what: str, place: str = "") -> None:
        """Add a problem; a folder with problems is rejected."""
        self.problems.append(Problem(relative(source, self.folder) + (f": {place}" if place else ""), what))

    def load(self, source: Path, read: Callable[[Path], T]) -> T | None:
        """Return the result of `read(source)`, or add its problems and return None."""
        try:
            return read(source)
        except DatasetError as error:
            base = error.folder or self.folder
            self.problems += [Problem(relative(base / p.where, self.folder), p.what) for p in error.problems]
            return None

    def locate(self, source: Path, stated: str) -> Path | None:
        """Return the image that an annotation file names, or add a problem and return None."""
        found = self.index.find(stated, source.parent)
        named = relative(source, self.folder)
        if not found:
            self.problems.append(Problem(stated, f"listed in {named}, but neither here nor in images/"))
        elif len(found) > 1:
            places = " or ".join(relative(file, self.folder) for file in found[:3])
            self.problems.append(Problem(stated, f"listed in {named}, and may be {places}; keep one"))
        else:
            if found[0].name != stated.replace("\\", "/").rpartition("/")[2]:
                self._renamed.append((stated, found[0]))
            return found[0]
        return None

    def locate_own(self, source: Path, stem: str, near: Path | None = None) -> Path | None:
        """Return the image of an annotation file with one image, or add a problem and return None.

        Args:
            source: Annotation file.
            stem: Name of the image, with or without its suffix.
            near: Folder to search first; None for the folder of the annotation file.
        """
        found = self.index.called(stem, near or source.parent)
        if len(found) == 1:
            return found[0]
        places = " or ".join(relative(file, self.folder) for file in found[:3])
        self.problem(source, f"may belong to {places}; keep one" if found else f"no image; expected {stem}.png")
        return None

    def add(self, annotated: Annotated) -> None:
        """Add an image and its outlines."""
        self._annotated.append(annotated)

    def listing(self) -> Listing:
        """Return the images that were added, with problems and assumptions.

        Raises:
            DatasetError: The user selected a category that does not exist.
        """
        kept = self._without_repeats()
        self.labels.update(outline.label for annotated in kept for outline in annotated.outlines)
        self._check_chosen()
        names = names_of([annotated.file for annotated in kept])
        classes = self._classes()
        entries: dict[str, Entry] = {}
        empty: dict[Path, list[str]] = defaultdict(list)
        for annotated in kept:
            chosen = [outline for outline in annotated.outlines if self._is_chosen(outline.label)]
            empty[annotated.source] += [outline.place for outline in chosen if outline.flat]
            if self._has_faults(annotated, chosen):
                continue
            name = names[annotated.file]
            if name in entries:
                first = relative(entries[name].image.files[0], self.folder)
                self.problem(annotated.file, f"has the same name as {first}; rename one")
                continue
            mask = DrawnMask(annotated, tuple(chosen), self.noun, classes)
            entries[name] = Entry(name, ImageFiles((annotated.file,)), mask)
        for source, places in empty.items():
            if places:
                self.note(source, f"{self.nouns(places)} without an area, such as a polygon of two points: skipped")
        self._note_names(kept, names)
        self._note_categories()
        self._note_left_out()
        notes = tuple(f"{note}." for note in self.notes)
        ordered = tuple(entries[name] for name in sorted(entries))
        return Listing(ordered, tuple(self.problems), notes, classes=classes)

    def note(self, source: Path, text: str) -> None:
        """Add an assumption about an annotation file."""
        self.notes.append(f"{relative(source, self.folder)}: {text}")

    def nouns(self, places: Sequence[str]) -> str:
        """Return text such as "annotations 3, 4 and 7 more"."""
        return nouns(self.noun, places)

    def _is_chosen(self, label: str) -> bool:
        return not self.options.categories or label in self.options.categories

    def _classes(self) -> tuple[str, ...]:
        """Return the categories that are classes of their own; () if all together are one class."""
        if not self.options.classes:
            return ()
        chosen = self.options.categories or [label for label, count in self.labels.items() if count]
        if len(chosen) > MOST_CLASSES:
            what = f"{len(chosen)} categories, more than {MOST_CLASSES} classes; choose with {OPTION}"
            self.problems.append(Problem("", what))
        return tuple(chosen[:MOST_CLASSES])

    def _check_chosen(self) -> None:
        unknown = [name for name in self.options.categories if name not in self.labels]
        if not unknown or not (self._annotated or self.labels):
            return
        found = ", ".join(f"{name} ({counted(count, self.noun)})" for name, count in sorted(self.labels.items()))
        what = f"its categories are {found or 'none'}"
        problems = [*self.problems, *(Problem("", f"no category {name!r}; {what}") for name in unknown)]
        advice = f"Choose among them with {OPTION}, then run the command again."
        raise DatasetError(self.folder, problems, advice)

    def _without_repeats(self) -> list[Annotated]:
        """Return one entry per image. Equal entries of two files count once; different ones are a problem."""
        kept: dict[Path, Annotated] = {}
        again: Counter[tuple[Path, Path]] = Counter()
        otherwise: dict[tuple[Path, Path], list[Path]] = defaultdict(list)
        for annotated in self._annotated:
            first = kept.setdefault(annotated.file, annotated)
            if first is annotated:
                continue
            image = relative(annotated.file, self.folder)
            if first.source == annotated.source:
                self.problem(annotated.source, f"lists {image} twice; keep one entry with all its {self.noun}s")
            elif first.key() == annotated.key():
                again[first.source, annotated.source] += 1
            else:
                otherwise[first.source, annotated.source].append(annotated.file)
        for (other, source), files in otherwise.items():
            images = [relative(file, self.folder) for file in files]
            what = f"annotates {shown(images)} in another way than {relative(other, self.folder)} does"
            self.problem(source, f"{what}; keep one of the two files, or join what they say")
        for (other, source), count in again.items():
            what = f"{counted(count, 'image')} annotated exactly as in {relative(other, self.folder)}, counted once"
            self.note(source, what)
        contradicted = {file for files in otherwise.values() for file in files}
        return [annotated for file, annotated in kept.items() if file not in contradicted]

    def _has_faults(self, annotated: Annotated, chosen: Sequence[Outline]) -> bool:
        named = [(outline.place, outline.fault) for outline in chosen if outline.fault]
        if any(place for place, _ in named):
            where = annotated.label(self.folder)
        else:
            where = relative(annotated.file, self.folder)
        problems = [Problem(where, fault) for fault in grouped(self.noun, len(chosen), named)]
        if annotated.size is not None and (fault := size_fault(annotated.size)):
            problems.append(Problem(annotated.label(self.folder), fault))
        self.problems += problems
        return bool(problems)

    def _note_names(self, kept: Sequence[Annotated], names: dict[Path, str]) -> None:
        if self._renamed:
            stated, file = self._renamed[0]
            count = counted(len(self._renamed), "image")
            self.notes.append(f"{count} found under a slightly different name ({stated} is {file.name})")
        longer = [annotated.file for annotated in kept if names[annotated.file] != annotated.file.stem]
        if longer:
            example = f"{relative(longer[0], self.folder)} is {names[longer[0]]}"
            self.notes.append(f"several folders use the same file names, so folders are part of the names ({example})")

    def _note_categories(self) -> None:
        used = {label: count for label, count in sorted(self.labels.items()) if count}
        if self.options.categories:
            left = [f"{label} ({count})" for label, count in used.items() if label not in self.options.categories]
            chosen = ", ".join(f"{name} ({self.labels[name]})" for name in self.options.categories)
            kind = "the classes are" if self.options.classes else "foreground is"
            self.notes.append(f"{kind} {chosen}" + (f"; left out: {', '.join(left)}" if left else ""))
        elif len(used) > 1:
            found = ", ".join(f"{label} ({counted(count, self.noun)})" for label, count in used.items())
            what = "each a class" if self.options.classes else "all of them foreground"
            advice = "" if self.options.classes else f"; choose with {OPTION}, or tell them apart with --classes"
            self.notes.append(f"{len(used)} categories, {what}: {found}{advice}")

    def _note_left_out(self) -> None:
        annotated = {annotated.file for annotated in self._annotated}
        left = [relative(file, self.folder) for file in self.index.files if file not in annotated]
        if left and annotated:
            self.notes.append(f"{counted(len(left), 'image')} without {self.tool} annotations left out: {shown(left)}")

"""Everything that can go wrong for a user, as one short tree.

    PtsamError            printed by the command line without a traceback, exit code 1
    ├── DatasetError      a folder of images and masks: every problem at once
    ├── ConfigError       a setting outside its range, or one that does not exist
    ├── BackboneError     SAM's weights: missing, not downloadable, not what their hash says
    ├── SpecialistError   a specialist that is unfinished, damaged or made for other weights
    ├── SearchError       a search from which nothing can be learned or frozen
    ├── ClusterError      Ray does not start or answer, or has too little for what is asked
    └── OutputError       a place that cannot be written to, or that holds other work

A message names the thing, says what was expected and what was found, and what to do next.
Any other exception is a bug of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class PtsamError(Exception):
    """A mistake that the user can mend; the message is the interface."""


class ConfigError(PtsamError):
    """A setting outside its range, or one that does not exist."""


class BackboneError(PtsamError):
    """SAM's weights are missing, cannot be had, or are not what they claim to be."""


class SpecialistError(PtsamError):
    """A specialist that is unfinished, damaged or made for other weights."""


class SearchError(PtsamError):
    """A search from which nothing can be learned or frozen."""


class ClusterError(PtsamError):
    """Ray does not start or answer, or has too little for what is asked."""


class OutputError(PtsamError):
    """A place that cannot be written to, or that holds other work."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a folder.

    Args:
        where: the file, relative to the folder; "" where the folder as a whole is meant.
        what: what was found and what was expected, on one line.
    """

    where: str
    what: str


class DatasetError(PtsamError):
    """A folder of images and masks that cannot be used: every problem at once.

    Args:
        folder: as the user named it; None where problems name whole paths.
        problems: at least one.
        advice: what to do next, the message's last line.
    """

    def __init__(
        self,
        folder: Path | None,
        problems: Sequence[Problem],
        advice: str = "Fix or remove these files, then run the command again.",
    ) -> None:
        self.folder = folder
        self.problems = tuple(problems)
        super().__init__(listed(f"{folder}/" if folder is not None else None, problems, advice))


def listed(title: str | None, problems: Sequence[Problem], advice: str) -> str:
    """Every problem on a line of its own, in one message.

    Args:
        title: what they are problems of; None where each names its own place.
        problems: at least one.
        advice: what to do next, the last line.
    """
    width = max(len(problem.where) for problem in problems)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{title} has {count}:" if title is not None else f"{count}:"]
    lines += [f"  {problem.where:<{width}}{'  ' if width else ''}{problem.what}" for problem in problems]
    return "\n".join([*lines, advice])


def suggestion(word: str, known: Iterable[str]) -> str:
    """What a misspelt word was perhaps meant to be, or else all there is; a sentence to end a message with."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."

"""Everything that can go wrong for a user, as one short tree.

    PtsamError            printed by the command line without a traceback, exit code 1
    ├── DatasetError      a folder of images and masks: every problem at once
    ├── ConfigError       a setting outside its range, or one that does not exist
    ├── BackboneError     SAM's weights: missing, not downloadable, not what their hash says
    ├── SpecialistError   a specialist that is unfinished, damaged or made for other weights
    └── OutputError       a place that cannot be written to, or that holds finished work

A message names the thing, says what was expected and what was found, and what to do next.
Any other exception is a bug of ours and keeps its traceback.
"""

from collections.abc import Sequence
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


class OutputError(PtsamError):
    """A place that cannot be written to, or that holds finished work."""


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
        width = max(len(problem.where) for problem in problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [f"{folder}/ has {count}:" if folder is not None else f"{count}:"]
        lines += [f"  {problem.where:<{width}}{'  ' if width else ''}{problem.what}" for problem in problems]
        super().__init__("\n".join([*lines, advice]))

"""The exception classes for errors that a user can correct.

    PtsamError            printed by the command line without a traceback, exit code 1
    ├── DatasetError      a folder of images and masks has problems; all of them are listed
    ├── ConfigError       a setting is outside its range or does not exist
    ├── BackboneError     SAM's weights are missing, cannot be downloaded, or have a wrong hash
    ├── SpecialistError   a specialist is incomplete, damaged, or was trained with another checkpoint
    ├── SearchError       a search has no usable result
    ├── ClusterError      Ray does not start or answer, or has too few CPUs or GPUs
    └── OutputError       a folder or file cannot be written to, or contains other files

A message names the file or the setting, gives the expected and the found value, and says what to do next.
Any other exception is a bug in ptsam-auto and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


class PtsamError(Exception):
    """Base class of errors that the user can correct. The message is printed without a traceback."""


class ConfigError(PtsamError):
    """A setting is outside its range or does not exist."""


class BackboneError(PtsamError):
    """SAM's weights are missing, cannot be downloaded, or do not match their hash."""


class SpecialistError(PtsamError):
    """A specialist is incomplete, damaged, or was trained with another checkpoint."""


class SearchError(PtsamError):
    """A search has no usable result."""


class ClusterError(PtsamError):
    """Ray does not start or answer, or the cluster has too few CPUs or GPUs."""


class OutputError(PtsamError):
    """A folder or file cannot be written to, or contains something else."""


@dataclass(frozen=True)
class Problem:
    """One problem with a dataset folder, a settings file or a command.

    Args:
        where: File, setting or option that the problem is about; "" for the whole folder.
        what: What was found and what was expected, on one line.
    """

    where: str
    what: str


class DatasetError(PtsamError):
    """A folder of images and masks cannot be used. The message lists every problem.

    Args:
        folder: Folder as the user named it, or None if the problems contain full paths.
        problems: One or more problems.
        advice: Last line of the message: what to do next.
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
    """Return a message with one line per problem.

    Args:
        title: Subject of the first line, "TITLE has 2 problems:", or None.
        problems: One or more problems.
        advice: Last line of the message: what to do next.
    """
    width = max(len(problem.where) for problem in problems)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{title} has {count}:" if title is not None else f"{count}:"]
    lines += [f"  {problem.where:<{width}}{'  ' if width else ''}{problem.what}" for problem in problems]
    return "\n".join([*lines, advice])


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "Did you mean X?" for a similar known word, otherwise a sentence with all known words."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."

"""The command `ptsam-auto check`: shows how a folder is read, before anything is trained on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.data.contact_sheet import write_contact_sheet
from ptsam_auto.data.folder import look_through
from ptsam_auto.data.inspection import failed
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.understanding import Understanding
from ptsam_auto.errors import DatasetError, OutputError


@dataclass(frozen=True)
class Checked:
    """Result of a check.

    Args:
        understanding: Summary of the folder; empty if nothing could be read.
        error: Error that `read_folder` would raise; None if the folder can be used.
    """

    understanding: Understanding
    error: DatasetError | None


def check(
    folder: Path,
    options: ReadingOptions = DEFAULT,
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Read a folder, return a summary of it, and write its contact sheet.

    Args:
        folder: Folder of annotated images.
        options: Options for reading the folder.
        out: Path of the contact sheet, an HTML file; None for none. It is also written for a folder with problems.
        progress: Function that is called with (files done, total files) after each image.

    Raises:
        OutputError: The contact sheet cannot be written.
        ConfigError: An option has no valid value.
    """
    try:
        findings = look_through(folder, options, progress)
        error = failed(folder, list(findings.problems), findings.advice) if findings.problems else None
        understanding = findings.dataset.understanding
    except DatasetError as raised:
        findings, error, understanding = None, raised, Understanding()
    if out is not None:
        try:
            problems = () if findings or error is None else error.problems
            write_contact_sheet(out, folder.resolve().name, findings, problems)
        except OSError as failure:
            raise OutputError(f"Cannot write {out}: {failure.strerror or failure}.\nChoose another --out.") from None
    return Checked(understanding, error)

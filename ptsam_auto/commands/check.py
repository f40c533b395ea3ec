"""The command `check`: shows how a folder of annotated images is read, before anything is trained on it."""

from pathlib import Path

from ptsam_auto.commands.options import CheckOptions
from ptsam_auto.data import check as folder_check
from ptsam_auto.data.contact_sheet import GENERATOR
from ptsam_auto.errors import OutputError
from ptsam_auto.terminal import Terminal


def check(options: CheckOptions, terminal: Terminal) -> None:
    """Print how the folder is read, and write a contact sheet of the images with their masks drawn on top.

    Raises:
        DatasetError: The folder has problems; all of them are listed. The contact sheet is written before.
        OutputError: The contact sheet cannot be written.
    """
    out = options.out if options.out is not None else Path(f"{options.dataset.resolve().name}-check.html")
    if out.exists() and not _is_contact_sheet(out):
        raise OutputError(f"{out} exists and was not written by ptsam-auto check.\nChoose another --out.")
    with terminal.bar("Reading") as update:
        result = folder_check.check(options.dataset, options.reading(), out, progress=update)
    for line in result.understanding.lines():
        terminal.result(line)
    terminal.say(f"Contact sheet: {out}. Open it and check that the masks are correct.")
    if result.error is not None:
        raise result.error


def _is_contact_sheet(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return GENERATOR in file.read(2000)
    except (OSError, ValueError):
        return False

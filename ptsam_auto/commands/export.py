"""The command `export`: writes a specialist in a format that other programs run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptsam_auto.commands.options import ExportOptions
from ptsam_auto.data.new_images import find_new_images
from ptsam_auto.data.render import render_example
from ptsam_auto.errors import OutputError
from ptsam_auto.onnx.bioimageio import export_package, is_package
from ptsam_auto.onnx.export import Comparison
from ptsam_auto.onnx.export import export as export_onnx
from ptsam_auto.onnx.runtime import ABOUT_FILE
from ptsam_auto.specialist.artifact import Specialist, load_specialist
from ptsam_auto.specialist.masks import reading_of
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.models import local_folder

COMPARED = 4  # number of images on which the export is compared with PyTorch
LEAST_DICE_OF_INT8 = 0.98  # between both masks; below it, a warning


def export(options: ExportOptions, terminal: Terminal) -> Comparison:
    """Write what is asked for, compare it with PyTorch, and print the result; return the comparison of the last one.

    Raises:
        SpecialistError: See `load_specialist`, `onnx.export.export` and `onnx.bioimageio.export_package`.
        DatasetError: The images for the comparison cannot be read.
        OutputError: The folder is not empty, the file exists, or they cannot be written to.
    """
    specialist = load_specialist(local_folder(options.specialist), backbone=options.backbone, device="cpu")
    if options.onnx:
        _check_folder(options.onnx, force=options.force)
    if options.bioimageio:
        _check_package(options.bioimageio, force=options.force)
    terminal.say("Exporting; this takes a minute or two.")
    compared = Comparison(0, 0.0, 1.0)
    try:
        if options.onnx:
            images = _images(options.images, specialist)
            options.onnx.mkdir(parents=True, exist_ok=True)
            compared = export_onnx(options.onnx, specialist, images, quantise=options.int8)
            size = sum(path.stat().st_size for path in options.onnx.glob("*.onnx"))
            terminal.say(f"Exported: {options.onnx}/ ({size / 1e6:.0f} MB).")
            _say(compared, "images" if options.images else "rendered images", terminal, int8=options.int8)
        if options.bioimageio:
            options.bioimageio.parent.mkdir(parents=True, exist_ok=True)
            compared = export_package(options.bioimageio, specialist, quantise=options.int8)
            size = options.bioimageio.stat().st_size
            terminal.say(f"Exported: {options.bioimageio} ({size / 1e6:.0f} MB).")
            _say(compared, "rendered image", terminal, int8=options.int8)
    except OSError as error:
        folder = error.filename or options.onnx or options.bioimageio
        raise OutputError(f"Cannot write to {folder}: {error.strerror}.\nChoose another folder.") from None
    return compared


def _say(compared: Comparison, images: str, terminal: Terminal, *, int8: bool) -> None:
    terminal.say(
        f"Compared with PyTorch on {compared.images} {images}: largest difference of the probability "
        f"{compared.difference:.1g}, Dice between the masks {compared.dice:.4f}."
    )
    if int8 and compared.dice < LEAST_DICE_OF_INT8:
        terminal.say("WARNING: The masks differ from those of PyTorch. Export without --int8.")


def _check_folder(folder: Path, *, force: bool) -> None:
    """Check that a folder is empty or an earlier export that may be replaced; raises OutputError."""
    others = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    if others and not (force and (folder / ABOUT_FILE).exists()):
        advice = "replace it with --force" if (folder / ABOUT_FILE).exists() else "choose another folder"
        raise OutputError(f"{folder} is not empty.\nEmpty it, or {advice}.")


def _check_package(path: Path, *, force: bool) -> None:
    """Check that a file does not exist or is an earlier package that may be replaced; raises OutputError."""
    if path.exists() and not (force and is_package(path)):
        advice = "Replace it with --force, or choose another file." if is_package(path) else "Choose another file."
        raise OutputError(f"{path} exists.\n{advice}")


def _images(given: Sequence[Path], specialist: Specialist) -> list[np.ndarray]:
    """Return the images for the comparison: some of the user's, or rendered ones."""
    if not given:
        return [render_example(index).image for index in range(COMPARED)]
    reading = reading_of(specialist)
    sources = find_new_images(given, reading).sources[:COMPARED]
    return [source.image.read(0, reading) for source in sources]

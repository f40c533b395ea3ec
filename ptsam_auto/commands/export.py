"""The command `export`: writes a specialist in a format that other programs run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptsam_auto.commands.options import ExportOptions
from ptsam_auto.data.new_images import find_new_images
from ptsam_auto.data.render import render_example
from ptsam_auto.errors import OutputError
from ptsam_auto.onnx.export import Comparison
from ptsam_auto.onnx.export import export as export_onnx
from ptsam_auto.onnx.runtime import ABOUT_FILE
from ptsam_auto.specialist.artifact import Specialist, load_specialist
from ptsam_auto.specialist.masks import reading_of
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.models import local_folder

COMPARED = 4  # number of images on which the export is compared with PyTorch


def export(options: ExportOptions, terminal: Terminal) -> Comparison:
    """Write the export, compare it with PyTorch, and print the result.

    Raises:
        SpecialistError: See `load_specialist` and `onnx.export.export`.
        DatasetError: The images for the comparison cannot be read.
        OutputError: The folder is not empty, or cannot be written to.
    """
    specialist = load_specialist(local_folder(options.specialist), backbone=options.backbone, device="cpu")
    folder = options.onnx
    others = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    if others and not (options.force and (folder / ABOUT_FILE).exists()):
        advice = "replace it with --force" if (folder / ABOUT_FILE).exists() else "choose another folder"
        raise OutputError(f"{folder} is not empty.\nEmpty it, or {advice}.")
    images = _images(options.images, specialist)
    terminal.say("Exporting; this takes a minute or two.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        compared = export_onnx(folder, specialist, images, quantise=options.int8)
    except OSError as error:
        raise OutputError(f"Cannot write to {folder}: {error.strerror}.\nChoose another folder.") from None
    megabytes = sum(path.stat().st_size for path in folder.glob("*.onnx")) / 1e6
    terminal.say(f"Exported: {folder}/ ({megabytes:.0f} MB).")
    terminal.say(
        f"Compared with PyTorch on {compared.images} {'images' if options.images else 'rendered images'}: largest "
        f"difference of the probability {compared.difference:.1g}, Dice between the masks {compared.dice:.4f}."
    )
    return compared


def _images(given: Sequence[Path], specialist: Specialist) -> list[np.ndarray]:
    """Return the images for the comparison: some of the user's, or rendered ones."""
    if not given:
        return [render_example(index).image for index in range(COMPARED)]
    reading = reading_of(specialist)
    sources = find_new_images(given, reading).sources[:COMPARED]
    return [source.image.read(0, reading) for source in sources]

"""Masks as files: one PNG an image or page, that says which specialist made it, from what.

So a folder of masks can be carried on, whoever stopped: what this specialist has made of this image is not made again,
and what somebody else put there is not replaced unasked.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ptsam_auto.data.decode import count_pages
from ptsam_auto.data.images import read_image
from ptsam_auto.errors import DatasetError, OutputError
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.report import overlay

SPECIALIST, SOURCE = "ptsam-auto specialist", "ptsam-auto source"  # text chunks of the PNG


@dataclass(frozen=True)
class Destination:
    """Where masks go.

    Args:
        masks: folder, NAME.png.
        overlays: folder for pictures of image and mask, or None.
        replace: also what this specialist did not make.
    """

    masks: Path
    overlays: Path | None = None
    replace: bool = False

    def make(self) -> None:
        """Make the folders.

        Raises:
            OutputError: one cannot be written to.
        """
        for folder in (self.masks, self.overlays):
            if folder is not None:
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise _unwritable(folder, error) from None


@dataclass(frozen=True)
class Predicted:
    """What became of one image file.

    Args:
        path: as the user named it.
        written: masks.
        kept: masks that were there already.
        problem: what is wrong with it, or "".
    """

    path: str
    written: int = 0
    kept: int = 0
    problem: str = ""


def predict_file(specialist: Specialist, path: Path, to: Destination) -> Predicted:
    """Write the mask of an image as PNG, 0 and 255, at the image's own size; a stack gives one a page.

    Args:
        specialist: loaded.
        path: an image file.
        to: its folders exist.

    Raises:
        OutputError: a folder cannot be written to.
    """
    written = kept = 0
    try:
        source = _sha256(path)
        for name, page in _pages(path):
            mask_path = to.masks / f"{name}.png"
            overlay_path = to.overlays / f"{name}.png" if to.overlays else None
            made_by, made_from = _maker(mask_path)
            if made_by != specialist.identity and mask_path.exists() and not to.replace:
                foreign = f"{mask_path} is there already, and not of this specialist; replace it with --force"
                return Predicted(str(path), written, kept, foreign)
            if (made_by, made_from) == (specialist.identity, source) and (not overlay_path or overlay_path.exists()):
                kept += 1
                continue
            image = read_image(path, page)
            mask = specialist.predict(image)
            if overlay_path:
                _write(overlay_path, overlay(image, mask))
            _write(mask_path, mask.astype(np.uint8) * 255, {SPECIALIST: specialist.identity, SOURCE: source})
            written += 1
    except DatasetError as error:
        return Predicted(str(path), written, kept, "; ".join(problem.what for problem in error.problems))
    except OSError as error:
        return Predicted(str(path), written, kept, f"cannot be read: {error.strerror or error}")
    return Predicted(str(path), written, kept)


def _pages(path: Path) -> list[tuple[str, int | None]]:
    """Names of an image's masks, one, or one for each page of a stack; the names that `read_folder` gives."""
    count = count_pages(path)
    return [(path.stem, None)] if count == 1 else [(f"{path.stem}_p{page:03d}", page) for page in range(count)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _maker(path: Path) -> tuple[str | None, str | None]:
    """Which specialist made a mask, and from what."""
    try:
        with Image.open(path) as image:
            return image.info.get(SPECIALIST), image.info.get(SOURCE)
    except OSError:  # absent, or no image
        return None, None


def _write(path: Path, pixels: np.ndarray, said: dict[str, str] | None = None) -> None:
    """Write a PNG; nobody ever sees half of it under its name."""
    info = PngInfo()
    for key, value in (said or {}).items():
        info.add_text(key, value)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        Image.fromarray(pixels).save(unfinished, format="PNG", pnginfo=info)
        unfinished.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Cannot write {path}: {error.strerror or error}.\nChoose another folder.")

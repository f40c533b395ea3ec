"""Reads images and masks from single files and from arrays."""

# H W  px, rows and columns;  C  channels

from pathlib import Path

import numpy as np
from PIL import Image

from ptsam_auto.data.mask_values import MaskValues
from ptsam_auto.data.meaning import decide
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import (
    SUFFIXES,
    SUFFIXES_IN_WORDS,
    Planes,
    Raster,
    UnfitError,
    decode,
    from_pillow,
    pages_of_file,
    unreadable,
)
from ptsam_auto.data.reading import READ_AS_STORED, ImageReading, Seen, seen
from ptsam_auto.errors import DatasetError, SpecialistError

__all__ = ["SUFFIXES", "SUFFIXES_IN_WORDS", "as_image", "look_at_image", "planes_for", "read_image", "read_mask"]


def read_image(path: Path, page: int | None = None, reading: ImageReading = READ_AS_STORED) -> np.ndarray:
    """Read an image as the network sees it.

    By default 8-bit values are not changed, and all other values are scaled, separately for each channel; see
    `reading.value_range`. A grey image is repeated in three channels; an image with two channels has a third one of
    zeros; of more than three channels the first three are used. Alpha is removed, and the orientation is applied.

    Args:
        path: PNG, JPEG, BMP, TIFF, WebP, GIF or JPEG 2000; the content decides, not the suffix.
        page: Number of the page, counted from 0; None if the file must contain exactly one. The C and S axes of a TIFF
            are channels, and all others except rows and columns are pages; 2 to 4 planes without names are channels.
        reading: Rule by which channels are selected and scaled.

    Returns:
        H W 3, uint8, RGB.

    Raises:
        DatasetError: The file cannot be opened or decoded, or page is None and there are several pages.
    """
    return look_at_image(path, page, reading).pixels


def look_at_image(path: Path, page: int | None, reading: ImageReading, planes: Planes | None = None) -> Seen:
    """Read an image as `read_image` does, and return also how it was read.

    Args:
        path: Path of the file, as in `read_image`.
        page: Number of the page, as in `read_image`.
        reading: Rule by which channels are selected and scaled.
        planes: Rule for planes without names; by default they are channels if their number fits the reading.
    """
    raster = decode(path, page, planes=planes or planes_for(path, reading))
    try:
        return seen(raster, reading)
    except UnfitError as error:
        raise unreadable(path, str(error)) from None


def planes_for(path: Path, reading: ImageReading) -> Planes:
    """Return the rule for a file's unnamed planes: they are channels if the reading expects this number of channels."""
    if not (reading.stored or reading.channels):
        return "guess"
    unnamed = pages_of_file(path).unnamed
    counts = {reading.stored} if reading.stored else set(range(max(reading.channels), 17))
    return "channels" if unnamed in counts else "guess"


def read_mask(path: Path, page: int | None = None, *, options: ReadingOptions = DEFAULT) -> np.ndarray:
    """Read one mask by its own values alone; for all masks of a folder see `meaning.decide`.

    Args:
        path: Path of the file, as in `read_image`.
        page: Number of the page, counted from 0; None if the file must contain exactly one. Planes without names are
            pages.
        options: Options, which say which values are foreground if this is not certain.

    Returns:
        H W, bool, True is foreground.

    Raises:
        DatasetError: The file cannot be opened or decoded, page is None and there are several pages, or it is not
            certain which values are foreground.
    """
    raster = decode(path, page, planes="pages")
    try:
        values = MaskValues.of(raster, path.name)
    except UnfitError as error:
        raise unreadable(path, str(error)) from None
    decision = decide([values], options, alone=True)
    if decision.meaning is None:
        raise DatasetError(path.parent, decision.problems, decision.advice)
    return decision.meaning.of(values)[0]


def as_image(given: np.ndarray | Image.Image | Path | str, reading: ImageReading = READ_AS_STORED) -> np.ndarray:
    """Convert an array, a PIL image or a file to the image that the network sees, by the rule of a specialist.

    Args:
        given: An array (H W or H W C, bool, integers or floats), a PIL image, or the path of a file with one page.
        reading: Rule of the specialist by which channels are selected and scaled.

    Returns:
        H W 3, uint8, RGB.

    Raises:
        DatasetError: The file cannot be read.
        SpecialistError: The value is not an image.
    """
    if isinstance(given, str | Path):
        return read_image(Path(given), reading=reading)
    try:
        raster = from_pillow(given).upright() if isinstance(given, Image.Image) else _raster(given, reading)
        return seen(raster, reading).pixels
    except UnfitError as error:
        raise SpecialistError(f"The image {error}.") from None


def _raster(given: object, reading: ImageReading) -> Raster:
    if not hasattr(given, "__array__"):
        raise SpecialistError(f"A {type(given).__name__} is not an image; expected a path, a PIL image or an array.")
    values = np.asarray(given)
    what = f"{values.dtype}, {' x '.join(map(str, values.shape)) or 'a single number'}"
    expected = "expected height x width or height x width x channels, of integers or floats"
    if values.dtype.kind not in "buif" or values.ndim not in (2, 3) or 0 in values.shape:
        raise SpecialistError(f"The image is {what}; {expected}.")
    if values.ndim == 2:
        return Raster(values[..., None])
    first, _, last = values.shape
    if first <= 4 < last and reading.stored != last:
        raise SpecialistError(f"The image is {what}; {expected}. Are the channels first? Use numpy.moveaxis(x, 0, -1).")
    alpha = last in (2, 4) and values.dtype == np.uint8 and reading.stored != last and not reading.channels
    return Raster(values[..., :-1] if alpha else values, colours=last >= 3)

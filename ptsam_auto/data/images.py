"""What raster files mean: colours for the network, or foreground and background."""

# H W  px, rows and columns;  C  channels

from pathlib import Path

import numpy as np

from ptsam_auto.data.decode import decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SUFFIXES_IN_WORDS = "png, jpg, jpeg, bmp, tif or tiff"
DARKEST, BRIGHTEST = 0.1, 99.9  # percentiles: a few hot pixels must not darken everything else
SMEARED = 127  # JPEG rings around edges; half of 255 is where the edge was


def read_image(path: Path, page: int | None = None) -> np.ndarray:
    """Read an image as the network sees it.

    8-bit values stay as they are. Everything else is scaled, each channel on its own, so that its 0.1 and
    99.9 percentiles become 0 and 255. Grey is repeated; of two channels the third is zero; beyond three
    channels the first three count. Alpha is dropped, EXIF orientation honoured.

    Args:
        path: PNG, JPEG, BMP or TIFF, by content.
        page: of a TIFF, counted from 0; None where it must hold exactly one. A TIFF's C and S axes are
            channels and all others but rows and columns are pages; 2 to 4 planes without names are channels.

    Returns:
        H W 3, uint8, RGB.

    Raises:
        DatasetError: the file cannot be opened or decoded, or page is None and there are several.
    """
    raster = decode(path, page)
    if raster.palette is not None:
        return raster.palette[raster.values[..., 0]]
    values = _as_bytes(raster.values[..., :3])
    if values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    elif values.shape[-1] == 2:
        values = np.pad(values, ((0, 0), (0, 0), (0, 1)))
    return np.ascontiguousarray(values)


def read_mask(path: Path, page: int | None = None, *, ignored: int | None = None) -> np.ndarray:
    """Read a mask: whatever is above 0 in any colour is foreground, be it 1, 255 or an instance's number.

    A palette counts by index. JPEG smears, so there foreground is above 127. Alpha says nothing.

    Args:
        path: PNG, JPEG, BMP or TIFF, by content.
        page: of a TIFF, counted from 0; None where it must hold exactly one. Planes without names are pages.
        ignored: a label that is not foreground.

    Returns:
        H W, bool, True is foreground.

    Raises:
        DatasetError: the file cannot be opened or decoded, or page is None and there are several.
    """
    raster = decode(path, page, planes_are_channels=False)
    marked = raster.values > (SMEARED if raster.lossy else 0)
    if ignored is not None:
        marked &= raster.values != ignored
    return np.asarray(marked.any(axis=-1))


def _as_bytes(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    return np.stack([_scaled(values[..., c]) for c in range(values.shape[-1])], axis=-1)


def _scaled(channel: np.ndarray) -> np.ndarray:
    finite = channel[np.isfinite(channel)]
    if finite.size == 0:
        return np.zeros(channel.shape, np.uint8)
    dark, bright = np.percentile(finite, (DARKEST, BRIGHTEST))
    if dark == bright:  # fewer than one pixel in a thousand differs, as with single bright spots
        dark, bright = float(finite.min()), float(finite.max())
    share = (channel.astype(np.float64) - dark) / ((bright - dark) or 1.0)
    return np.rint(np.nan_to_num(share.clip(0, 1)) * 255).astype(np.uint8)

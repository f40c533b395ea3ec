"""Predicts large images by rows: neither the image nor the probability is in memory, and an interruption loses little.

The rows that are finished are kept in a hidden folder beside the mask until all of them are there. The mask is the same
as that of a prediction of the whole image, bit by bit.
"""

# H W size of an image, px  C classes  h rows of a part, px

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from ptsam_auto.bands import BIG_TIFF, LARGE, TILE, in_steps, tiles
from ptsam_auto.data.new_images import Source
from ptsam_auto.data.regions import Regions, opened, size_of
from ptsam_auto.files import replacing, write_json
from ptsam_auto.methods.rows import predicts_by_rows, probability_rows
from ptsam_auto.metrics.classes import decided
from ptsam_auto.png import write_picture, write_rows
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.expected_table import row_metadata
from ptsam_auto.specialist.report import class_palette, overlay
from ptsam_auto.specialist.uncertainty import Tally, as_pixels, assessed_rows

ABOUT, ENDING = "about.json", ".rows"
LONGEST_OVERLAY = 4096  # px; the overlay of a larger image is smaller than the image
OVERLAY_ROWS = 64  # rows of an overlay that are drawn at once

Progress = Callable[[float], None]


@dataclass(frozen=True)
class LargeResult:
    """Where the results of a large image go.

    Args:
        mask: Path of the mask, PNG.
        probability: Path of the map of the probability, TIFF, or None.
        overlay: Path of the picture with the mask drawn on top, PNG, or None.
        uncertainty: Path of the map of the uncertainty, PNG, or None.
        threshold: Probability above which a pixel is foreground.
        mask_texts: Metadata of the mask.
        map_texts: Metadata of the two maps.
    """

    mask: Path
    probability: Path | None
    overlay: Path | None
    uncertainty: Path | None
    threshold: float
    mask_texts: Mapping[str, str]
    map_texts: Mapping[str, str]


def is_large(specialist: Specialist, source: Source) -> bool:
    """Return whether an image is predicted by rows: whether it is large, and the specialist is based on SAM.

    Raises:
        DatasetError: The file cannot be opened.
    """
    size = size_of(source.image)
    if size is None or size[0] * size[1] < LARGE:
        return False
    return predicts_by_rows(specialist.model)


def predict_large(
    specialist: Specialist, source: Source, page: int, result: LargeResult, progress: Progress = lambda share: None
) -> tuple[int, int]:
    """Write the mask of one page, and return the size of the image, H and W.

    What an earlier call with the same specialist, image and options has finished is not computed again.

    Args:
        specialist: Specialist for which `is_large` is true; a map of the uncertainty needs its folds.
        source: The image.
        page: Number of the page, from 0.
        result: Where the results go.
        progress: Function that is called with the finished share of the image, 0 to 1.

    Raises:
        DatasetError: The image cannot be read.
        OSError: A file cannot be written.
    """
    with opened(source.image, page, specialist.record.data.reading) as pixels:
        height, width = pixels.shape[:2]
        maps = {"probability": result.probability is not None, "uncertainty": result.uncertainty is not None}
        about = {"shape": [height, width], **maps, **result.mask_texts}
        rows = _Rows(result.mask.with_name(f".{result.mask.name}{ENDING}"), about)
        done = rows.prepare()
        progress(done / height)
        if done < height:
            for probability, further in _predicted(specialist, pixels, done, result.uncertainty is not None):
                kept = {"probability": probability} if result.probability else {}
                rows.add(done, decided(probability, result.threshold), kept | further)
                done += probability.shape[-2]
                progress(done / height)
        if result.overlay:
            masks = rows.numbers() if specialist.classes else rows.masks(width)
            picture = _drawn(pixels, masks, bool(specialist.classes))
            write_picture(result.overlay, Image.fromarray(picture), result.mask_texts)
    if result.probability:
        _write_probability(result.probability, rows, len(specialist.classes), (height, width), result.map_texts)
    if result.uncertainty:
        texts = {**result.map_texts, **row_metadata(rows.tally())}
        write_rows(result.uncertainty, width, height, rows.uncertainties(), texts)
    if specialist.classes:
        write_rows(result.mask, width, height, rows.numbers(), result.mask_texts, class_palette())
    else:
        write_rows(result.mask, width, height, rows.masks(width), result.mask_texts)
    rows.remove()
    return height, width


def _predicted(
    specialist: Specialist, pixels: Regions | np.ndarray, start: int, with_uncertainty: bool
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Yield the probability in parts, and what is kept beside it: the uncertainty and the sums of each part."""
    if with_uncertainty:
        for probability, uncertainty, tally in assessed_rows(specialist, pixels, start):
            yield probability, {"uncertainty": as_pixels(uncertainty), **asdict(tally)}
    else:
        for maps in probability_rows([specialist.model], pixels, start):
            yield maps[0], {}


class _Rows:
    """The folder of the rows that are finished, one file per part: FIRST-LAST.npz, without gaps."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self._folder, self._about = folder, dict(about)

    def prepare(self) -> int:
        """Make the folder; return the number of rows that are in it. Rows of another prediction are removed."""
        if self._folder.exists() and self._read_about() != self._about:
            self.remove()
        self._folder.mkdir(exist_ok=True)
        write_json(self._folder / ABOUT, self._about)
        done = 0
        for start, stop, path in self._parts():
            if start != done:
                path.unlink()
            else:
                done = stop
        return done

    def add(self, start: int, mask: np.ndarray, further: Mapping[str, Any]) -> None:
        """Keep a part of the mask, h W, whose first row is `start`, and further arrays."""
        arrays = {"mask": np.packbits(mask, axis=1)} if mask.dtype == bool else {"numbers": mask}
        path = self._folder / f"{start:08d}-{start + len(mask):08d}.npz"
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays, **further)

    def masks(self, width: int) -> Iterator[np.ndarray]:
        """Yield the mask in parts, h W, uint8, 0 and 255."""
        for part in self._read("mask"):
            yield np.unpackbits(part, axis=1, count=width) * np.uint8(255)

    def numbers(self) -> Iterator[np.ndarray]:
        """Yield the mask of several classes in parts, h W, uint8, class numbers."""
        yield from self._read("numbers")

    def probabilities(self, number: int | None) -> Iterator[np.ndarray]:
        """Yield the map of the probability in parts, h W, float32; that of a class by its number, counted from 0."""
        for part in self._read("probability"):
            yield part if number is None else part[number]

    def uncertainties(self) -> Iterator[np.ndarray]:
        """Yield the map of the uncertainty in parts, h W, uint8."""
        yield from self._read("uncertainty")

    def tally(self) -> Tally:
        """Return the sums over the image."""
        names = [of.name for of in fields(Tally)]
        parts = zip(*(self._read(name) for name in names), strict=True)
        return reduce(operator.add, (Tally(*sums[:2], *map(int, sums[2:])) for sums in parts))

    def remove(self) -> None:
        """Remove the folder; anything in it that is not ours stays."""
        for path in (*(path for _, _, path in self._parts()), self._folder / ABOUT):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()

    def _read(self, name: str) -> Iterator[np.ndarray]:
        for _, _, path in self._parts():
            with np.load(path, allow_pickle=False) as arrays:
                yield arrays[name]

    def _parts(self) -> list[tuple[int, int, Path]]:
        found = []
        for path in self._folder.glob("*-*.npz"):
            start, _, stop = path.stem.partition("-")
            if start.isdigit() and stop.isdigit():
                found.append((int(start), int(stop), path))
        return sorted(found)

    def _read_about(self) -> object:
        try:
            return json.loads((self._folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def _drawn(pixels: Regions | np.ndarray, masks: Iterator[np.ndarray], several: bool) -> np.ndarray:
    """Return the image with its mask drawn on top, h w 3, uint8, at most `LONGEST_OVERLAY` px long."""
    height, width = pixels.shape[:2]
    step = -(-max(height, width) // LONGEST_OVERLAY)
    parts, start = [], 0
    for mask in in_steps(masks, OVERLAY_ROWS * step):
        band = Image.fromarray(pixels[start : start + len(mask), 0:width])
        shrunk = np.asarray(band.reduce(step) if step > 1 else band)
        small = mask[::step, ::step]
        parts.append(overlay(shrunk, small if several else small > 0))
        start += len(mask)
    return np.concatenate(parts)


def _write_probability(path: Path, rows: _Rows, classes: int, shape: tuple[int, int], texts: Mapping[str, str]) -> None:
    """Write the map as TIFF with tiles, atomically; with several classes a page for each."""
    pages: list[int | None] = list(range(classes)) if classes else [None]
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as unfinished:
        tifffile.imwrite(
            unfinished,
            (tile for page in pages for tile in tiles(rows.probabilities(page))),
            shape=(classes, *shape) if classes else shape,
            dtype=np.float32,
            tile=(TILE, TILE),
            compression="zlib",
            photometric="minisblack",
            description=json.dumps(dict(texts)),
            metadata=None,
            bigtiff=4 * len(pages) * shape[0] * shape[1] > BIG_TIFF,
        )

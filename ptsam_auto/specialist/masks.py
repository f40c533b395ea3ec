"""Writes masks as PNG files, one per image or page. Their metadata names the specialist and the source image.

A mask of one class is 0 and 255. With several classes its pixels are class numbers, in the colours of the report, and
classes.json in the folder names them.

Overlays and maps of the uncertainty are written in the same way if they are asked for; see `uncertainty` and
`expected_table`. Maps of the foreground probability are TIFF files, whose description is the same metadata.

So an interrupted prediction can be continued: what this specialist made from this image is kept. Other files, and what
it made from another image of the same name, are not overwritten by default.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from ptsam_auto.data.new_images import Source
from ptsam_auto.data.raster import SOURCE, SPECIALIST
from ptsam_auto.data.reading import ImageReading
from ptsam_auto.errors import DatasetError, OutputError
from ptsam_auto.files import file_sha256, json_sha256, remove_unfinished, replacing
from ptsam_auto.metrics.classes import DEFAULT_THRESHOLD, decided
from ptsam_auto.png import read_texts, write_picture, write_rows
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.expected_table import row_metadata
from ptsam_auto.specialist.large import LargeResult, Progress, is_large, predict_large
from ptsam_auto.specialist.report import class_palette, overlay
from ptsam_auto.specialist.uncertainty import as_pixels, assess

PROBABILITY = "probability"  # Subfolder of the maps of the foreground probability.
THRESHOLD = "ptsam-auto threshold"  # Text chunk of the masks.


@dataclass(frozen=True)
class Destination:
    """Output folders of a prediction.

    Args:
        masks: Folder of the masks, NAME.png.
        overlays: Folder of copies of the images with the mask drawn on top, or None.
        replace: Whether to overwrite files that this specialist did not make, or that it made from another image.
            An image to predict on is never overwritten.
        uncertainty: Folder of the maps of the uncertainty, NAME.png, or None.
        probability: Whether the foreground probability is written too, as probability/NAME.tif in the folder of the
            masks, float32; with several classes it has a page for each.
        threshold: Probability above which a pixel is foreground, 0 to 1.
    """

    masks: Path
    overlays: Path | None = None
    replace: bool = False
    uncertainty: Path | None = None
    probability: bool = False
    threshold: float = DEFAULT_THRESHOLD

    def probability_path(self, name: str) -> Path | None:
        """Return the path of the foreground probability of a page, or None."""
        return self.masks / PROBABILITY / f"{name}.tif" if self.probability else None

    @property
    def folders(self) -> list[Path]:
        """Return all folders."""
        return [folder for folder in (self.masks, self.overlays, self.uncertainty) if folder is not None]

    def create_folders(self) -> None:
        """Create the folders.

        Raises:
            OutputError: A folder cannot be written to, or two folders are the same.
        """
        for folder in self.folders:
            if sum(other.resolve() == folder.resolve() for other in self.folders) > 1:
                raise OutputError(
                    f"{folder} is the folder of two kinds of results, which have the same names.\n"
                    "Choose another folder for one of them."
                )
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(folder, error) from None
            for place in (folder, *(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())):
                remove_unfinished(place)

    def refuse_inputs(self, sources: Iterable[Source], further: Iterable[Path] = ()) -> None:
        """Check that no result would overwrite an image to predict on, also if `replace` is set.

        Args:
            sources: Images to predict on.
            further: Paths of further results.

        Raises:
            OutputError: A result would overwrite an image.
        """
        sources = tuple(sources)
        inputs = {file.resolve() for source in sources for file in source.image.files}
        names = [name for source in sources for name in source.names]
        results = [folder / f"{name}.png" for folder in self.folders for name in names]
        results += [path for name in names if (path := self.probability_path(name))]
        for path in (*results, *further):
            if path.resolve() in inputs:
                raise OutputError(
                    f"{path} is an image to predict on, and a result would overwrite it.\n"
                    "Choose another folder for the results."
                )


@dataclass(frozen=True)
class PredictionResult:
    """The result for one image file.

    Args:
        path: Path as the user named it.
        written: Number of masks that were written.
        kept: Number of masks that existed already.
        problem: Problem of the image, or "".
        longest: Longer side of the largest page that was predicted, px; 0 if no page was predicted.
    """

    path: str
    written: int = 0
    kept: int = 0
    problem: str = ""
    longest: int = 0


def reading_of(specialist: Specialist) -> ImageReading:
    """Return how the training images were read. The images to predict on must be read in the same way."""
    return specialist.record.data.reading


def predict_source(
    specialist: Specialist, source: Source, destination: Destination, progress: Progress = lambda share: None
) -> PredictionResult:
    """Write the mask of an image as PNG in the size of the image. For a stack, write one mask per page.

    A large image is predicted by rows, see `large`.

    Args:
        specialist: The loaded specialist; the image is read as its training images were. Maps of the uncertainty need
            its folds.
        source: One image; see `new_images.find_new_images`.
        destination: Output folders, which exist.
        progress: Function that is called with the finished share of a large image, 0 to 1.

    Raises:
        OutputError: A folder cannot be written to, or a result would overwrite the image.
    """
    written = kept = longest = 0
    label = source.label
    destination.refuse_inputs([source])
    try:
        source_hash = _hash_of(source)
        for page, name in enumerate(source.names):
            mask_path = destination.masks / f"{name}.png"
            overlay_path = destination.overlays / f"{name}.png" if destination.overlays else None
            map_path = destination.uncertainty / f"{name}.png" if destination.uncertainty else None
            probability_path = destination.probability_path(name)
            of_probability = (map_path, probability_path)  # These do not depend on the threshold.
            made_before = []
            for path in filter(None, (mask_path, overlay_path, map_path, probability_path)):
                made_by, made_from, threshold = _read_metadata(path)
                is_ours = (made_by, made_from) == (specialist.identity, source_hash)
                is_same = is_ours and (path in of_probability or threshold == destination.threshold)
                made_before.append(is_same and _is_intact(path))
                if path.exists() and not is_ours and not destination.replace:
                    same_specialist = made_by == specialist.identity
                    origin = (
                        "made from another image of this name" if same_specialist else "not made by this specialist"
                    )
                    problem = f"{path} exists and was {origin}; overwrite it with --force"
                    return PredictionResult(label, written, kept, problem)
            if all(made_before):
                kept += 1
                continue
            metadata = {SPECIALIST: specialist.identity, SOURCE: source_hash}
            if is_large(specialist, source):
                of_mask = metadata | {THRESHOLD: str(destination.threshold)}
                paths = (mask_path, probability_path, overlay_path, map_path)
                result = LargeResult(*paths, destination.threshold, of_mask, metadata)
                try:
                    size = predict_large(specialist, source, page, result, progress)
                except OSError as error:
                    raise _unwritable(mask_path, error) from None
                longest = max(longest, *size)
                written += 1
                continue
            image = source.image.read(page, reading_of(specialist))
            longest = max(longest, *image.shape[:2])
            if map_path:
                assessment = assess(specialist, image)
                probability = assessment.probability
                _write(map_path, as_pixels(assessment.uncertainty), metadata | row_metadata(assessment.tally))
            else:
                probability = specialist.probability(image)
            mask = decided(probability, destination.threshold)
            if probability_path:
                _write_probability(probability_path, probability, metadata)
            metadata |= {THRESHOLD: str(destination.threshold)}
            if overlay_path:
                _write(overlay_path, overlay(image, mask), metadata)
            _write_mask(mask_path, mask, metadata)
            written += 1
    except DatasetError as error:
        return PredictionResult(label, written, kept, "; ".join(problem.what for problem in error.problems))
    except OSError as error:
        return PredictionResult(label, written, kept, f"cannot be read: {error.strerror or error}")
    return PredictionResult(label, written, kept, longest=longest)


def _hash_of(source: Source) -> str:
    """Return the SHA-256 of the file of an image, or one hash of the hashes of its files."""
    digests = [file_sha256(file) for file in source.image.files]
    return digests[0] if len(digests) == 1 else json_sha256(digests)


def _read_metadata(path: Path) -> tuple[str | None, str | None, float]:
    """Return the specialist and the source image of a result, or None for each that is missing, and its threshold.

    Masks of earlier versions do not name their threshold; it was always 0.5.
    """
    try:
        if path.suffix == ".tif":
            with tifffile.TiffFile(path) as tiff:
                metadata = json.loads(tiff.pages.first.description)
        else:
            metadata = read_texts(path)
        threshold = float(metadata.get(THRESHOLD, DEFAULT_THRESHOLD))
        return metadata.get(SPECIALIST), metadata.get(SOURCE), threshold
    except Exception:  # Readers raise errors of every kind for a damaged file; it may also be missing or not ours.
        return None, None, DEFAULT_THRESHOLD


def _is_intact(path: Path) -> bool:
    """Return whether all of a result can be read; both formats have checksums. A damaged one is made again."""
    try:
        if path.suffix == ".tif":
            with tifffile.TiffFile(path) as tiff:
                for page in tiff.pages:
                    for _ in page.segments():  # One tile at a time, because the map of a large image is large.
                        pass
        else:
            with Image.open(path, formats=["PNG"]) as image:
                image.verify()
    except Exception:  # Readers raise errors of every kind for a damaged file.
        return False
    return True


def _write(path: Path, pixels: np.ndarray, metadata: dict[str, str]) -> None:
    try:
        write_picture(path, Image.fromarray(pixels), metadata)
    except OSError as error:
        raise _unwritable(path, error) from None


def _write_mask(path: Path, mask: np.ndarray, metadata: dict[str, str]) -> None:
    """Write a mask, H W, bool or class numbers, so that it can be read by rows."""
    height, width = mask.shape
    pixels, palette = (mask.astype(np.uint8) * 255, None) if mask.dtype == bool else (mask, class_palette())
    try:
        write_rows(path, width, height, [pixels], metadata, palette)
    except OSError as error:
        raise _unwritable(path, error) from None


def _write_probability(path: Path, probability: np.ndarray, metadata: dict[str, str]) -> None:
    """Write a map as TIFF, atomically."""
    options: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
    options |= {"description": json.dumps(metadata), "metadata": None}
    try:
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as unfinished:
            tifffile.imwrite(unfinished, probability.astype(np.float32), **options)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Cannot write {path}: {error.strerror or error}.\nChoose another folder.")

"""ImageJ and Fiji: one set of regions per image, NAME.zip or NAME.roi, as saved by the ROI Manager."""

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import roifile

from ptsam_auto.data.formats.annotation_files import annotation_files
from ptsam_auto.data.formats.collection import Collection
from ptsam_auto.data.formats.drawn import LINE, Annotated, Outline, outlined
from ptsam_auto.data.formats.layout import Listing
from ptsam_auto.data.formats.outlines import Region, ellipse, finite, polygon
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.errors import DatasetError, Problem

NAME = "imagej"
SKETCH = "NAME.zip or NAME.roi of ImageJ's ROI Manager beside NAME.tif (also NAME_RoiSet.zip)"
ENDINGS = ("_roiset", "-roiset", "_rois", "_roi", "-rois", "-roi", " roiset")
BEGINNINGS = ("roiset_", "roiset-", "roiset ")
LARGEST_ROI = 16 * 2**20  # bytes
LARGEST_SET = 2**30
AREAS = ("POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED")


def detect(folder: Path) -> bool:
    """Return whether a file contains regions of ImageJ."""
    return any(_is_set(file) for file in annotation_files(folder, ".zip", ".roi"))


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read one set of regions per image; images without one are left out.

    Raises:
        DatasetError: The user selected a category that no file has.
    """
    collection = Collection(folder, "ImageJ", "region", options)
    sources = [file for file in annotation_files(folder, ".zip", ".roi") if _is_set(file)]
    for source in sources:
        outlines = collection.load(source, _outlines)
        if outlines is None:
            continue
        images = collection.index.files
        single_pair = len(sources) == 1 and len(images) == 1  # for example RoiSet.zip, ImageJ's default, and one image
        file = images[0] if single_pair else collection.locate_own(source, image_stem(source.stem))
        if file is not None:
            collection.add(Annotated(source, "", file, None, outlines))
    return collection.listing()


def image_stem(stem: str) -> str:
    """Return the name of the image of a set of regions: a07 for a07_RoiSet."""
    for ending in ENDINGS:
        if stem.lower().endswith(ending):
            return stem[: -len(ending)]
    for beginning in BEGINNINGS:
        if stem.lower().startswith(beginning):
            return stem[len(beginning) :]
    return stem


def _is_set(file: Path) -> bool:
    if file.suffix.lower() == ".roi":
        return True
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.lower().endswith(".roi") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def _outlines(source: Path) -> tuple[Outline, ...]:
    """Return the regions of a file; raises DatasetError if one is damaged."""
    logger = roifile.logger()
    disabled, logger.disabled = logger.disabled, True  # its messages would repeat the problems below
    try:
        outlines = []
        for name, data in _stored(source):
            try:
                roi = roifile.ImagejRoi.frombytes(data)
            except Exception as error:  # roifile raises many kinds of exceptions
                what = f"{name} is no region as ImageJ saves it; save the set again"
                raise DatasetError(source.parent, [Problem(source.name, what)]) from error
            outlines.append(outlined(name.removesuffix(".roi"), _label(roi), partial(_region, roi)))
        return tuple(outlines)
    finally:
        logger.disabled = disabled


def _stored(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each region; raises DatasetError if they are too large or damaged."""
    try:
        if source.suffix.lower() == ".roi":
            yield source.name, source.read_bytes()[:LARGEST_ROI]
            return
        with zipfile.ZipFile(source) as archive:
            stored = [info for info in archive.infolist() if info.filename.lower().endswith(".roi")]
            sizes = [info.file_size for info in stored]
            if max(sizes) > LARGEST_ROI or sum(sizes) > LARGEST_SET:
                raise DatasetError(source.parent, [Problem(source.name, "larger than any set of regions")])
            for info in stored:
                yield info.filename, archive.read(info)
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, EOFError) as error:
        raise DatasetError(source.parent, [Problem(source.name, "a damaged zip file; save the set again")]) from error


def _label(roi: roifile.ImagejRoi) -> str:
    return f"group {roi.group}" if roi.group else "no group"


def _region(roi: roifile.ImagejRoi) -> Region | None:
    kind = roi.roitype.name
    if kind not in AREAS or roi.subtype.name in ("TEXT", "ARROW", "IMAGE"):
        raise ValueError(LINE if kind in ("LINE", "POLYLINE", "FREELINE", "ANGLE", "POINT") else f"a {kind.lower()}")
    if roi.multi_coordinates is None and kind in ("OVAL", "RECT"):
        return _oval_or_rectangle(roi, kind)
    try:
        rings = [np.asarray(ring, np.float64).tolist() for ring in roi.coordinates(multi=True)]
    except Exception as error:  # as above
        raise ValueError("its outline is of a kind that is not read") from error
    if not any(rings):
        raise ValueError("its outline is of a kind that is not read")
    return polygon(rings)


def _oval_or_rectangle(roi: roifile.ImagejRoi, kind: str) -> Region | None:
    if roi.subpixelrect:
        left, top, width, height = (finite(value) for value in (roi.xd, roi.yd, roi.widthd, roi.heightd))
    else:
        left, top, width, height = roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top
    if kind == "OVAL":
        return ellipse(left + width / 2, top + height / 2, width / 2, height / 2)
    return polygon([[left, top, left + width, top, left + width, top + height, left, top + height]])

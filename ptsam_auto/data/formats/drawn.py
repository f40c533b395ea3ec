"""Masks that are drawn from the outlines in annotation files of any tool."""

# H W  px, rows and columns

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import ExifTags, Image

from ptsam_auto.data.formats.layout import ImageFiles, relative
from ptsam_auto.data.formats.outlines import Region, draw
from ptsam_auto.data.formats.sources import painted
from ptsam_auto.data.raster import FORMATS
from ptsam_auto.errors import DatasetError, Problem

BOX = "a box, which is not a mask; outline the object with a polygon"
LINE = "a line or a point, which has no area"
SHOWN = 5  # number of names or ids that are listed before "and 7 more"
MOST_PIXELS = 2**30  # maximum number of pixels of a mask
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True, eq=False)
class Outline:
    """One annotation of an image.

    Args:
        place: Id or number of the annotation in its file; "" if it has none.
        label: Category of the annotation.
        regions: Areas of the annotation; the annotation covers the union of them.
        fault: Reason why it cannot be drawn, which starts with "cannot be drawn"; "" if it can be drawn.
        flat: True if a part of it has no area, for example a polygon of two points.
    """

    place: str
    label: str
    regions: tuple[Region, ...]
    fault: str = ""
    flat: bool = False


def outlined(place: str, label: Any, make: Callable[[], Region | None]) -> Outline:  # noqa: ANN401 - JSON
    """Return an outline with the region from `make`, or with a fault.

    Args:
        place: Id or number of the annotation in its file.
        label: Category of the annotation, if it is text or a number.
        make: Function that returns the region, or None for an annotation without area. It raises ValueError, KeyError
            or TypeError if the annotation is not in the format of its tool.
    """
    category = str(label) if isinstance(label, str | int) and label != "" else "no category"
    try:
        region = make()
    except KeyError as error:
        return Outline(place, category, (), drawing_fault(f"it has no {error}"))
    except TypeError:
        return Outline(place, category, (), drawing_fault("it is not as its tool writes it"))
    except ValueError as error:
        return Outline(place, category, (), drawing_fault(error))
    return Outline(place, category, () if region is None else (region,), flat=region is None)


@dataclass(frozen=True, eq=False)
class Annotated:
    """An image and its outlines.

    Args:
        source: Annotation file.
        stated: Name of the image in the annotation file; "" if the file belongs to one image only.
        file: Image file.
        size: H W, px, of the image in the annotation file; None if the file does not contain it.
        outlines: Outlines of all categories.
    """

    source: Path
    stated: str
    file: Path
    size: tuple[int, int] | None
    outlines: tuple[Outline, ...]

    def label(self, root: Path) -> str:
        """Return its name for messages."""
        return relative(self.source, root) + (f": {self.stated}" if self.stated else "")

    def key(self) -> tuple[Any, ...]:
        """Return a key that is the same for equal annotations of an image."""
        return (self.size, *((o.label, o.fault, *(region.key() for region in o.regions)) for o in self.outlines))


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """A mask drawn from the outlines of one image.

    Args:
        annotated: Image of the outlines and their annotation file.
        outlines: Foreground outlines, all without a fault.
        noun: The tool's word for an outline.
        classes: Categories that are classes of their own, in the order of their numbers; () for one class.
    """

    annotated: Annotated
    outlines: tuple[Outline, ...]
    noun: str
    classes: tuple[str, ...] = ()

    def label(self, root: Path) -> str:
        """Return its name for messages."""
        return self.annotated.label(root)

    def count_pages(self) -> int:
        """Return 1: outlines have no pages."""
        return 1

    def read(self, page: int) -> np.ndarray:
        """Return the mask, H W, bool or class numbers; where classes overlap, see `painted`.

        Raises:
            DatasetError: The size or an outline does not fit the image, or the image cannot be opened.
        """
        folder = self.annotated.source.parent
        image = self.annotated.file
        height, width = image_size(image) or ImageFiles((image,)).read(page).shape[:2]
        stated = self.annotated.size
        faults = []
        if stated is not None and stated != (height, width):
            faults = [f"{stated[1]} x {stated[0]} px, but its image is {width} x {height} px"]
        elif height * width > MOST_PIXELS:
            faults = [f"{width} x {height} px, more than can be drawn; cut the image into tiles"]
        else:
            complaints = [(o.place, r.complaint(height, width)) for o in self.outlines for r in o.regions]
            named = [(place, drawing_fault(text)) for place, text in complaints if text]
            faults = grouped(self.noun, len(self.outlines), named)
        if faults:
            raise DatasetError(folder, [Problem(self.label(folder), fault) for fault in faults])
        if len(self.classes) < 2:
            return draw([region for outline in self.outlines for region in outline.regions], height, width)
        return painted(
            draw([region for o in self.outlines if o.label == name for region in o.regions], height, width)
            for name in self.classes
        )


def image_size(file: Path) -> tuple[int, int] | None:
    """Return H W of an image with its orientation applied, from its header alone; None if the header is not enough."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=[*FORMATS, "TIFF"]) as opened:
                if opened.format != "TIFF":
                    # getexif() of a PNG without EXIF data at its start would decode all of its pixels.
                    known = opened.format != "PNG" or "exif" in opened.info
                    turned = known and opened.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
                    return (opened.width, opened.height) if turned else (opened.height, opened.width)
            with tifffile.TiffFile(file) as tiff:
                series = tiff.series[0]
                sizes = dict(zip(series.axes, series.shape, strict=True))
                orientation = tiff.pages.first.tags.get("Orientation")
                plain = "Q" not in series.axes and (orientation is None or orientation.value == 1)
                return (int(sizes["Y"]), int(sizes["X"])) if plain else None
    except Exception:  # decoders raise many kinds of exceptions; reading the image later reports the problem
        return None


def size_fault(size: tuple[int, int]) -> str | None:
    """Return a description of what is wrong with a stated size (H W), or None."""
    height, width = size
    if min(size) < 1 or height * width > MOST_PIXELS:
        return f"states {width} x {height} px, which no image that is read has"
    return None


def nouns(noun: str, places: Sequence[str]) -> str:
    """Return text such as "annotations 3, 4 and 7 more", or "2 annotations" if they have no ids."""
    named = [place for place in places if place]
    if not named:
        return counted(len(places), noun)
    return f"{noun}{'s' if len(named) > 1 else ''} {shown(named)}"


def shown(names: Sequence[str]) -> str:
    """Return the first names and the number of the others, as text."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def counted(count: int, noun: str) -> str:
    """Return text such as "1 image" or "2 images"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def grouped(noun: str, total: int, faults: Iterable[tuple[str, str]]) -> list[str]:
    """Return a sentence for each kind of fault, with the places that have it."""
    by_text: dict[str, list[str]] = defaultdict(list)
    for place, text in faults:
        by_text[text].append(place)
    return [
        f"{nouns(noun, places)} {text}" if any(places) else f"{len(places)} of its {total} {noun}s {text}"
        for text, places in by_text.items()
    ]


def drawing_fault(error: str | Exception) -> str:
    """Return the fault of an outline from the error in its numbers."""
    return f"cannot be drawn: {error}"

"""Writes everything that follows from masks: objects, measurements and files for other programs."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from roifile import ImagejRoi

from ptsam_auto.bands import LARGE
from ptsam_auto.data.new_images import Source
from ptsam_auto.data.raster import Pages, failures_as_problems, unreadable
from ptsam_auto.data.regions import opened_values
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.files import replacing_folder
from ptsam_auto.objects.exports import (
    LARGEST_IN_IMAGEJ,
    Coco,
    annotations_of,
    features_of,
    rois_of,
    write_geojson,
    write_rois,
)
from ptsam_auto.objects.in_bands import Finished, finished_objects
from ptsam_auto.objects.label_files import LARGE_TYPE, smallest_type, write_label_rows, write_labels
from ptsam_auto.objects.measures import Page, Row, row_of_image, rows_of_objects
from ptsam_auto.objects.pixel_size import PixelSize, pixel_size_of
from ptsam_auto.objects.separation import ObjectSettings, separated_classes
from ptsam_auto.objects.summary import write_summary
from ptsam_auto.objects.tables import table_paths, write_tables
from ptsam_auto.objects.zarr_labels import ZarrLabels
from ptsam_auto.png import read_rows, size_of

LABELS, GEOJSON, IMAGEJ, OME_ZARR = "labels", "geojson", "imagej", "ome-zarr"
COCO_FILE, SUMMARY = "coco.json", "measurements.html"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ObjectResults:
    """What is written about the objects in masks.

    Args:
        folder: Folder of the masks, NAME.png; the results are written beside them.
        settings: How the objects are separated.
        measure: Whether they are measured.
        exports: Formats of other programs, some of `kinds.EXPORTS`.
        pixel_size: Size of a pixel of all images, or None for what each file states.
        class_name: Name of the foreground in other programs, if there is a single class.
        classes: Names of several classes, in the order of their numbers in the masks; () for a single class.
    """

    folder: Path
    settings: ObjectSettings
    measure: bool = False
    exports: tuple[str, ...] = ()
    pixel_size: PixelSize | None = None
    class_name: str = "foreground"
    classes: tuple[str, ...] = ()

    def paths(self, sources: Sequence[Source]) -> Iterator[Path]:
        """Yield the paths of all files that are written."""
        for source in sources:
            yield self._of(LABELS, source_name(source), ".tif")
            if "imagej" in self.exports:
                yield self._of(IMAGEJ, source_name(source), ".zip")
            if "ome-zarr" in self.exports:
                yield self._of(OME_ZARR, source_name(source), ".ome.zarr")
            for name in source.names if "geojson" in self.exports else ():
                yield self._of(GEOJSON, name, ".geojson")
        if "coco" in self.exports:
            yield self.folder / COCO_FILE
        if self.measure:
            yield self.folder / SUMMARY
            yield from table_paths(self.folder)

    def write(self, sources: Sequence[Source], progress: Progress = lambda done, total, note: None) -> "Written":
        """Write the results for all images whose masks exist.

        Args:
            sources: Images that were predicted.
            progress: Function that is called with (images done, all images, note); the note is "" or what share of a
                large image is done.

        Raises:
            OSError: A file cannot be written.
        """
        objects: list[Row] = []
        images: list[Row] = []
        problems: list[Problem] = []
        count = pages_done = unknown = cut = 0
        coco = Coco(self.classes or (self.class_name,))
        for done, source in enumerate(sources, start=1):
            try:
                size = self.pixel_size or pixel_size_of(source.image.files[0])
                found = self._write_image(source, size, partial(progress, done - 1, len(sources)))
            except DatasetError as error:
                what = "; ".join(problem.what for problem in error.problems)
                problems.append(Problem(source.label, f"its objects are not measured: {what}"))
                continue
            unknown += size is None
            pages_done += len(source.names)
            count, cut = count + found.count, cut + found.cut
            objects += found.objects
            images += found.images
            for number, (shape, annotations) in enumerate(zip(found.sizes, found.annotations, strict=True)):
                name = source.names[number] if len(source.names) > 1 else source.image.files[0].name
                coco.add(name, shape, annotations)
            progress(done, len(sources), "")
        if "coco" in self.exports:
            coco.write(self.folder / COCO_FILE)
        if self.measure:
            write_tables(self.folder, objects, images)
            write_summary(self.folder / SUMMARY, objects, images)
        return Written(count, pages_done, unknown, cut, tuple(problems))

    def _write_image(self, source: Source, pixel_size: PixelSize | None, say: Callable[[str], None]) -> "_Found":
        """Write the files of one image, and return what the files of all images need.

        Raises:
            DatasetError: The image or its mask cannot be read.
            OSError: A file cannot be written.
        """
        masks = [self.folder / f"{name}.png" for name in source.names]
        with failures_as_problems(masks[0]):
            size = size_of(masks[0])
        if "imagej" in self.exports and max(size) > LARGEST_IN_IMAGEJ:
            raise unreadable(source.image.files[0], f"ImageJ has outlines up to {LARGEST_IN_IMAGEJ:,} px; omit imagej")
        is_large = size[0] * size[1] >= LARGE
        name, count, found = source_name(source), len(masks), _Found()
        layout = source.image.pages() if count > 1 else Pages()
        pages = (self._rows(source, page, pixel_size, is_large, found, say) for page in range(count))
        path = self._made(LABELS, name, ".tif")
        with ExitStack() as unfinished:

            def in_zarr(dtype: type[np.unsignedinteger[Any]]) -> ZarrLabels:
                folder = unfinished.enter_context(replacing_folder(self._made(OME_ZARR, name, ".ome.zarr")))
                return ZarrLabels(folder, name, size, layout, count, pixel_size, dtype)

            if is_large:
                if "ome-zarr" in self.exports:
                    volume = in_zarr(LARGE_TYPE)
                    pages = (volume.add(page, rows) for page, rows in enumerate(pages))
                write_label_rows(path, pages, size, layout, count, pixel_size)
            else:
                labels = [np.concatenate(list(rows)) for rows in pages]
                write_labels(path, labels, layout, pixel_size)
                if "ome-zarr" in self.exports:
                    volume = in_zarr(smallest_type(labels))
                    for page, rows in enumerate(labels):
                        deque(volume.add(page, [rows]), maxlen=0)
        if "imagej" in self.exports:
            write_rois(self._made(IMAGEJ, name, ".zip"), found.rois)
        return found

    def _rows(
        self,
        source: Source,
        number: int,
        pixel_size: PixelSize | None,
        is_large: bool,
        found: "_Found",
        say: Callable[[str], None],
    ) -> Iterator[np.ndarray]:
        """Yield the objects of a page from top to bottom, each band h W, and add them to what is found.

        Raises:
            DatasetError: The image or its mask cannot be read.
        """
        objects: list[Row] = []
        features: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        path = self.folder / f"{source.names[number]}.png"
        with failures_as_problems(path):
            height, width = size_of(path)
        with ExitStack() as files:
            values_of = files.enter_context(opened_values(source.image, number)) if self._are_measured else None
            for part in self._parts(path, width, is_large):
                values = values_of(slice(part.top, part.top + len(part.labels))) if values_of else None
                place = (part.top, height, part.before)
                page = Page(source.names[number], part.labels, values, pixel_size, self.classes, part.class_of, *place)
                found.count += int(part.labels.max(initial=0))
                found.cut += part.cut
                rows = rows_of_objects(page) if self._are_measured else []
                objects += rows
                if "geojson" in self.exports:
                    features += features_of(page, rows, self.class_name)
                if "coco" in self.exports:
                    annotations += annotations_of(page)
                if "imagej" in self.exports:
                    found.rois += rois_of(page, number + 1)
                if is_large:
                    say(f"{source.names[number]}: {100 * (part.top + len(part.labels)) / height:.0f} %")
                yield part.rows
        found.objects += objects
        found.sizes.append((height, width))
        found.annotations.append(annotations)
        if self._are_measured:
            found.images.append(row_of_image(page, objects))
        if "geojson" in self.exports:
            write_geojson(self._made(GEOJSON, page.name, ".geojson"), features)

    def _parts(self, path: Path, width: int, is_large: bool) -> Iterator[Finished]:
        """Yield the objects of a mask: all at once, or those of a large one as they are finished."""
        if is_large:
            yield from finished_objects(partial(_bands, path), width, len(self.classes), self.settings)
            return
        with failures_as_problems(path), Image.open(path, formats=["PNG"]) as mask:
            numbers = np.asarray(mask)
        labels, class_of = separated_classes(numbers, len(self.classes), self.settings)
        yield Finished(0, labels, class_of, before=0, cut=0, rows=labels)

    @property
    def _are_measured(self) -> bool:
        return self.measure or "geojson" in self.exports

    def _of(self, kind: str, name: str, ending: str) -> Path:
        return self.folder / kind / f"{name}{ending}"

    def _made(self, kind: str, name: str, ending: str) -> Path:
        """Return the path of a file, whose folder exists then."""
        path = self._of(kind, name, ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class Written:
    """What was written.

    Args:
        objects: Number of objects.
        images: Number of images and pages.
        unknown: Number of images whose pixel size is not known.
        cut: Number of pieces of objects that are too tall for memory.
        problems: Images without results.
    """

    objects: int
    images: int
    unknown: int
    cut: int
    problems: tuple[Problem, ...]


def _bands(path: Path, at_once: int) -> Iterator[np.ndarray]:
    """Yield a mask, that many rows at a time.

    Raises:
        DatasetError: It cannot be read.
    """
    bands = read_rows(path, at_once)
    while True:
        with failures_as_problems(path):
            band = next(bands, None)
        if band is None:
            return
        yield band


@dataclass
class _Found:
    """What is found in one image, and is written into files of all images.

    Args:
        count: Number of objects of all pages.
        cut: Number of pieces of objects that are too tall for memory.
        objects: One row per object.
        images: One row per page.
        rois: The objects as ROIs of ImageJ.
        sizes: Height and width of each page, px.
        annotations: The objects of each page for COCO.
    """

    count: int = 0
    cut: int = 0
    objects: list[Row] = field(default_factory=list)
    images: list[Row] = field(default_factory=list)
    rois: list[ImagejRoi] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    annotations: list[list[dict[str, Any]]] = field(default_factory=list)


def source_name(source: Source) -> str:
    """Return the name of the results of an image as a whole: that of its only page, or of the stack."""
    return source.names[0] if len(source.names) == 1 else source.names[0].rsplit("_p", 1)[0]

"""Writes everything that follows from masks: objects, measurements and files for other programs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ptsam_auto.data.formats.sources import ImageFiles
from ptsam_auto.data.new_images import Source
from ptsam_auto.data.raster import Pages, decode, failures_as_problems
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.objects.exports import Coco, write_geojson, write_rois
from ptsam_auto.objects.label_files import write_labels
from ptsam_auto.objects.measures import Page, Row, row_of_image, rows_of_objects
from ptsam_auto.objects.pixel_size import PixelSize, pixel_size_of
from ptsam_auto.objects.separation import ObjectSettings, separated_classes
from ptsam_auto.objects.summary import write_summary
from ptsam_auto.objects.tables import table_paths, write_tables
from ptsam_auto.objects.zarr_labels import write_zarr_labels

LABELS, GEOJSON, IMAGEJ, OME_ZARR = "labels", "geojson", "imagej", "ome-zarr"
COCO_FILE, SUMMARY = "coco.json", "measurements.html"


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

    def write(
        self, sources: Sequence[Source], progress: Callable[[int, int], None] = lambda done, total: None
    ) -> "Written":
        """Write the results for all images whose masks exist.

        Args:
            sources: Images that were predicted.
            progress: Function that is called with (images done, all images).

        Raises:
            OSError: A file cannot be written.
        """
        objects: list[Row] = []
        images: list[Row] = []
        problems: list[Problem] = []
        count = pages_done = unknown = 0
        coco = Coco(self.classes or (self.class_name,))
        for done, source in enumerate(sources, start=1):
            try:
                size = self.pixel_size or pixel_size_of(source.image.files[0])
                pages = [self._page(source, number, size) for number in range(len(source.names))]
            except DatasetError as error:
                what = "; ".join(problem.what for problem in error.problems)
                problems.append(Problem(source.label, f"its objects are not measured: {what}"))
                continue
            unknown += size is None
            pages_done += len(pages)
            count += sum(int(page.labels.max(initial=0)) for page in pages)
            self._write_image(source, pages, size, coco, objects, images)
            progress(done, len(sources))
        if "coco" in self.exports:
            coco.write(self.folder / COCO_FILE)
        if self.measure:
            write_tables(self.folder, objects, images)
            write_summary(self.folder / SUMMARY, objects, images)
        return Written(count, pages_done, unknown, tuple(problems))

    def _write_image(
        self,
        source: Source,
        pages: Sequence[Page],
        size: PixelSize | None,
        coco: Coco,
        objects: list[Row],
        images: list[Row],
    ) -> None:
        """Write the files of one image, and add its rows to the tables."""
        layout = source.image.pages() if len(pages) > 1 else Pages()
        name, labels = source_name(source), [page.labels for page in pages]
        write_labels(self._made(LABELS, name, ".tif"), labels, layout, size)
        if "ome-zarr" in self.exports:
            write_zarr_labels(self._made(OME_ZARR, name, ".ome.zarr"), labels, layout, size)
        for page in pages:
            if self._are_measured:
                rows = rows_of_objects(page)
                objects += rows
                images.append(row_of_image(page, rows))
            if "geojson" in self.exports:
                write_geojson(self._made(GEOJSON, page.name, ".geojson"), page, rows, self.class_name)
            if "coco" in self.exports:
                coco.add(page, source.image.files[0].name if len(pages) == 1 else page.name)
        if "imagej" in self.exports:
            write_rois(self._made(IMAGEJ, name, ".zip"), pages)

    @property
    def _are_measured(self) -> bool:
        return self.measure or "geojson" in self.exports

    def _page(self, source: Source, number: int, size: PixelSize | None) -> Page:
        path = self.folder / f"{source.names[number]}.png"
        with failures_as_problems(path), Image.open(path, formats=["PNG"]) as mask:
            labels, class_of = separated_classes(np.asarray(mask), len(self.classes), self.settings)
        values = stored_values(source.image, number) if self._are_measured else None
        return Page(source.names[number], labels, values, size, self.classes, class_of)

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
        problems: Images without results.
    """

    objects: int
    images: int
    unknown: int
    problems: tuple[Problem, ...]


def source_name(source: Source) -> str:
    """Return the name of the results of an image as a whole: that of its only page, or of the stack."""
    return source.names[0] if len(source.names) == 1 else source.names[0].rsplit("_p", 1)[0]


def stored_values(image: ImageFiles, page: int) -> np.ndarray:
    """Return the stored values of all channels of a page, H W C.

    Raises:
        DatasetError: A file cannot be decoded.
    """
    pages = [decode(file, page, planes=image.planes or "guess").seen() for file in image.files]
    return np.concatenate(pages, axis=-1)

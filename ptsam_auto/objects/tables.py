"""Writes measurements as CSV for spreadsheets and as Parquet for programs."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from ptsam_auto.files import replacing, write_text
from ptsam_auto.objects.measures import Row

OBJECTS, IMAGES = "objects", "images"


def table_paths(folder: Path) -> list[Path]:
    """Return the paths of all tables."""
    return [folder / f"{name}.{ending}" for name in (OBJECTS, IMAGES) for ending in ("csv", "parquet")]


def write_tables(folder: Path, objects: Sequence[Row], images: Sequence[Row]) -> None:
    """Write objects.csv, objects.parquet, images.csv and images.parquet.

    Args:
        folder: Folder of the files.
        objects: One row per object.
        images: One row per image or page.

    Raises:
        OSError: A file cannot be written.
    """
    for name, rows in ((OBJECTS, objects), (IMAGES, images)):
        # Images may differ in their channels, and only some may have a pixel size.
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_text(folder / f"{name}.csv", text.getvalue())
        with replacing(folder / f"{name}.parquet") as unfinished:
            content = {column: [row.get(column) for row in rows] for column in columns}
            pa.parquet.write_table(pa.table(content), unfinished)

"""The table of the expected Dice of predicted images, a CSV file.

A row is kept in the metadata of the map of the uncertainty, so a prediction that was interrupted, or that several
workers made, has a complete table in the end.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.data.raster import SPECIALIST
from ptsam_auto.files import write_text
from ptsam_auto.png import read_texts
from ptsam_auto.records import RecordError, from_json, to_json
from ptsam_auto.specialist.calibration import Calibration
from ptsam_auto.specialist.uncertainty import Tally

TABLE_FILE = "expected_dice.csv"
ASSESSMENT = "ptsam-auto assessment"  # Text chunk of the maps of the uncertainty.
COLUMNS = ("image", "expected_dice", "confidence", "disagreement", "foreground")


@dataclass(frozen=True)
class _Measured:
    """The numbers of a row that do not depend on the calibration, each 0 to 1."""

    confidence: float
    disagreement: float
    foreground: float


@dataclass(frozen=True)
class Row:
    """One image of the table.

    Args:
        name: Name of the image; its mask and its map are NAME.png.
        confidence: Confidence of the specialist, 0 to 1; see `calibration.confidence`.
        disagreement: Disagreement of the folds, 0 to 1; see `uncertainty.disagreement`.
        foreground: Fraction of the image that is predicted as foreground.
    """

    name: str
    confidence: float
    disagreement: float
    foreground: float


def row_metadata(tally: Tally) -> dict[str, str]:
    """Return the numbers of an image as metadata of its map."""
    measured = _Measured(tally.confidence, tally.disagreement, tally.foreground_share)
    return {ASSESSMENT: to_json(measured)}


def read_rows(folder: Path, names: Iterable[str], specialist: str) -> list[Row]:
    """Read the rows of those images that have a map of this specialist.

    Args:
        folder: Folder of the maps.
        names: Names of the images.
        specialist: Identity of the specialist.
    """
    rows = []
    for name in names:
        try:
            texts = read_texts(folder / f"{name}.png")
            if texts.get(SPECIALIST) == specialist:
                measured = from_json(_Measured, texts.get(ASSESSMENT, ""))
                rows.append(Row(name, measured.confidence, measured.disagreement, measured.foreground))
        except (OSError, RecordError, ValueError):  # The image could not be predicted.
            continue
    return rows


def write_table(path: Path, rows: Sequence[Row], calibration: Calibration | None) -> None:
    """Write the table; the expected Dice is empty without a calibration.

    Raises:
        OSError: The file cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        expected = f"{calibration.expected_dice(row.confidence):.4f}" if calibration else ""
        numbers = (row.confidence, row.disagreement, row.foreground)
        table.writerow([row.name, expected, *(f"{number:.4f}" for number in numbers)])
    write_text(path, text.getvalue())

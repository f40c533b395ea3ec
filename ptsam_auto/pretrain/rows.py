"""Results that outlive a kill: one JSON line for each, written as it comes, and all of a table as Parquet."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from ptsam_auto.errors import OutputError

# Every number that a row may carry; each is a column of the Parquet file, null where it does not apply.
QUALITIES = ("dice", "iou", "box", "filled_box", "click", "click_chosen", "group")
MEASURES = (*QUALITIES, "boxes", "clicks", "groups", "steps")


@dataclass(frozen=True)
class Row:
    """One result.

    Args:
        key: names all that decides the numbers; rows of the same key are the same row.
        part: "zero-shot" or "specialist".
        set: what was measured on.
        folder: of the set; several sets may be of one folder.
        method: one of `table.METHODS`; "zero-shot" in that part.
        weights: the generalist's name; "" for controls that need none.
        sha256: of the generalist's file, or "".
        seed: of the training images, the prompts' start and the views; None where nothing is drawn.
        train: training images.
        images: measured on.
        seconds: of processor time, whatever else the machine did meanwhile: of training, encoding included; of
            answering all prompts in the zero-shot part.
        measures: of MEASURES; Dice and IoU from 0 to 1.
    """

    key: str
    part: str
    set: str
    folder: str
    method: str
    weights: str
    sha256: str
    seed: int | None
    train: int
    images: int
    seconds: float
    measures: dict[str, float]

    @property
    def qualities(self) -> list[str]:
        """Names of the measures from 0 to 1; the others count something."""
        return [name for name in QUALITIES if name in self.measures]


class Ledger:
    """All rows that were ever finished in a folder.

    Args:
        folder: made if it does not exist.

    Attributes:
        rows: by key.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.jsonl"
        self.rows: dict[str, Row] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = self.path.read_text() if self.path.is_file() else ""
        except OSError as problem:
            raise _unwritable(folder, problem) from None
        # A kill in the middle of a line costs that line and no other.
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError):
                continue
            self.rows[row.key] = row

    def add(self, row: Row) -> None:
        """Keep a row, on disk before this returns.

        Raises:
            OutputError: it cannot be written.
        """
        line = ("\n" if self._torn else "") + json.dumps(asdict(row)) + "\n"
        try:
            with self.path.open("a") as file:
                file.write(line)  # one write, so that two evaluations may share a folder
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            raise _unwritable(self.path.parent, problem) from None
        self._torn = False
        self.rows[row.key] = row


def write_parquet(rows: Sequence[Row], path: Path) -> None:
    """Write rows as a flat table, a column for each field and each of MEASURES.

    Raises:
        OutputError: it cannot be written.
    """
    fields = {"seed": pa.int64(), "train": pa.int64(), "images": pa.int64(), "seconds": pa.float64()}
    names = [name for name in Row.__dataclass_fields__ if name != "measures"]
    schema = pa.schema(
        [(name, fields.get(name, pa.string())) for name in names] + [(name, pa.float64()) for name in MEASURES]
    )
    flat = [
        {name: getattr(row, name) for name in names} | {name: row.measures.get(name) for name in MEASURES}
        for row in rows
    ]
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        parquet.write_table(pa.Table.from_pylist(flat, schema), unfinished)
        unfinished.replace(path)
    except OSError as problem:
        raise _unwritable(path.parent, problem) from None


def write_text(text: str, path: Path) -> None:
    """Write a file that is never seen half.

    Raises:
        OutputError: it cannot be written.
    """
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as problem:
        raise _unwritable(path.parent, problem) from None


def _unwritable(folder: Path, problem: OSError) -> OutputError:
    return OutputError(f"{folder} cannot be written to: {problem.strerror or problem}. Name another folder.")

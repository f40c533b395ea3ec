"""`python -m ptsam_auto.pretrain evaluate`, top to bottom: measure what is new, then write the table."""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context

from ptsam_auto.errors import ConfigError
from ptsam_auto.pretrain.cells import Evaluation, cells, generalist
from ptsam_auto.pretrain.rows import Ledger, Row, write_parquet, write_text
from ptsam_auto.pretrain.table import markdown, method_in_words, rich_table, tables, verdict
from ptsam_auto.pretrain.track import Tracker
from ptsam_auto.show import Show

TABLE, FLAT = "evaluation.md", "evaluation.parquet"


def evaluate(asked: Evaluation, command: str, show: Show, track: bool = False) -> list[Row]:
    """Measure what was not measured before, keep every finished row at once, and write the table.

    Args:
        asked: what to measure.
        command: what the table says it was made with.
        show: told of every new row, and given the table.
        track: log the table to MLflow.

    Returns:
        All rows that were asked for, in the table's order.

    Raises:
        PtsamError: a file of weights, a folder or the place to write is not as it should be.
    """
    if asked.workers > 1:
        _side_by_side(asked, show)
    rows = measured(asked, show)
    text = markdown(rows, command)
    write_text(text, asked.out / TABLE)
    write_parquet(rows, asked.out / FLAT)
    for table in tables(rows):
        show.out.print(rich_table(table))
    for line in verdict(rows):
        show.out.print(line, markup=False, soft_wrap=True)
    show.say(f"Wrote {asked.out / TABLE} and {asked.out / FLAT}.")
    if track:
        _log(asked, rows)
    return rows


def _side_by_side(asked: Evaluation, show: Show) -> None:
    """Measure all that is new in several processes; the folder then has it."""
    # Whatever is wrong with weights and folders is said here, before any process starts.
    for _ in cells(asked, [generalist(choice) for choice in asked.weights], {}):
        pass
    with ProcessPoolExecutor(asked.workers, get_context("spawn")) as pool:
        shares = [pool.submit(_share, asked, number) for number in range(asked.workers)]
        for share in as_completed(shares):
            share.result()
    show.say(f"All rows are in {asked.out}.")


def _share(asked: Evaluation, number: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // asked.workers))
    measured(asked, Show(), number)


def measured(asked: Evaluation, show: Show, share: int | None = None) -> list[Row]:
    """The rows that were asked for; those that the folder has are taken from there.

    Args:
        asked: what to measure.
        show: told of every new row.
        share: which worker this is; it leaves to others what is theirs, and draws no bars between their lines.

    Raises:
        PtsamError: see `evaluate`.
    """
    bars = show if share is None else Show.nothing()
    generalists = [generalist(choice) for choice in asked.weights]
    ledger = Ledger(asked.out)
    rows: dict[str, Row] = {}
    for cell in cells(asked, generalists, ledger.rows):
        if share is not None and cell.exercise % asked.workers != share:
            continue
        if cell.key in rows:
            continue  # weights of one architecture share their controls
        row = ledger.rows.get(cell.key)
        if row is None:
            with bars.bar(cell.labels["set"]) as update:
                measures, seconds = cell.run(update)
            row = Row(key=cell.key, **cell.labels, seconds=seconds, measures=measures)
            ledger.add(row)
            numbers = ", ".join(f"{name} {row.measures[name]:.3f}" for name in row.qualities)
            seed = "" if row.seed is None else f", seed {row.seed}"
            show.say(f"{row.set}: {method_in_words(row)}{seed}: {numbers} ({seconds:.0f} CPU s)")
        # The same weights may go by another name today.
        rows[cell.key] = replace(row, **cell.labels)
    if not rows and share is None:
        raise ConfigError("There is nothing to measure: name a folder with splits.json, or let --part be zero-shot.")
    return list(rows.values())


def _log(asked: Evaluation, rows: Sequence[Row]) -> None:
    parameters = {"weights": ", ".join(asked.weights), "seeds": asked.seeds, "train_images": asked.train_images}
    parameters |= {"most": asked.most, "steps": asked.steps, "deep_steps": asked.deep_steps if asked.deep else 0}
    tracker = Tracker(f"evaluate {asked.out.resolve().name}", parameters)
    for row in rows:
        name = "/".join(part for part in (row.part, row.set, row.method, row.weights) if part)
        name = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)  # MLflow refuses a whole batch for one odd name
        tracker.log(row.seed or 0, {f"{name}/{measure}": row.measures[measure] for measure in row.qualities})
    tracker.attach(asked.out / TABLE)
    tracker.attach(asked.out / FLAT)
    tracker.close()

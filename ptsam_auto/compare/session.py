"""The story of `compare`, top to bottom: the paper's comparison (Sec. 4) on any datasets, as a folder full of evidence.

comparison.json    what was asked, on which data, with which versions
journal.jsonl      what came of each training, an event a line: the one truth
comparison.md      Table 2, what it cost, what failed
results.parquet    a row for each image that was measured
figures/           Fig. 1, 3, 4 and 6
bank/, bouts/, masks/   features, resume files and masks; the first two go when all is done
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ptsam_auto.baselines import nnunet
from ptsam_auto.compare.bout import MASKS, UNTUNED, Bout
from ptsam_auto.compare.entries import ENTRIES, PRESETS, chosen, values_of
from ptsam_auto.compare.results import (
    Result,
    costs,
    entries_in,
    failures_of,
    results_of,
    table_2,
    title_of,
    write_parquet,
)
from ptsam_auto.data.split import hold_out
from ptsam_auto.errors import ConfigError, Problem, listed
from ptsam_auto.sam import checkpoint
from ptsam_auto.search.cells import Cell, SearchData, read_data
from ptsam_auto.search.folder import begun, claimed
from ptsam_auto.search.trial import Task
from ptsam_auto.show import Show
from ptsam_auto.tracking import journal
from ptsam_auto.tracking.journal import Journal
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings

ABOUT, JOURNAL, TABLE, FLAT, FIGURES = (
    "comparison.json",
    "journal.jsonl",
    "comparison.md",
    "results.parquet",
    "figures",
)
PACKAGES = ("ptsam-auto", "torch", "segment-anything", "ray")
BUDGET = ("epochs", "steps_per_epoch")  # that nnU-Net has in common with the others


@dataclass(frozen=True)
class Comparison:
    """What is compared, as a person asks for it.

    Args:
        methods: names of `entries`, or ("all",).
        sizes: training images; those that a dataset does not have are replaced by all it has.
        splits: of each dataset, each with its own fixed 20 % to measure on and nested training images (Sec. 4.1.2).
        backbone: as `fit` takes it; "" for the preset's, or else auto.
        preset: "paper" for Sec. 4.1.3, or "".
        settings: for all SAM methods, by field path, such as {"recipe.epochs": 10}; {"nnunet.gpu_memory_gb": 1} is
            nnU-Net's, whose epochs and steps are those of the others where they are not given.
        cpu: cores of each training.
        gpu: GPUs of each training.
        threads: that each computes with.
    """

    methods: tuple[str, ...] = ("all",)
    sizes: tuple[int, ...] = (16, 32, 64)
    splits: int = 3
    backbone: str = ""
    preset: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    cpu: float = 1.0
    gpu: float = 0.0
    threads: int = 1

    def __post_init__(self) -> None:
        chosen(self.methods)
        if self.preset and self.preset not in PRESETS:
            raise ConfigError(f"There is no preset {self.preset}. There is: {', '.join(PRESETS)}.")
        if not self.sizes or min(self.sizes) < 1 or self.splits < 1:
            raise ConfigError("Sizes and splits are whole numbers, at least 1.")

    @property
    def changes(self) -> dict[str, Any]:
        """Settings of SAM methods in place of the defaults, the preset's among them."""
        own = {path: value for path, value in self.settings.items() if not path.startswith(nnunet.PREFIX)}
        return {**(PRESETS[self.preset][1] if self.preset else {}), **own}

    @property
    def weights(self) -> str:
        """The backbone, as `checkpoint.choose` takes it."""
        return self.backbone or (PRESETS[self.preset][0] if self.preset else "auto")


def compare(
    data: Sequence[Path | str],
    asked: Comparison,
    *,
    out: Path | str = "comparison",
    at_once: int | None = None,
    address: str | None = None,
    allow_blank: bool = False,
    track: bool = True,
    show: Show | None = None,
) -> list[Result]:
    """Train every method on every split and size of every dataset. Killed at any moment and called again, it goes on.

    Args:
        data: folders of annotated images.
        asked: what to compare.
        out: where evidence goes.
        at_once: trainings side by side; by default as many as there is room for.
        address: of a running Ray cluster whose machines all see `out` and the data; by default this machine.
        allow_blank: accept masks without foreground, or without background.
        track: log to MLflow.
        show: where progress goes; by default nowhere.

    Raises:
        PtsamError: see errors; raised before any training wherever possible.
    """
    show, out = show or Show.nothing(), Path(out)
    with claimed(out, ABOUT, "comparison"):
        found = read_data([Path(folder) for folder in data], allow_blank, show)
        with show.bar("Backbone") as update:
            backbone = checkpoint.choose(asked.weights, say=show.say, progress=update)
        bouts = bouts_of(found, asked, backbone.family)
        about = _about(out, asked, found, backbone) | {"alarms": alarms_of(found, asked, backbone.family)}
        for alarm in about["alarms"]:
            show.say(alarm)
        task = Task((), backbone.name, backbone.sha256, (1.0,), out.resolve(), 0, asked.threads, _device(asked))
        try:
            _run(out, asked, bouts, task, at_once, address, show)
        except KeyboardInterrupt:  # what has come of it so far can be looked at
            _write(out, found, bouts, about, show)
            raise
        results = _write(out, found, bouts, about, show)
        if track:
            _log(out, about, results, show)
    return results


def bouts_of(data: Sequence[SearchData], asked: Comparison, family: str) -> list[Bout]:
    """Every training, datasets and splits outermost, so that what can share features comes together.

    Raises:
        ConfigError: settings that a method does not have, or that exclude each other.
    """
    entries, problems = chosen(asked.methods), []
    values: dict[str, dict[str, Any]] = {UNTUNED: values_of(ENTRIES["ptsam"], family, asked.changes)}
    for entry in entries:
        try:
            if entry.method == nnunet.NAME:
                shared = {nnunet.PREFIX + name: values[UNTUNED][f"recipe.{name}"] for name in BUDGET}
                own = {path: value for path, value in asked.settings.items() if path.startswith(nnunet.PREFIX)}
                values[entry.name] = asdict(nnunet.config_of({**shared, **own}))
            else:
                values[entry.name] = values_of(entry, family, asked.changes)
                Settings.from_paths(values[entry.name])
        except ConfigError as error:
            problems.append(Problem(entry.name, str(error)))
    if problems:
        raise ConfigError(listed("The comparison", problems, "Change what is set, then run the command again."))
    bouts = []
    for one in data:
        for split in range(asked.splits):
            train, held_out = hold_out(one.pairs, seed=split)
            sizes = sorted({min(size, len(train)) for size in asked.sizes})
            cells = {size: Cell(f"{one.name}/{split}", split, train[:size], held_out) for size in (0, *sizes)}
            draw = split == 0
            bouts.append(Bout(one.name, cells[0], 0, None, values[UNTUNED], draw))
            for size in sizes:
                last = draw and size == sizes[-1]
                bouts += [Bout(one.name, cells[size], size, entry, values[entry.name], last) for entry in entries]
    return bouts


def alarms_of(data: Sequence[SearchData], asked: Comparison, family: str) -> list[str]:
    """What a reader must know: which datasets chose the defaults of methods that are now compared on them."""
    sams, alarms = [entry for entry in chosen(asked.methods) if entry.method != nnunet.NAME], []
    for one in data:
        digests = [pair.digest for pair in one.pairs]
        kind = [entry.title for entry in sams if defaults.met(family, entry.adapt, entry.method, digests)]
        if kind:
            alarms.append(f"Images of {one.name} chose defaults of {', '.join(kind)}: their scores there flatter them.")
    return alarms


def _device(asked: Comparison) -> str:
    return "cuda" if asked.gpu else "cpu"


def _about(out: Path, asked: Comparison, data: Sequence[SearchData], backbone: checkpoint.Backbone) -> dict[str, Any]:
    """What comparison.json says."""
    wanted = {key: value for key, value in asdict(asked).items() if key not in ("cpu", "gpu", "threads", "backbone")}
    wanted |= {"backbone": backbone.sha256, "data": {one.name: one.fingerprint for one in data}}
    return begun(
        out / ABOUT,
        "comparison",
        wanted,
        PACKAGES,
        backbone={"name": backbone.name, "sha256": backbone.sha256},
        data=[{"name": one.name, "fingerprint": one.fingerprint, "images": len(one.pairs)} for one in data],
    )


def _run(
    out: Path,
    asked: Comparison,
    bouts: Sequence[Bout],
    task: Task,
    at_once: int | None,
    address: str | None,
    show: Show,
) -> None:
    from ptsam_auto.compare.run import run_bouts

    over = {event["bout"] for event in journal.read(out / JOURNAL)[0] if event["event"] == "ended"}
    left = [bout for bout in bouts if bout.name not in over]
    if over:
        show.say(f"Continuing: {len(bouts) - len(left)} of {len(bouts)} trainings are done.")
    done = len(bouts) - len(left)

    def progress() -> None:
        nonlocal done
        update(done := done + 1, len(bouts))

    with Journal(out / JOURNAL) as events, show.bar("Comparing") as update:
        update(done, len(bouts))
        wants = {"CPU": asked.cpu, "GPU": asked.gpu}
        run_bouts(left, task, wants, events, address=address, at_once=at_once, progress=progress)
    shutil.rmtree(task.bank, ignore_errors=True)
    shutil.rmtree(out / "bouts", ignore_errors=True)


def _write(
    out: Path, data: Sequence[SearchData], bouts: Sequence[Bout], about: dict[str, Any], show: Show
) -> list[Result]:
    from ptsam_auto.compare.figures import write_figures, write_panel

    events = journal.read(out / JOURNAL)[0]
    results, failures = results_of(events), failures_of(events)
    if results:
        (out / TABLE).write_text(report(results, failures, len(bouts), about), encoding="utf-8")
        write_parquet(results, out / FLAT)
        write_figures(out / FIGURES, results)
        for one in data:
            held_out = next(bout.cell.held_out for bout in bouts if bout.dataset == one.name)
            panel = out / FIGURES / f"panel-{one.name}.png"
            write_panel(panel, out / MASKS / one.name, entries_in(results), held_out)
        show.out.print(table_2(results), markup=False, soft_wrap=True)
    for name, why in failures.items():
        show.say(f"{name} failed: {why}")
    left = len(bouts) - len(results) - len(failures)
    show.say(
        f"{len(results)} trainings ended, {len(failures)} failed{f', {left} to come' if left else ''}. "
        f"Evidence: {out / TABLE} and {out / FIGURES}/."
    )
    return results


def report(results: Sequence[Result], failures: Mapping[str, str], bouts: int, about: dict[str, Any]) -> str:
    """comparison.md; bouts is how many trainings there are to be, about comparison.json with `alarms_of` it."""
    asked, left = about["asked"], bouts - len(results) - len(failures)
    words = [f"{asked['splits']} splits", f"backbone {about['backbone']['name']}"]
    words += [f"preset {asked['preset']}"] if asked["preset"] else []
    words += [f"{path} = {value}" for path, value in asked["settings"].items()]
    parts = [
        f"# {', '.join(one['name'] for one in about['data'])}",
        f"{', '.join(words)}. ptsam-auto {about['versions']['ptsam-auto']}, commit {about['commit'] or 'unknown'}.",
        *([f"**{left} of {bouts} trainings are still to come.**"] if left else []),
        *(f"**{alarm}**" for alarm in about["alarms"]),
        "## Dice in percent",
        table_2(results),
        "Mean and standard deviation over splits. Bold: the best. Star: not significantly worse than the best "
        "(Wilcoxon's signed-rank test over the images of all splits, p >= 0.05).",
        "## What it costs",
        costs(results),
        "Medians over trainings. Training leaves out encoding where a feature bank is shared. "
        "Memory is the GPU's, or without one that of the whole process.",
    ]
    if failures:
        parts += ["## Failed", "\n".join(f"- {name}: {why.splitlines()[0]}" for name, why in failures.items())]
    return "\n\n".join(parts) + "\n"


def _log(out: Path, about: dict[str, Any], results: Sequence[Result], show: Show) -> None:
    from ptsam_auto.tracking.log_compare import log_comparison

    rows = [
        {
            "name": f"{result.dataset}/{result.split}/{result.size}/{result.entry}",
            "parameters": {"method": title_of(result.entry), "dataset": result.dataset, "split": result.split}
            | {"train_images": result.train},
            "metrics": {"dice": result.mean, "seconds": result.seconds, "peak_bytes": result.peak_bytes}
            | {"trainable": result.trainable, "bytes": result.bytes},
        }
        for result in results
    ]
    files = [path for path in (out / TABLE, out / FLAT, *sorted((out / FIGURES).glob("*"))) if path.exists()]
    try:
        where = log_comparison(about, rows, files)
    except Exception as error:  # MLflow and its stores have no common type
        show.say(f"MLflow did not take it ({type(error).__name__}); the same command tries again.")
        return
    look = where if where.startswith("http") else f"mlflow ui --backend-store-uri {where} --host 127.0.0.1"
    show.say(f"MLflow has the comparison: {look}")

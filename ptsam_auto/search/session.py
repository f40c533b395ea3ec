"""The story of `search` and `ablate`, top to bottom: a space and some datasets become a folder full of evidence.

search.json       what was asked, on which data, with which versions
journal.jsonl     what happened, an event a line: the one truth, see `records`
table.parquet     a row a trial, made from the journal
figures/          the same as pictures
bank/, trials/    features and resume files; they go when the search is done
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ptsam_auto.errors import ConfigError, Problem, SearchError, listed
from ptsam_auto.sam import checkpoint
from ptsam_auto.search.cells import SearchData, cells_of, read_data
from ptsam_auto.search.folder import begun, claimed
from ptsam_auto.search.records import ABOUT, JOURNAL, Search, Trial, finished, read_search, trials_of
from ptsam_auto.search.space import Configuration, Space, described, read_space, settings_of
from ptsam_auto.search.trial import Task
from ptsam_auto.show import Show
from ptsam_auto.tracking import journal
from ptsam_auto.tracking.journal import Journal
from ptsam_auto.training import defaults
from ptsam_auto.training.team import Team

TABLE, FIGURES = "table.parquet", "figures"
PACKAGES = ("ptsam-auto", "torch", "segment-anything", "ray", "optuna")


def search(
    space: str | Space,
    data: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    exhaustive: bool = False,
    trials: int | None = None,
    backbone: str | None = None,
    first: Sequence[Configuration] = (),
    seed: int = 0,
    at_once: int | None = None,
    address: str | None = None,
    allow_blank: bool = False,
    track: bool = True,
    show: Show | None = None,
) -> Search:
    """Try what a space allows on some datasets. Killed at any moment and called again, it goes on.

    Args:
        space: a YAML file, the name of one that comes with the package, or a Space.
        data: folders of annotated images; a final figure should never be quoted on one of them.
        out: where the search goes; by default NAME-search (NAME-ablation) in the working directory.
        exhaustive: every combination instead of proposals, each trained to its end.
        trials: in place of the space's; more of them carry a finished search on.
        backbone: in place of the space's.
        first: configurations to try before the space's own.
        seed: of the proposals; the trainings' seeds are the splits' numbers.
        at_once: trials side by side; by default as many as there is room for.
        address: of a running Ray cluster whose machines all see `out`; by default this machine.
        allow_blank: accept masks without foreground, or without background.
        track: log to MLflow.
        show: where progress goes; by default nowhere.

    Raises:
        PtsamError: see errors; raised before any trial wherever possible.
    """
    show = show or Show.nothing()
    space = read_space(space) if isinstance(space, str) else space
    if exhaustive:
        space = space.exhaustive()
    space = replace(
        space, trials=trials or space.trials, backbone=backbone or space.backbone, first=(*first, *space.first)
    )
    out = Path(out if out is not None else f"{space.name}-{'ablation' if exhaustive else 'search'}")
    with claimed(out, ABOUT, "search"):
        found = read_data([Path(folder) for folder in data], allow_blank, show)
        with show.bar("Backbone") as update:
            chosen = checkpoint.choose(space.backbone, say=show.say, progress=update)
        about = _about(out, space, exhaustive, found, chosen, seed)
        _check(about["base"], space)
        task = Task(
            cells=cells_of(found, space.splits, space.train_images),
            backbone=chosen.name,
            sha256=chosen.sha256,
            shares=space.rungs,
            folder=out.resolve(),
            most_views=space.most_views or settings_of(about["base"], space, {}).recipe.views,
            threads=space.resources.threads,
            device="cuda" if space.resources.gpu else "cpu",
        )
        _run(out, space, about, task, seed, address, at_once, track, show)
    return read_search(out)


def _about(
    out: Path, space: Space, exhaustive: bool, data: Sequence[SearchData], backbone: checkpoint.Backbone, seed: int
) -> dict[str, Any]:
    """What search.json says."""
    asked = {
        "space": space.name,
        "exhaustive": exhaustive,
        **{
            key: value
            for key, value in asdict(space).items()
            if key not in ("name", "text", "trials", "resources", "backbone")
        },
        "backbone": backbone.sha256,
        "data": {one.name: one.fingerprint for one in data},
        "seed": seed,
    }
    return begun(
        out / ABOUT,
        "search",
        asked,
        PACKAGES,
        text=space.text,
        family=backbone.family,
        backbone={"name": backbone.name, "sha256": backbone.sha256},
        base={default.path: default.value for default in defaults.block(backbone.family, space.adapt, space.method)},
        data=[
            {"name": one.name, "fingerprint": one.fingerprint, "images": sorted(pair.digest for pair in one.pairs)}
            for one in data
        ],
    )


def _check(base: Mapping[str, Any], space: Space) -> None:
    """Settings may exclude each other; only now the backbone's own defaults are known."""
    problems = []
    for path, values in space.search.items():
        for value in values.ends():
            try:
                Team(0, space.resources.workers).check(settings_of(base, space, {path: value}).recipe.batch_size)
            except ConfigError as error:
                problems.append(Problem(f"search.{path}", str(error)))
    if problems:
        raise ConfigError(listed(space.name, problems, "Mend these lines, then run the command again."))


def _run(
    out: Path,
    space: Space,
    about: dict[str, Any],
    task: Task,
    seed: int,
    address: str | None,
    at_once: int | None,
    track: bool,
    show: Show,
) -> None:
    from ptsam_auto.search.tuner import run_trials
    from ptsam_auto.tracking.log_search import SearchLog

    log = SearchLog(out, about) if track else None
    earlier = sum(trial.state != "running" for trial in trials_of(journal.read(out / JOURNAL)[0]))
    if earlier:
        show.say(f"Continuing: {earlier} of {space.trials} trials are done.")
    try:
        with Journal(out / JOURNAL) as events, show.bar("Searching") as update:
            run_trials(
                space,
                about["base"],
                task,
                seed,
                events,
                address=address,
                at_once=at_once,
                progress=lambda trials: update(
                    sum(trial.state != "running" for trial in trials), space.trials, _best_so_far(trials)
                ),
            )
    finally:
        found = read_search(out)
        if any(trial.rungs for trial in found.trials):
            _write_evidence(found)
        if log:
            files = [path for path in (out / TABLE, *sorted((out / FIGURES).glob("*.svg"))) if path.exists()]
            done = sum(trial.state != "running" for trial in found.trials) >= space.trials
            logged = log.finish(files, done)
    shutil.rmtree(task.bank, ignore_errors=True)
    shutil.rmtree(out / "trials", ignore_errors=True)
    _tell(out, found, show)
    if log:
        if logged:
            remote = logged.startswith("http")
            look = logged if remote else f"mlflow ui --backend-store-uri {logged} --host 127.0.0.1"
            show.say(f"MLflow has the search: {look}")
        else:
            show.say(f"MLflow did not take all of it ({log.problem}); the same command sends what is missing.")


def _write_evidence(found: Search) -> None:
    from ptsam_auto.search.figures import write_figures
    from ptsam_auto.search.table import write_table

    write_table(found.folder / TABLE, found.trials)
    write_figures(found.folder / FIGURES, found.trials, found.about)


def _best_so_far(trials: Sequence[Trial]) -> str:
    best = finished(trials)
    return f"best Dice {100 * best[0].dice:.1f}" if best else ""


def _tell(out: Path, found: Search, show: Show) -> None:
    best = finished(found.trials)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    if not best:
        why = f" The first said: {failed[0].error}" if failed else ""
        raise SearchError(f"No trial of {out} was trained to its end.{why}")
    for trial in failed:
        show.say(f"Trial {trial.number} failed: {trial.error}")
    stopped = sum(trial.state == "stopped" for trial in found.trials)
    show.say(f"{len(best)} trials trained to their end, {stopped} stopped early, {len(failed)} failed.")
    dice, error = 100 * best[0].dice, 100 * best[0].standard_error
    show.say(f"Best: Dice {dice:.1f} +- {error:.1f} with {', '.join(described(best[0].configuration))}.")
    show.say(f"Evidence: {out / TABLE} and {out / FIGURES}/. Now: ptsam-auto freeze {out}")

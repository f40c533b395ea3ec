"""The commands `search` and `ablate`: try the configurations of a search space on datasets and write the results.

search.json       the request, the datasets and the versions of the packages; see `search.record`
journal.jsonl     the events of the search, one per line; the table and the figures are derived from it
table.parquet     one row per trial
figures/          the results as figures
bank/, trials/    features and checkpoints; they are deleted when the search is finished
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptsam_auto.commands.options import SearchOptions
from ptsam_auto.errors import ConfigError, Problem, SearchError, listed
from ptsam_auto.experiment.backbone import choose_backbone
from ptsam_auto.experiment.folds import DatasetRecord, NamedDataset, folds_of, read_datasets
from ptsam_auto.experiment.journal import Journal
from ptsam_auto.experiment.work_folder import Origin, existing_or_new_record, locked_folder
from ptsam_auto.experiment.workspace import Workspace
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.search.record import (
    JOURNAL_FILE,
    RECORD_FILE,
    Search,
    SearchRecord,
    SearchRequest,
    Trial,
    finished,
    read_record,
    read_search,
)
from ptsam_auto.search.space import Space, described, settings_of
from ptsam_auto.search.space_file import read_space
from ptsam_auto.search.trial import Task
from ptsam_auto.specialist.record import BackboneRecord
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.store import how_to_browse, is_wanted
from ptsam_auto.training import defaults
from ptsam_auto.training.worker_group import WorkerGroup

TABLE_FILE, FIGURES_FOLDER = "table.parquet", "figures"
PACKAGES = ("ptsam-auto", "torch", "segment-anything", "ray", "optuna")


def search(options: SearchOptions, terminal: Terminal, space: Space | None = None) -> Search:
    """Try the configurations of a search space on datasets. If it was interrupted, the next call continues.

    Args:
        options: Options of the command.
        terminal: Terminal that shows the progress.
        space: Search space that is used instead of the one that the options name.

    Raises:
        PtsamError: See `ptsam_auto.errors`. Most errors are raised before any trial.
    """
    space = space or read_space(options.space)
    if options.exhaustive:
        space = space.exhaustive()
    space = replace(
        space,
        trials=options.trials or space.trials,
        backbone=options.backbone or space.backbone,
        first=(*options.first, *space.first),
    )
    kind = "ablation" if options.exhaustive else "search"
    out = options.out if options.out is not None else Path(f"{space.name}-{kind}")
    with locked_folder(out, RECORD_FILE, "search"):
        datasets = read_datasets(options.data, options.reading(), terminal)
        backbone = choose_backbone(space.backbone, terminal)
        record = _record(out, space, options, datasets, backbone)
        _check(record.base, space)
        task = Task(
            workspace=Workspace(
                backbone, out.resolve(), space.resources.threads, "cuda" if space.resources.gpu else "cpu"
            ),
            folds=folds_of(datasets, space.splits, space.train_images),
            shares=space.rungs,
            most_views=space.most_views or settings_of(record.base, space, {}).recipe.views,
        )
        _run(out, space, record, task, options, terminal)
    return read_search(out)


def _record(
    out: Path,
    space: Space,
    options: SearchOptions,
    datasets: Sequence[NamedDataset],
    backbone: Backbone,
) -> SearchRecord:
    """Return the record in search.json. The first call writes it; later calls check that the request is the same."""
    request = SearchRequest(
        space=space.name,
        exhaustive=options.exhaustive,
        search=dict(space.search),
        method=space.method,
        adapt=space.adapt,
        fixed=dict(space.fixed),
        first=tuple(space.first),
        splits=space.splits,
        train_images=space.train_images,
        stop_early=space.stop_early,
        backbone=backbone.sha256,
        data={dataset.name: dataset.fingerprint for dataset in datasets},
        seed=options.seed,
    )

    def new() -> SearchRecord:
        return SearchRecord(
            origin=Origin.now(PACKAGES),
            request=request,
            text=space.text,
            family=backbone.family,
            backbone=BackboneRecord.of(backbone),
            base=defaults.values(backbone.family, space.adapt, space.method),
            data=tuple(DatasetRecord.of(dataset) for dataset in datasets),
        )

    return existing_or_new_record(out / RECORD_FILE, "search", request, read_record, new)


def _check(base: Mapping[str, Any], space: Space) -> None:
    """Check that the searched values are valid together with the defaults of the chosen backbone."""
    problems = []
    for path, values in space.search.items():
        for value in values.ends():
            try:
                WorkerGroup(0, space.resources.workers).check(settings_of(base, space, {path: value}).recipe.batch_size)
            except ConfigError as error:
                problems.append(Problem(f"search.{path}", str(error)))
    if problems:
        raise ConfigError(listed(space.name, problems, "Correct these lines, then run the command again."))


def _run(out: Path, space: Space, record: SearchRecord, task: Task, options: SearchOptions, terminal: Terminal) -> None:
    from ptsam_auto.search.tuner import run_trials
    from ptsam_auto.tracking.log_search import SearchLog

    earlier_trials = read_search(out).trials
    ended = sum(trial.state != "running" for trial in earlier_trials)
    if ended:
        terminal.say(f"Continuing: {ended} of {space.trials} trials have ended.")
    log = SearchLog(out, record) if is_wanted(options.track) else None
    if log:
        log.start()
    try:
        with Journal(out / JOURNAL_FILE) as journal, terminal.bar("Searching") as update:

            def progress(trials: Sequence[Trial]) -> None:
                update(sum(trial.state != "running" for trial in trials), space.trials, _best_so_far(trials))

            run_trials(
                space,
                record.base,
                task,
                options.seed,
                earlier_trials,
                journal,
                address=options.address,
                at_once=options.at_once,
                progress=progress,
            )
    finally:
        result = read_search(out)
        if any(trial.rungs for trial in result.trials):
            _write_results(result)
        if log:
            files = [
                path for path in (out / TABLE_FILE, *sorted((out / FIGURES_FOLDER).glob("*.svg"))) if path.exists()
            ]
            done = sum(trial.state != "running" for trial in result.trials) >= space.trials
            logged = log.finish(files, done)
    shutil.rmtree(task.workspace.bank, ignore_errors=True)
    shutil.rmtree(out / "trials", ignore_errors=True)
    _summarise(out, result, terminal)
    if log:
        if logged:
            terminal.say(f"The search was logged to MLflow. View it with: {how_to_browse(logged)}")
        else:
            terminal.say(
                f"The logging to MLflow is incomplete ({log.problem}). Run the same command again to send the rest."
            )


def _write_results(result: Search) -> None:
    from ptsam_auto.search.trial_figures import write_figures
    from ptsam_auto.search.trial_table import write_table

    write_table(result.folder / TABLE_FILE, result.trials)
    write_figures(result.folder / FIGURES_FOLDER, result.trials, result.record.request)


def _best_so_far(trials: Sequence[Trial]) -> str:
    best = finished(trials)
    return f"best Dice {100 * best[0].dice:.1f}" if best else ""


def _summarise(out: Path, result: Search, terminal: Terminal) -> None:
    best = finished(result.trials)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    if not best:
        reason = f" The error of the first failed trial: {failed[0].error}" if failed else ""
        raise SearchError(f"No trial of {out} finished.{reason}")
    for trial in failed:
        terminal.say(f"Trial {trial.number} failed: {trial.error}")
    stopped = sum(trial.state == "stopped" for trial in result.trials)
    terminal.say(f"{len(best)} trials finished, {stopped} were stopped early, {len(failed)} failed.")
    dice, error = 100 * best[0].dice, 100 * best[0].standard_error
    terminal.say(f"Best: Dice {dice:.1f} +- {error:.1f} with {', '.join(described(best[0].configuration))}.")
    terminal.say(f"Results: {out / TABLE_FILE} and {out / FIGURES_FOLDER}/. Next step: ptsam-auto freeze {out}")

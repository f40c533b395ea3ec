"""The commands `search` and `ablate`: try the configurations of a search space on datasets and write the results.

search.json       the request, the datasets and the versions of the packages; see `search.record`
journal.jsonl     the events of the search, one per line; the table and the figures are derived from it
table.parquet     one row per trial
figures/          the results as figures
bank/, trials/    features and checkpoints; they are deleted when the search is finished
"""

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ptsam_auto.commands.options import SearchOptions
from ptsam_auto.errors import ConfigError, Problem, SearchError, listed
from ptsam_auto.experiment.backbone import choose_backbone
from ptsam_auto.experiment.folds import DatasetRecord, NamedDataset, folds_of, read_datasets
from ptsam_auto.experiment.journal import Journal
from ptsam_auto.experiment.work_folder import Origin, existing_or_new_record, locked_folder
from ptsam_auto.experiment.workspace import Workspace
from ptsam_auto.methods.sam_methods import check_classes
from ptsam_auto.metrics.classes import number_of
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.search.record import (
    JOURNAL_FILE,
    RECORD_FILE,
    Search,
    SearchedBackbone,
    SearchRecord,
    SearchRequest,
    Trial,
    finished,
    read_record,
    read_search,
)
from ptsam_auto.search.space import ADAPT, Space, described, settings_of
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
    if options.backbone:
        space = space.on(options.backbone)
    space = replace(space, trials=options.trials or space.trials, first=(*options.first, *space.first))
    kind = "ablation" if options.exhaustive else "search"
    out = options.out if options.out is not None else Path(f"{space.name}-{kind}")
    with locked_folder(out, RECORD_FILE, "search"):
        datasets = read_datasets(options.data, options.reading(), terminal)
        check_classes(space.method, max(number_of(dataset.classes) for dataset in datasets))
        backbones = _backbones(space, terminal)
        record = _record(out, space, options, datasets, backbones)
        _check(record, space)
        folds = folds_of(datasets, space.splits, space.train_images)
        device = "cuda" if space.resources.gpu else "cpu"
        tasks = {
            name: Task(Workspace(backbone, out.resolve(), space.resources.threads, device), folds, space.rungs)
            for name, backbone in backbones.items()
        }
        _run(out, space, record, tasks, options, terminal)
    return read_search(out)


def _backbones(space: Space, terminal: Terminal) -> dict[str, Backbone]:
    """Load the backbones of a space, by their names in the space.

    Raises:
        BackboneError: A backbone is not available.
        ConfigError: Two names are the same backbone.
    """
    backbones: dict[str, Backbone] = {}
    for name in space.backbone:
        loaded = choose_backbone(name, terminal)
        for other, earlier in backbones.items():
            if earlier.sha256 == loaded.sha256:
                raise ConfigError(f"{space.name}: the backbones {other} and {name} are the same. Remove one of them.")
        backbones[name] = loaded
    return backbones


def _record(
    out: Path,
    space: Space,
    options: SearchOptions,
    datasets: Sequence[NamedDataset],
    backbones: Mapping[str, Backbone],
) -> SearchRecord:
    """Return the record in search.json. The first call writes it; later calls check that the request is the same."""
    request = SearchRequest(
        space=space.name,
        exhaustive=options.exhaustive,
        search=space.axes,
        method=space.method,
        adapt=tuple(space.adapt),
        fixed=dict(space.fixed),
        first=tuple(space.first),
        splits=space.splits,
        train_images=space.train_images,
        stop_early=space.stop_early,
        backbone=tuple(backbone.sha256 for backbone in backbones.values()),
        data={dataset.name: dataset.fingerprint for dataset in datasets},
        seed=options.seed,
    )

    def new() -> SearchRecord:
        return SearchRecord(
            origin=Origin.now(PACKAGES),
            request=request,
            text=space.text,
            backbones=tuple(
                SearchedBackbone(
                    name=name,
                    family=backbone.family,
                    weights=BackboneRecord.of(backbone),
                    base={adapt: defaults.values(backbone.family, adapt, space.method) for adapt in space.adapt},
                )
                for name, backbone in backbones.items()
            ),
            data=tuple(DatasetRecord.of(dataset) for dataset in datasets),
        )

    return existing_or_new_record(out / RECORD_FILE, "search", request, read_record, new)


def _check(record: SearchRecord, space: Space) -> None:
    """Check that the searched values are valid together with the defaults of each backbone."""
    problems: list[Problem] = []
    for backbone, adapt in itertools.product(record.backbones, space.adapt):
        for path, values in space.search.items():
            for value in values.ends():
                try:
                    settings = settings_of(backbone.base[adapt], space, {ADAPT: adapt, path: value})
                    WorkerGroup(0, space.resources.workers).check(settings.recipe.batch_size)
                except ConfigError as error:
                    problem = Problem(f"search.{path}", str(error))
                    problems += [problem] if problem not in problems else []
    if problems:
        raise ConfigError(listed(space.name, problems, "Correct these lines, then run the command again."))


def _run(
    out: Path,
    space: Space,
    record: SearchRecord,
    tasks: Mapping[str, Task],
    options: SearchOptions,
    terminal: Terminal,
) -> None:
    from ptsam_auto.search.trial_table import progress_table
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
                ended = sum(trial.state != "running" for trial in trials)
                update(ended, space.trials, _best_so_far(trials), progress_table(trials))

            run_trials(
                space,
                {name: backbone.base for name, backbone in zip(space.backbone, record.backbones, strict=True)},
                tasks,
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
    shutil.rmtree(tasks[space.backbone[0]].workspace.bank, ignore_errors=True)  # It is the same for all.
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

    write_table(result.folder / TABLE_FILE, result)
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
    uncertainty = f" +- {error:.1f}" if error >= 0 else ""  # It is unknown with a single split.
    terminal.say(f"Best: Dice {dice:.1f}{uncertainty} with {', '.join(described(best[0].configuration))}.")
    several = len(result.record.backbones) * len(result.record.request.adapt) > 1
    freeze = f"ptsam-auto freeze {out}{' --portfolio 4' * several}"
    terminal.say(f"Results: {out / TABLE_FILE} and {out / FIGURES_FOLDER}/. Next step: {freeze}")

"""The command `compare`: the comparison of the paper (Sec. 4) on any datasets. It writes a folder of results.

comparison.json    the request, the datasets and the versions of the packages; see `compare.record`
journal.jsonl      the result of each training, one event per line; all other files are derived from it
comparison.md      Table 2, the costs and the failures
results.parquet    one row per evaluated image
figures/           Fig. 1, 3, 4 and 6
bank/, trainings/, masks/   features, checkpoints and masks; the first two are deleted at the end
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptsam_auto.commands.options import CompareOptions
from ptsam_auto.compare.entries import UNTUNED, Conditions, Entry, entries_by_name
from ptsam_auto.compare.presets import PRESETS
from ptsam_auto.compare.record import (
    JOURNAL_FILE,
    RECORD_FILE,
    ComparisonRecord,
    ComparisonRequest,
    Event,
    Finished,
    read_record,
)
from ptsam_auto.compare.results import (
    Result,
    costs,
    entries_in,
    failures_of,
    progress_table,
    results_of,
    table_2,
    title_of,
    write_parquet,
)
from ptsam_auto.compare.training import MASKS, TRAININGS, Training
from ptsam_auto.data.split import hold_out
from ptsam_auto.errors import ConfigError, DatasetError, Problem, listed
from ptsam_auto.experiment import journal
from ptsam_auto.experiment.backbone import choose_backbone
from ptsam_auto.experiment.folds import DatasetRecord, Fold, NamedDataset, read_datasets
from ptsam_auto.experiment.journal import Journal
from ptsam_auto.experiment.work_folder import Origin, existing_or_new_record, locked_folder
from ptsam_auto.experiment.workspace import Workspace
from ptsam_auto.files import write_text
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.specialist.record import BackboneRecord
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.store import HELD_OUT, described, how_to_browse, is_wanted
from ptsam_auto.training import defaults
from ptsam_auto.training.trainer import Trainer

TABLE_FILE, PARQUET_FILE, FIGURES_FOLDER = "comparison.md", "results.parquet", "figures"
PACKAGES = ("ptsam-auto", "torch", "segment-anything", "ray")


def compare(options: CompareOptions, terminal: Terminal) -> list[Result]:
    """Train every method on every split and size of every dataset. If it was interrupted, the next call continues.

    Raises:
        PtsamError: See `ptsam_auto.errors`. Most errors are raised before any training.
    """
    out, preset = options.out, PRESETS.get(options.preset)
    entries = entries_by_name(options.methods)
    with locked_folder(out, RECORD_FILE, "comparison"):
        datasets = read_datasets(options.datasets, options.reading(), terminal)
        _check_one_class(datasets)
        backbone = choose_backbone(options.backbone or (preset[0] if preset else "auto"), terminal)
        workspace = Workspace(backbone, out.resolve(), options.threads, "cuda" if options.gpu else "cpu")
        settings = {**(preset[1] if preset else {}), **options.settings}
        trainings = trainings_of(datasets, options, Conditions(backbone, settings, workspace.bank))
        record = _record(out, options, datasets, backbone)
        warnings = warnings_of(datasets, entries, backbone.family)
        for warning in warnings:
            terminal.say(warning)
        try:
            _run(out, options, trainings, workspace, terminal)
        except KeyboardInterrupt:  # Write the results that exist so far.
            _write(out, datasets, trainings, record, warnings, terminal)
            raise
        results = _write(out, datasets, trainings, record, warnings, terminal)
        if is_wanted(options.track):
            _log(out, record, results, terminal)
    return results


def _check_one_class(datasets: Sequence[NamedDataset]) -> None:
    """Raise DatasetError if a dataset has several classes: most of the methods that are compared find one."""
    problems = [
        Problem(dataset.name, f"several classes ({', '.join(dataset.classes)}); expected one, as most methods find")
        for dataset in datasets
        if dataset.classes
    ]
    if problems:
        raise DatasetError(None, problems, "Choose one of them with --class NAME, or leave out --classes.")


def trainings_of(datasets: Sequence[NamedDataset], options: CompareOptions, conditions: Conditions) -> list[Training]:
    """Return all trainings, ordered by dataset and split, so that trainings with the same features follow each other.

    If a dataset has fewer images than a size, all its training images are used. Smaller training sets are subsets of
    larger ones, and the 20 % that are held out are fixed for a split (Sec. 4.1.2).

    Raises:
        ConfigError: A method does not have a setting, or settings exclude each other.
    """
    trainers = _trainers([*entries_by_name(options.methods), UNTUNED], conditions)
    trainings = []
    for dataset in datasets:
        for split in range(options.splits):
            train, held_out = hold_out(dataset.pairs, seed=split)
            sizes = sorted({min(size, len(train)) for size in options.sizes})
            folds = {size: Fold(f"{dataset.name}/{split}", split, train[:size], held_out) for size in sizes}
            save_masks = split == 0
            largest = folds[sizes[-1]]
            trainings.append(Training(dataset.name, largest, 0, UNTUNED.name, trainers[UNTUNED.name], save_masks))
            for size in sizes:
                trainings += [
                    Training(dataset.name, folds[size], size, name, trainer, save_masks and size == sizes[-1])
                    for name, trainer in trainers.items()
                    if name != UNTUNED.name
                ]
    return trainings


def _trainers(entries: Sequence[Entry], conditions: Conditions) -> dict[str, Trainer]:
    trainers, problems = {}, []
    for entry in entries:
        try:
            trainers[entry.name] = entry.trainer(conditions)
        except ConfigError as error:
            if entry is not UNTUNED:  # Its settings are already checked with the other methods.
                problems.append(Problem(entry.name, str(error)))
    if problems:
        raise ConfigError(listed("The comparison", problems, "Change these settings, then run the command again."))
    return trainers


def warnings_of(datasets: Sequence[NamedDataset], entries: Sequence[Entry], family: str) -> list[str]:
    """Return warnings for datasets on which the defaults of a compared method were selected."""
    warnings = []
    for dataset in datasets:
        digests = [pair.digest for pair in dataset.pairs]
        biased_methods = [
            entry.title
            for entry in entries
            if entry.method and defaults.searched_on(family, entry.adapt, entry.method, digests)
        ]
        if biased_methods:
            warnings.append(
                f"The defaults of {', '.join(biased_methods)} were selected on images of {dataset.name}. "
                "Their scores on this dataset are too optimistic."
            )
    return warnings


def _record(
    out: Path, options: CompareOptions, datasets: Sequence[NamedDataset], backbone: Backbone
) -> ComparisonRecord:
    """Return the record in comparison.json. The first call writes it; later calls check that the request is equal."""
    request = ComparisonRequest(
        methods=tuple(options.methods),
        sizes=tuple(options.sizes),
        splits=options.splits,
        preset=options.preset,
        settings=dict(options.settings),
        backbone=backbone.sha256,
        data={dataset.name: dataset.fingerprint for dataset in datasets},
    )

    def new() -> ComparisonRecord:
        return ComparisonRecord(
            origin=Origin.now(PACKAGES),
            request=request,
            backbone=BackboneRecord.of(backbone),
            data=tuple(DatasetRecord.of(dataset) for dataset in datasets),
        )

    return existing_or_new_record(out / RECORD_FILE, "comparison", request, read_record, new)


def _run(
    out: Path, options: CompareOptions, trainings: Sequence[Training], workspace: Workspace, terminal: Terminal
) -> None:
    from ptsam_auto.compare.runner import run_trainings

    so_far = _events(out)
    finished_names = {event.training.name for event in so_far if isinstance(event, Finished)}
    remaining = [training for training in trainings if training.name not in finished_names]
    done = len(trainings) - len(remaining)
    if finished_names:
        terminal.say(f"Continuing: {done} of {len(trainings)} trainings are finished.")
    with Journal(out / JOURNAL_FILE) as events, terminal.bar("Comparing") as update:

        def show() -> None:
            update(done, len(trainings), table=progress_table(results_of(so_far)))

        def progress(event: Event) -> None:
            nonlocal done
            done += 1
            so_far.append(event)
            show()

        show()
        needs = {"CPU": options.cpu, "GPU": options.gpu}
        run_trainings(
            remaining, workspace, needs, events, address=options.address, at_once=options.at_once, progress=progress
        )
    shutil.rmtree(workspace.bank, ignore_errors=True)
    shutil.rmtree(out / TRAININGS, ignore_errors=True)


def _events(out: Path) -> list[Event]:
    return journal.read(out / JOURNAL_FILE, Event)[0]  # type: ignore[arg-type]


def _write(
    out: Path,
    datasets: Sequence[NamedDataset],
    trainings: Sequence[Training],
    record: ComparisonRecord,
    warnings: Sequence[str],
    terminal: Terminal,
) -> list[Result]:
    from ptsam_auto.compare.paper_figures import damaged_masks, write_figures, write_panel

    events = _events(out)
    results, failures = results_of(events), failures_of(events)
    if results:
        write_text(out / TABLE_FILE, report(results, failures, len(trainings), record, warnings))
        write_parquet(results, out / PARQUET_FILE)
        write_figures(out / FIGURES_FOLDER, results)
        for dataset in datasets:
            held_out = next(training.fold.held_out for training in trainings if training.dataset == dataset.name)
            panel = out / FIGURES_FOLDER / f"panel-{dataset.name}.png"
            write_panel(panel, out / MASKS / dataset.name, entries_in(results), held_out)
            for path in damaged_masks(out / MASKS / dataset.name, entries_in(results), held_out):
                terminal.say(f"WARNING: {path} is damaged, so {panel.name} shows the image without it.")
        terminal.result(table_2(results))
    for name, reason in failures.items():
        terminal.say(f"{name} failed: {reason}")
    remaining = len(trainings) - len(results) - len(failures)
    terminal.say(
        f"{len(results)} trainings finished, {len(failures)} failed"
        f"{f', {remaining} are not finished yet' if remaining else ''}. "
        f"Results: {out / TABLE_FILE} and {out / FIGURES_FOLDER}/."
    )
    return results


def report(
    results: Sequence[Result],
    failures: Mapping[str, str],
    trainings: int,
    record: ComparisonRecord,
    warnings: Sequence[str],
) -> str:
    """Return the text of comparison.md.

    Args:
        results: Results of the finished trainings.
        failures: Names of the failed trainings, and the reasons.
        trainings: Total number of trainings.
        record: Record of the comparison.
        warnings: Warnings for the reader; see `warnings_of`.
    """
    request, versions = record.request, record.origin.versions
    remaining = trainings - len(results) - len(failures)
    conditions = [f"{request.splits} splits", f"backbone {record.backbone.name}"]
    conditions += [f"preset {request.preset}"] if request.preset else []
    conditions += [f"{path} = {value}" for path, value in request.settings.items()]
    parts = [
        f"# {', '.join(dataset.name for dataset in record.data)}",
        f"{', '.join(conditions)}. ptsam-auto {versions['ptsam-auto']}, commit {record.origin.commit or 'unknown'}.",
        *([f"**{remaining} of {trainings} trainings are not finished yet.**"] if remaining else []),
        *(f"**{warning}**" for warning in warnings),
        "## Dice in percent",
        table_2(results),
        "Mean and standard deviation over splits. Bold: the best method. Star: not significantly worse than the best "
        "(Wilcoxon's signed-rank test over the images of all splits, p >= 0.05).",
        "## Costs",
        costs(results),
        "Medians over trainings. The training time does not include the encoding if a feature bank is shared. "
        "Memory: GPU memory, or the memory of the process if there is no GPU.",
    ]
    if failures:
        lines = [f"- {name}: {reason.splitlines()[0]}" for name, reason in failures.items()]
        parts += ["## Failed trainings", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _log(out: Path, record: ComparisonRecord, results: Sequence[Result], terminal: Terminal) -> None:
    from ptsam_auto.tracking.log_compare import Row, log_comparison

    rows = [
        Row(
            name=f"{result.dataset}/{result.split}/{result.size}/{result.entry}",
            parameters={
                "method": title_of(result.entry),
                "dataset": result.dataset,
                "split": result.split,
                "train_images": result.train,
            },
            metrics={
                HELD_OUT: result.mean,
                "seconds": result.seconds,
                "peak_bytes": result.peak_bytes,
                "trainable": result.trainable,
                "bytes": result.bytes,
            },
            ended=result.ended,
            seconds=result.seconds,
        )
        for result in results
    ]
    files = [
        path
        for path in (out / TABLE_FILE, out / PARQUET_FILE, *sorted((out / FIGURES_FOLDER).glob("*")))
        if path.exists()
    ]
    try:
        uri = log_comparison(record, rows, files)
    except Exception as error:  # MLflow and its stores have no common error type.
        terminal.say(f"Logging to MLflow failed ({described(error)}). Run the same command to try again.")
        return
    terminal.say(f"The comparison was logged to MLflow. View it with: {how_to_browse(uri)}")

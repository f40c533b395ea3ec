"""The command `freeze`: saves the default of `fit`, or the portfolio of `fit`, from the trials of a search."""

from collections.abc import Mapping
from typing import Any

from ptsam_auto.commands.options import FreezeOptions
from ptsam_auto.errors import ConfigError, SearchError
from ptsam_auto.portfolio import members
from ptsam_auto.portfolio.candidates import PORTFOLIO_METHOD
from ptsam_auto.portfolio.learning import (
    MIN_RISE,
    RULE,
    LeftOut,
    Measured,
    leave_one_out,
    left_out_table,
    mean_loss,
    members_table,
    pick,
)
from ptsam_auto.portfolio.members import Member, Portfolio
from ptsam_auto.search.record import Search, Trial, finished, read_search
from ptsam_auto.search.selection import (
    Selection,
    block_of,
    counts,
    provenance,
    select,
    selection_table,
    write_defaults,
)
from ptsam_auto.terminal import Terminal
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings

COMPARED = ("method.tiles", "recipe.views", "recipe.epochs", "recipe.steps_per_epoch", "recipe.batch_size")


def freeze(options: FreezeOptions, terminal: Terminal) -> Selection | Portfolio:
    """Save the default of `fit`, or its portfolio, and print how it was selected.

    The default is the simplest configuration within one standard error of the best, see `search.selection`. The members
    of the portfolio are picked by the rule in `portfolio.learning`.

    Raises:
        SearchError: The folder is not a search, no trial finished, or the search does not fit: for the default it has
            several backbones or adaptations, for the portfolio it is not a search of PTSAM.
        OutputError: The file cannot be written, or a portfolio exists and --force is not set.
        ConfigError: The file of the default settings is not valid TOML, or holds something else.
    """
    result = read_search(options.search)
    _check_settings(result)
    if options.portfolio is not None:
        return _freeze_portfolio(result, options.portfolio, options, terminal)
    family, method, adapt = block_of(result)
    selection = select(result.trials)
    path = options.to if options.to is not None else defaults.user_file()
    terminal.out.print(selection_table(result, selection))
    write_defaults(path, result, selection)
    method_option = "" if method == "ptsam" else f" --method {method}"
    terminal.say(
        f"Saved as the default for {family},{method_option} --adapt {adapt}: {path}. "
        f"Show it with: ptsam-auto defaults {family}{method_option}"
    )
    return selection


def _check_settings(found: Search) -> None:
    """Raise SearchError if a finished trial has a setting that cannot be, or lacks one by which trials are compared."""
    for trial in finished(found.trials):
        missing = [path for path in COMPARED if path not in trial.settings]
        try:
            Settings.from_paths(trial.settings)
            wrong = f"it has no {missing[0]}" if missing else ""
        except (ConfigError, TypeError, ValueError) as error:
            wrong = str(error)
        if wrong:
            raise SearchError(f"{found.folder} is damaged. Trial {trial.number} cannot be used: {wrong}")


def _freeze_portfolio(found: Search, count: int, options: FreezeOptions, terminal: Terminal) -> Portfolio:
    path = options.to if options.to is not None else members.user_file()
    members.check_output(path, options.force)
    trials = finished(found.trials)
    if found.record.request.method != PORTFOLIO_METHOD:
        raise SearchError(
            f"{found.folder} is a search of {found.record.request.method}; a portfolio has configurations of "
            f"{PORTFOLIO_METHOD} only."
        )
    if not trials:
        raise SearchError("No trial finished, so there is no configuration to freeze.")
    measured = [Measured(trial.dice_by_dataset, found.seconds(trial)) for trial in trials]
    datasets = list(measured[0].dice)
    picked = pick(measured, count, datasets)
    chosen = _members(found, [trials[index] for index in picked])
    terminal.out.print(members_table(chosen, f"{found.folder}: {counts(found.trials)}"))
    if len(chosen) < count:
        terminal.say(f"No further configuration raises the mean by {100 * MIN_RISE:.1f} points of Dice.")
    left_out = leave_one_out(measured, count) if len(datasets) > 1 else []
    if left_out:
        terminal.out.print(left_out_table(left_out))
    else:
        terminal.say("With a single dataset nothing shows how the portfolio does on other images.")
    for_gpus = [member for member in members.frozen().members if member.needs_gpu and not member.dice]
    if for_gpus:
        names = ", ".join(member.name for member in for_gpus)
        terminal.say(f"Kept from the present portfolio, for machines with a GPU: {names}. They were not measured here.")
    portfolio = Portfolio((*for_gpus, *chosen), _evidence(found, left_out))
    members.write(path, portfolio, force=options.force)
    terminal.say(f"Saved as the portfolio of fit: {path}. Show it with: ptsam-auto defaults")
    return portfolio


def _members(found: Search, trials: list[Trial]) -> list[Member]:
    """Return the trials as members, in their order."""
    record = found.record
    backbones = [record.backbone_of(trial.configuration) for trial in trials]
    adapts = [record.adapt_of(trial.configuration) for trial in trials]
    names = members.names_of(
        (backbone.weights.name, adapt, trial.settings)
        for backbone, adapt, trial in zip(backbones, adapts, trials, strict=True)
    )
    chosen = []
    for name, backbone, adapt, trial in zip(names, backbones, adapts, trials, strict=True):
        usual = Settings.from_paths(defaults.values(backbone.family, adapt, record.request.method)).as_paths()
        chosen.append(
            Member(
                name=name,
                backbone=backbone.weights.name,
                adapt=adapt,
                settings={path: value for path, value in _known(found, trial, usual).items() if usual[path] != value},
                source=f"search {record.request.space}, {record.origin.created[:10]}, trial {trial.number}",
                dice={dataset: round(dice, 5) for dataset, dice in trial.dice_by_dataset.items()},
                seconds=round(found.seconds(trial), 1),
            )
        )
    return chosen


def _evidence(found: Search, left_out: list[LeftOut]) -> dict[str, object]:
    """Return the metadata of the search, and the result of leaving each dataset out."""
    evidence: dict[str, object] = {"rule": RULE, **provenance(found)}
    evidence["backbones"] = {one.weights.name: one.weights.sha256 for one in found.record.backbones}
    if left_out:
        evidence["mean_loss"] = round(mean_loss(left_out), 5)
        evidence["left_out"] = [
            {
                "dataset": one.dataset,
                "without": round(one.without, 5),
                "learned": round(one.learned, 5),
                "best": round(one.best, 5),
            }
            for one in left_out
        ]
    return evidence


def _known(found: Search, trial: Trial, usual: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a trial.

    Raises:
        SearchError: There is no setting of one of these names; the journal is damaged or of another version.
    """
    unknown = sorted(trial.settings.keys() - usual.keys())
    if unknown:
        raise SearchError(f"{found.folder}: trial {trial.number} has a setting {unknown[0]!r}, which does not exist.")
    return trial.settings

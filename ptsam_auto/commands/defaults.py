"""The command `defaults`: shows the portfolio and the default settings of `fit`, and their sources. No torch here."""

from collections.abc import Mapping
from typing import Any

import typer
from rich.markup import escape

from ptsam_auto.commands.options import DefaultsOptions
from ptsam_auto.portfolio import members
from ptsam_auto.terminal import Terminal, table_of
from ptsam_auto.training import defaults as stored

ORIGIN = {"search", "date", "rule", "trials", "splits", "train_images", "data"}  # what is shown of a search
RESULT = {"chosen", "dice", "standard_error", "best_dice", "best_standard_error"}  # and of the trial that was chosen


def defaults(options: DefaultsOptions, terminal: Terminal) -> None:
    """Print the portfolio, unless one backbone or another method is named, and one table per backbone and adaptation.

    Raises:
        BadParameter: There are no defaults for the backbone.
        ConfigError: One of the user's own files is damaged.
    """
    families, own, method = stored.families(), stored.user_file(), options.method
    if options.backbone is not None and options.backbone not in families:
        raise typer.BadParameter(f"{options.backbone} has no defaults; there are {', '.join(families)}.")
    console = terminal.out
    if options.backbone is None and method == "ptsam":
        _show_portfolio(terminal)
    if own.exists():
        terminal.result(f"Your own defaults ({own}) override the built-in defaults.")
    else:
        terminal.result(f"You have no defaults of your own ({own} does not exist).")
    for family in [options.backbone] if options.backbone else families:
        by_device = {device: stored.adaptation(family, device, method) for device in ("cpu", "cuda")}
        console.print(
            f"\n[bold]{family}[/]: the default of --adapt is {by_device['cpu'].value} on a CPU and "
            f"{by_device['cuda'].value} on a GPU ({by_device['cpu'].source})"
        )
        for adapt in stored.adaptations(family, method):
            table = table_of("setting", "value", "source", title=f"{family}, --method {method} --adapt {adapt}")
            for path, default in stored.block(family, adapt, method).items():
                table.add_row(path, escape(str(default.value)), escape(default.source))
            console.print(table)
            search = stored.evidence(family, adapt, method)
            if search is not None and search.keys() >= ORIGIN | RESULT:  # A lab's own file may lack some of it.
                terminal.result(_description(search))


def _show_portfolio(terminal: Terminal) -> None:
    portfolio, own = members.frozen(), members.user_file()
    if own.exists():
        terminal.result(f"Your own portfolio ({own}) replaces the built-in portfolio.")
    else:
        terminal.result(f"The portfolio is the built-in one ({own} does not exist).")
    table = table_of(
        *("member", "backbone", "adapt", "settings that are not the default", "seconds", "Dice", "source"),
        title="The portfolio of fit, in the order in which it is tried",
    )
    for member in portfolio.members:
        dice = [f"{name} {100 * value:.1f}" for name, value in member.dice.items()]
        table.add_row(
            *map(escape, (member.name, member.backbone, member.adapt + " (GPU only)" * member.needs_gpu)),
            escape("\n".join(f"{path} {_shown(value)}" for path, value in _differences(member).items())),
            "" if member.seconds is None else f"{member.seconds:.0f}",
            escape("\n".join(dice)),
            escape(member.source),
        )
    terminal.out.print(table)
    if portfolio.evidence.keys() >= ORIGIN:
        terminal.result(_origin(portfolio.evidence))
    terminal.result("")


def _differences(member: members.Member) -> dict[str, Any]:
    """Return the settings of a member that differ from the defaults of its backbone.

    A file may also name settings that are the default at present, so that they stay if the default changes. The family
    of the user's own checkpoint is not known without loading it; then all settings of the member are returned.
    """
    known = member.backbone in stored.families()
    usual = stored.values(member.backbone, member.adapt) if known else {}
    return {path: value for path, value in member.settings.items() if path not in usual or usual[path] != value}


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _origin(search: Mapping[str, Any]) -> str:
    """Describe the search that the portfolio comes from."""
    lines = [
        f"The members come from the search {search['search']} of {search['date']}: {search['rule']}.",
        f"Seconds are those of one training with its encoding; trials: {search['trials']}; {_datasets(search)}.",
    ]
    if "mean_loss" in search:
        lines.append(
            "A portfolio that was learned without a dataset loses "
            f"{100 * search['mean_loss']:.1f} points of Dice on it on average."
        )
    return "\n".join(lines)


def _datasets(search: Mapping[str, Any]) -> str:
    names = ", ".join(
        f"{dataset['name']} ({len(dataset['images'])} images, {dataset.get('fingerprint', '')[:12]})"
        for dataset in search["data"]
    )
    return f"{search['splits']} splits with {search['train_images']} training images of {names}"


def _description(search: Mapping[str, Any]) -> str:
    """Describe the search that the default values come from."""
    return (
        f"These values come from the search {search['search']} of {search['date']}: "
        f"trial {search['chosen']} is {search['rule']}.\n"
        f"Dice {100 * search['dice']:.1f} +- {100 * search['standard_error']:.1f}, the best trial has "
        f"{100 * search['best_dice']:.1f} +- {100 * search['best_standard_error']:.1f}; "
        f"trials: {search['trials']}; {_datasets(search)}."
    )

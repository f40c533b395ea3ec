"""The command `defaults`: shows the default settings of `fit` and their sources. Does not import torch."""

from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from ptsam_auto.commands.options import DefaultsOptions
from ptsam_auto.terminal import Terminal
from ptsam_auto.training import defaults as stored


def defaults(options: DefaultsOptions, terminal: Terminal) -> None:
    """Print one table per backbone and adaptation.

    Raises:
        BadParameter: There are no defaults for the backbone.
        ConfigError: The user's own file is damaged.
    """
    families, own, method = stored.families(), stored.user_file(), options.method
    if options.backbone is not None and options.backbone not in families:
        raise typer.BadParameter(f"{options.backbone} has no defaults; there are {', '.join(families)}.")
    console = terminal.out
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
            table = Table(title=f"{family}, --method {method} --adapt {adapt}", title_justify="left", title_style="")
            for heading in ("setting", "value", "source"):
                table.add_column(heading)
            for path, default in stored.block(family, adapt, method).items():
                table.add_row(path, escape(str(default.value)), escape(default.source))
            console.print(table)
            search = stored.evidence(family, adapt, method)
            if search is not None:
                terminal.result(_description(search))


def _description(search: dict[str, Any]) -> str:
    """Describe the search that the default values come from."""
    datasets = ", ".join(
        f"{dataset['name']} ({len(dataset['images'])} images, {dataset['fingerprint'][:12]})"
        for dataset in search["data"]
    )
    return (
        f"These values come from the search {search['search']} of {search['date']}: "
        f"trial {search['chosen']} is {search['rule']}.\n"
        f"Dice {100 * search['dice']:.1f} +- {100 * search['standard_error']:.1f}, the best trial has "
        f"{100 * search['best_dice']:.1f} +- {100 * search['best_standard_error']:.1f}; "
        f"trials: {search['trials']}; "
        f"{search['splits']} splits with {search['train_images']} training images of {datasets}."
    )

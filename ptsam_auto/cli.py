"""Defines the command line. Each command imports slow packages (torch, Ray) only when it runs."""

import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer

from ptsam_auto.commands import options
from ptsam_auto.commands.command_line import command
from ptsam_auto.errors import PtsamError
from ptsam_auto.files import disk_error

EVERYDAY, STUDIES, SMALL = "Every day", "Search and compare", "Small helpers"


@dataclass(frozen=True)
class Command:
    """One command of `ptsam-auto`.

    Args:
        name: Name of the command, of its module in `commands`, and of the function in that module.
        options: Dataclass of its options.
        help: Help text of the command. Its first line is shown in the list of commands.
        continues: End of the sentence "The same command ..." that is printed after Ctrl-C, or None if there is nothing
            to continue.
        panel: Heading under which it is listed.
    """

    name: str
    options: type
    help: str
    continues: str | None = None
    panel: str = EVERYDAY


COMMANDS = (
    Command(
        "fit",
        options.FitOptions,
        "Train a specialist on a folder of annotated images. All options have defaults.\n\n"
        "If the command is interrupted, run it again to continue.",
        "continues from the last epoch",
    ),
    Command(
        "check",
        options.CheckOptions,
        "Show how ptsam-auto reads a folder of annotated images, before training.",
    ),
    Command(
        "predict",
        options.PredictOptions,
        "Write the masks of new images.\n\nIf the command is interrupted, run it again to write the missing masks.",
        "writes the masks that are missing",
    ),
    Command(
        "suggest",
        options.SuggestOptions,
        "Rank images without annotation by what annotating them would teach the specialist.",
        "starts from the beginning",
    ),
    Command(
        "annotate",
        options.AnnotateOptions,
        "Paint masks in a page in the browser. A specialist is fitted after every few masks and proposes the next ones."
        "\n\nDrafts and masks are saved at once; the same command goes on with them.",
        "goes on with what was painted",
    ),
    Command(
        "serve",
        options.ServeOptions,
        "Show a page in the browser to try specialists, correct masks and fit again, with an API for scripts.",
        "shows the page again",
    ),
    Command(
        "evaluate",
        options.EvaluateOptions,
        "Compute the scores of a specialist on annotated images.",
        "starts from the beginning",
    ),
    Command(
        "export",
        options.ExportOptions,
        "Write a specialist as ONNX, which runs without PyTorch, or as a model package of bioimage.io.",
    ),
    Command(
        "promote",
        options.PromoteOptions,
        "Say which version of a specialist in MLflow is in use, by giving it the alias champion.",
    ),
    Command(
        "ui",
        options.UiOptions,
        "Show the runs of fit, search and compare in MLflow's page, in a browser on this machine.",
    ),
    Command(
        "search",
        options.SearchOptions,
        "Search for better default settings. Use datasets that you do not need for a final evaluation.\n\n"
        "If the command is interrupted, run it again to continue.",
        "continues: finished trials are kept, the others resume",
        STUDIES,
    ),
    Command(
        "ablate",
        options.AblateOptions,
        "Train every combination of the values in a search space to the last epoch, on every split "
        "(exhaustive search).\n\nIf the command is interrupted, run it again to continue.",
        "continues: finished trials are kept, the others resume",
        STUDIES,
    ),
    Command(
        "freeze",
        options.FreezeOptions,
        "Select the simplest configuration of a search within one standard error of the best, "
        "and save it as the default of fit. Or pick the portfolio of fit (--portfolio).",
        panel=STUDIES,
    ),
    Command(
        "compare",
        options.CompareOptions,
        "Compare the paper's methods on datasets with the same number of training steps, "
        "and write the paper's Table 2 and its figures.\n\n"
        "If the command is interrupted, run it again to continue.",
        "continues: finished trainings are kept, the others resume",
        STUDIES,
    ),
    Command("example", options.ExampleOptions, "Make 24 artificial annotated images for a first test.", panel=SMALL),
    Command("subset", options.SubsetOptions, "Copy a part of a dataset, such as --list train --first 16.", panel=SMALL),
    Command(
        "defaults",
        options.DefaultsOptions,
        "Show the portfolio and the default settings of fit, and the source of each value.",
        panel=SMALL,
    ),
)


def _run_command(chosen: Command, command_options: Any) -> None:  # noqa: ANN401 - the command's own dataclass
    try:
        options.check_paths(command_options)
        from ptsam_auto.terminal import Terminal

        run = getattr(import_module(f"ptsam_auto.commands.{chosen.name}"), chosen.name)
        run(command_options, Terminal())
    except KeyboardInterrupt:
        hint = f" The same command {chosen.continues}." if chosen.continues else ""
        typer.echo(f"\nStopped.{hint}", err=True)
        raise typer.Exit(130) from None
    except OSError as error:  # Wherever it was written: of a full disk everybody knows what to do.
        if (of_disk := disk_error(error)) is not None:
            raise of_disk from None
        raise


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ptsam-auto {version('ptsam-auto')}")
        raise typer.Exit


def build() -> typer.Typer:
    """Return the command line with all commands."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Turn the Segment Anything Model into a specialist for your images, from about 16 annotated ones.",
    )
    app.callback()(_shared_options)
    for entry in COMMANDS:
        register = app.command(entry.name, rich_help_panel=entry.panel)
        register(command(entry.options, partial(_run_command, entry), entry.help))
    return app


def _shared_options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


app = build()


def main() -> None:
    """Run `ptsam-auto`. Messages go to standard error; exit code 1: an error the user can correct, 2: wrong usage."""
    try:
        app()
    except PtsamError as error:
        typer.echo(f"{error}", err=True)
        sys.exit(1)

"""`python -m ptsam_auto.pretrain`: how the embedded nano was made, and how to make another."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptsam_auto.errors import ConfigError, PtsamError

if TYPE_CHECKING:
    from ptsam_auto.pretrain.loop import StepReport

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, rich_markup_mode=None)


class PartChoice(StrEnum):
    """What may be judged."""

    ZERO_SHOT = "zero-shot"
    SPECIALIST = "specialist"


SMOOTHED = 50  # steps that the numbers beside the progress bar are averaged over


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of checkpoints and exports; an interrupted run goes on there.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of annotated images (index.csv, or splits.json of which only 'train' is read)."),
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option(help="SIZE:BATCH:STEPS:PEAK_LEARNING_RATE; several are run in their order.")
    ] = None,
    weights: Annotated[str, typer.Option(help="Start from: scratch, nano, or a .safetensors file.")] = "scratch",
    seed: Annotated[int, typer.Option(min=0, help="Of views, tasks and fresh weights.")] = 0,
    scenes: Annotated[float, typer.Option(min=0, max=1, help="Share of rendered scenes.")] = 0.85,
    balance: Annotated[float, typer.Option(min=0, max=1, help="Balanced cross-entropy's weight at first.")] = 0.3,
    warm_up: Annotated[int, typer.Option(min=0, help="Steps until the learning rate is at its peak.")] = 150,
    constant: Annotated[float, typer.Option(min=0, max=1, help="Share of the run before it decays.")] = 0.4,
    detail: Annotated[float, typer.Option(min=0, help="Weight of fine detail that features may not lose.")] = 0.5,
    bfloat16: Annotated[bool, typer.Option(help="Multiply matrices in bfloat16.")] = True,
    hours: Annotated[float | None, typer.Option(help="Most training time; the plan is then followed faster.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw batches ahead.")] = 1,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 100,
    probe_every: Annotated[int, typer.Option(min=0, help="Steps; 0 for never.")] = 500,
    export_every: Annotated[int, typer.Option(min=0, help="Steps; 0 for the end only.")] = 0,
    track: Annotated[bool, typer.Option("--track", help="Log to MLflow.")] = False,
) -> None:
    """Train nano promptably, as SAM was trained; the same command resumes after any interruption."""
    from ptsam_auto.pretrain.recipe import FROM_SCRATCH, Recipe, parse_stage

    stages = tuple(parse_stage(text) for text in stage) if stage else FROM_SCRATCH
    if not data and scenes == 0:
        raise ConfigError("There is nothing to train on: name a folder with --data, or let --scenes be above 0.")
    from ptsam_auto.pretrain.session import Settings, pretrain

    settings = Settings(
        out=out,
        data=tuple(data or ()),
        recipe=Recipe(stages, warm_up=warm_up, constant=constant, balance=balance, detail=detail, bfloat16=bfloat16),
        weights=weights,
        seed=seed,
        scene_share=scenes,
        workers=workers,
        hours=hours,
        checkpoint_every=checkpoint_every,
        probe_every=probe_every,
        export_every=export_every,
        track=track,
    )
    with Display(settings.recipe.steps) as display:
        pretrain(settings, display.say, display.show)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Folder of a run.")],
    path: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    full: Annotated[bool, typer.Option("--full", help="In full precision, to measure what half costs.")] = False,
) -> None:
    """Write a run's averaged weights in half precision and print their SHA-256."""
    from ptsam_auto.pretrain.session import export_run

    typer.echo(export_run(out, path, full))


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="Folder that keeps every finished row; the same command goes on there.")],
    weights: Annotated[list[str], typer.Option(help="nano, or a file of weights; several share one table.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder to judge on (splits.json), or one whose held-out images are asked about (index.csv)."
        ),
    ] = None,
    part: Annotated[list[PartChoice] | None, typer.Option(help="Both by default.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="Of images, prompts and views; 0 and 1.")] = None,
    train_images: Annotated[int, typer.Option(min=1, help="A specialist's.")] = 16,
    most: Annotated[int | None, typer.Option(min=1, help="Test images of a set; all by default.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of a specialist; the frozen default if not given.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Measure deep prompts too, which takes far longer.")] = False,
    deep_steps: Annotated[int | None, typer.Option(min=1, help="Of these; the frozen default if not given.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Sets judged side by side, each with a share of the cores.")] = 1,
    track: Annotated[bool, typer.Option("--track", help="Log the table to MLflow.")] = False,
) -> None:
    """Judge weights: untuned, as specialists, and beside controls. Markdown and Parquet; rows are measured once."""
    import shlex
    import sys

    from ptsam_auto.pretrain.cells import Evaluation
    from ptsam_auto.pretrain.evaluate import evaluate as judge
    from ptsam_auto.show import Show

    asked = Evaluation(
        weights=tuple(weights),
        data=tuple(data or ()),
        out=out,
        seeds=tuple(seed or (0, 1)),
        train_images=train_images,
        most=most,
        steps=steps,
        deep=deep,
        deep_steps=deep_steps,
        parts=tuple(choice.value for choice in part) if part else ("zero-shot", "specialist"),
        workers=workers,
    )
    judge(asked, f"python -m ptsam_auto.pretrain {shlex.join(sys.argv[1:])}", Show(), track)


class Display:
    """A progress bar, or in a log a line every 50 steps."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.console = Console(soft_wrap=True, highlight=False)
        numbers = TextColumn("{task.description}")
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), numbers)
        self.progress = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.bar = self.progress.add_task("", total=total)
        self.recent: dict[str, float] = {}

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        """One line, with the time of day."""
        self.console.log(text) if self.console.is_terminal else print(f"{_now()} {text}", flush=True)

    def show(self, report: "StepReport") -> None:
        """Move the bar on."""
        found: dict[str, float] = {
            "loss": report.loss,
            "lost": report.detail_error,
            **{str(asked): iou for asked, iou in report.iou.items()},
        }
        for name, value in found.items():
            self.recent[name] = value + (1 - 1 / SMOOTHED) * (self.recent.get(name, value) - value)
        words = "  ".join(f"{name} {value:.3f}" for name, value in self.recent.items())
        self.progress.update(self.bar, completed=report.step, description=words)
        if not self.console.is_terminal and report.step % SMOOTHED == 0:
            self.say(f"step {report.step}  {report.size} px  rate {report.learning_rate:.1e}  {words}")


def _now() -> str:
    from datetime import datetime

    return f"{datetime.now():%H:%M:%S}"


def main() -> None:
    """Run, with our own errors as one message and exit code 1."""
    try:
        app()
    except PtsamError as problem:
        typer.echo(str(problem), err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

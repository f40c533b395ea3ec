"""`python -m nano`: how the weights of nano, which come with ptsam-auto, were made, and how to make others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptsam_auto.errors import ConfigError, OutputError, PtsamError

if TYPE_CHECKING:
    from nano.loop import StepReport

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, rich_markup_mode=None)

SMOOTHING = 50  # steps that the numbers beside the progress bar are averaged over


@app.command()
def run(
    out: Annotated[
        Path, typer.Option(help="Folder for checkpoints and exports. A run that was interrupted there continues.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of annotated images with index.csv, or with splits.json (only 'train' is read)."),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="SIZE:BATCH:STEPS:PEAK_LEARNING_RATE. Several stages are run one after the other."),
    ] = None,
    weights: Annotated[str, typer.Option(help="Weights to start from: scratch, nano or a .safetensors file.")] = (
        "scratch"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of views, tasks and random weights.")] = 0,
    scenes: Annotated[float, typer.Option(min=0, max=1, help="Share of rendered scenes among the images.")] = 0.85,
    balance: Annotated[
        float, typer.Option(min=0, max=1, help="Weight of the balanced cross-entropy in the first half of the run.")
    ] = 0.3,
    warm_up: Annotated[int, typer.Option(min=0, help="Steps until the learning rate reaches its peak.")] = 150,
    constant: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the run before the learning rate decays.")
    ] = 0.4,
    detail: Annotated[float, typer.Option(min=0, help="Weight of the detail error in the loss.")] = 0.5,
    bfloat16: Annotated[bool, typer.Option(help="Multiply matrices in bfloat16.")] = True,
    hours: Annotated[
        float | None,
        typer.Option(help="Longest training time. If it is short, the learning rate decays by time, not by steps."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw batches in advance.")] = 1,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 100,
    probe_every: Annotated[
        int, typer.Option(min=0, help="Steps between two measurements on held-out images. 0: never.")
    ] = 500,
    export_every: Annotated[int, typer.Option(min=0, help="Steps between two exports. 0: only at the end.")] = 0,
    track: Annotated[bool, typer.Option("--track", help="Log the run to MLflow.")] = False,
) -> None:
    """Train a small SAM with prompts, as SAM was trained. After an interruption, repeat the same command."""
    from nano.recipe import FROM_SCRATCH, Recipe, parse_stage

    stages = tuple(parse_stage(text) for text in stage) if stage else FROM_SCRATCH
    if not data and scenes == 0:
        raise ConfigError("There is nothing to train on: name a folder with --data, or let --scenes be above 0.")
    from nano.run import Settings, pretrain

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
    full: Annotated[
        bool, typer.Option("--full", help="Write float32 instead of float16, to measure what half precision costs.")
    ] = False,
) -> None:
    """Write a run's averaged weights and print the SHA-256 of the file."""
    from nano.run import export_run

    typer.echo(export_run(out, path, full))


@app.command()
def zero_shot(
    weights: Annotated[list[str], typer.Option(help="nano, or a file of weights. Several share one table.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with splits.json and instances/ (its test list), or with index.csv (held-out part)."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Markdown file to write.")] = Path("zero_shot.md"),
    most: Annotated[int | None, typer.Option(min=1, help="Most images of each test list. Default: all.")] = None,
) -> None:
    """Measure the IoU of boxes, clicks and groups without tuning, on scenes and on images that were held out."""
    import shlex
    import sys

    from nano.zero_shot import markdown, zero_shot_table
    from ptsam_auto.files import write_text

    text = markdown(zero_shot_table(weights, data or (), most), f"python -m nano {shlex.join(sys.argv[1:])}")
    try:
        write_text(out, text)
    except OSError as problem:
        raise OutputError(f"{out} cannot be written: {problem.strerror}. Name another file with --out.") from None
    typer.echo(text)


@app.command()
def prompts(
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write. A run that was interrupted continues.")],
    backbone: Annotated[str, typer.Option(help="Backbone, as in ptsam-auto fit.")] = "lite_medsam",
    steps: Annotated[int, typer.Option(min=20, help="Number of steps, a multiple of 20.")] = 600,
    rate: Annotated[float, typer.Option(min=0, help="Initial learning rate.")] = 0.02,
    seed: Annotated[int, typer.Option(min=0, help="Seed of scenes and initial prompts.")] = 0,
) -> None:
    """Learn the prompts on rendered scenes at which fit begins (method.initial_prompts=scenes)."""
    from nano.prompts import About, learn, write
    from ptsam_auto.sam.checkpoint import load
    from ptsam_auto.terminal import Terminal
    from ptsam_auto.training import defaults

    sam, terminal = load(backbone), Terminal()
    mask_token = defaults.values(sam.family, "encoder")["method.mask_token"]
    about = About(backbone, sam.sha256, mask_token, steps, rate, seed)
    checkpoint = out.with_name(f"{out.name}.begun")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{out} cannot be written: {problem.strerror}. Name another place.") from None
    with terminal.bar("Learning") as update:
        model = learn(sam, about, checkpoint, update)
    terminal.say(write(model, about, out))
    checkpoint.unlink()


class Display:
    """A progress bar; in a log, a line every 50 steps."""

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
        self.means: dict[str, float] = {}

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.progress.stop()

    def say(self, text: str) -> None:
        """Print one line with the time of day."""
        self.console.log(text) if self.console.is_terminal else print(f"{_now()} {text}", flush=True)

    def show(self, report: "StepReport") -> None:
        """Advance the bar by one step."""
        numbers: dict[str, float] = {
            "loss": report.loss,
            "detail error": report.detail_error,
            **{str(prompt_type): iou for prompt_type, iou in report.iou.items()},
        }
        for name, value in numbers.items():
            self.means[name] = value + (1 - 1 / SMOOTHING) * (self.means.get(name, value) - value)
        words = "  ".join(f"{name} {value:.3f}" for name, value in self.means.items())
        self.progress.update(self.bar, completed=report.step, description=words)
        if not self.console.is_terminal and report.step % SMOOTHING == 0:
            self.say(f"step {report.step}  {report.size} px  rate {report.learning_rate:.1e}  {words}")


def _now() -> str:
    from datetime import datetime

    return f"{datetime.now():%H:%M:%S}"


def main() -> None:
    """Run a command; our own errors are printed as one message, with exit code 1."""
    try:
        app()
    except PtsamError as problem:
        typer.echo(str(problem), err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

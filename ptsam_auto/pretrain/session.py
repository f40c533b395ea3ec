"""One run from the command to the last export: what is done every so many steps, and what is said about it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ptsam_auto.errors import BackboneError
from ptsam_auto.pretrain import checkpoint
from ptsam_auto.pretrain.batches import vocabulary
from ptsam_auto.pretrain.learner import Learner, State, fresh
from ptsam_auto.pretrain.loop import StepReport, steps
from ptsam_auto.pretrain.probe import ProbeReport, probe, probe_images
from ptsam_auto.pretrain.recipe import Recipe
from ptsam_auto.pretrain.sources import Entry, Folder, Mixture, open_folder
from ptsam_auto.pretrain.track import Tracker
from ptsam_auto.sam.checkpoint import nano_path
from ptsam_auto.sam.generalist import ARCHITECTURES, architecture_of, resized


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on.

    Args:
        out: folder of checkpoints and exports.
        data: folders of annotated images; may be empty.
        recipe: the plan.
        weights: "nano" (the embedded ones), a .safetensors file, or "scratch".
        seed: of views, tasks and fresh weights.
        scene_share: of rendered scenes among the images, 0 to 1.
        workers: processes that draw batches ahead.
        hours: most training time, or None.
        checkpoint_every: steps.
        probe_every: steps; 0 for never.
        export_every: steps; 0 for the end only.
        track: log to MLflow.
    """

    out: Path
    data: tuple[Path, ...]
    recipe: Recipe
    weights: str = "scratch"
    seed: int = 0
    scene_share: float = 0.85
    workers: int = 1
    hours: float | None = None
    checkpoint_every: int = 100
    probe_every: int = 500
    export_every: int = 0
    track: bool = False

    @property
    def lasting(self) -> dict[str, object]:
        """What has to be the same when an interrupted run goes on."""
        return {
            "data": [str(folder) for folder in self.data],
            "weights": self.weights,
            "seed": self.seed,
            "scene_share": self.scene_share,
        }


def pretrain(settings: Settings, say: Callable[[str], None], show: Callable[[StepReport], None]) -> Path:
    """Run, or go on with, a pretraining and export its average.

    Args:
        settings: of the run.
        say: told what happens, line by line.
        show: given every step's report.

    Returns:
        The final export.

    Raises:
        PtsamError: a folder, setting, file of weights or place to write is not as it should be.
    """
    folders, held_out = opened(settings.data)
    source = Mixture(folders, settings.scene_share)
    recipe = settings.recipe
    learner = Learner(
        starting_weights(settings.weights, settings.seed), recipe.stages[0].size, recipe, len(vocabulary(source))
    )
    resumed = checkpoint.restore(learner, settings.out, settings.lasting)
    say(f"Goes on after step {learner.step}." if resumed else f"Starts from {settings.weights}.")
    images = ", ".join(f"{path.name} {folder.images}" for path, folder in zip(settings.data, folders, strict=True))
    say(f"{recipe.steps} steps; {source.shares[0]:.0%} scenes, the rest from: {images or 'nothing'}.")

    tracker = _tracker(settings) if settings.track else None
    asked = probe_images(held_out, recipe.largest) if settings.probe_every else []

    def look() -> None:
        found = probe(learner.averaged(recipe.largest), asked)
        say(f"Step {learner.step}, held out, {recipe.largest} px: {_words(found)}.")
        if tracker:
            tracker.log(
                learner.step, {f"probe.{sort}": iou for sort, iou in asdict(found).items() if sort != "prompts"}
            )

    if settings.probe_every and not resumed:
        look()
    seconds = None if settings.hours is None else settings.hours * 3600
    for report in steps(learner, source, settings.seed, settings.workers, seconds):
        show(report)
        if tracker:
            tracker.log(report.step, _numbers(report))
        if report.step % settings.checkpoint_every == 0:
            checkpoint.save(learner, settings.out, settings.lasting)
        if settings.probe_every and report.step % settings.probe_every == 0:
            look()
        if settings.export_every and report.step % settings.export_every == 0:
            _export(learner, settings, settings.out / "exports" / f"step-{report.step:06d}.safetensors", say)
    checkpoint.save(learner, settings.out, settings.lasting)
    if settings.probe_every and learner.step % settings.probe_every:
        look()
    if tracker:
        tracker.close()
    final = settings.out / "nano.safetensors"
    _export(learner, settings, final, say)
    return final


def opened(data: tuple[Path, ...]) -> tuple[list[Folder], list[Entry]]:
    """The folders to train on, and the images that they hold out for the probe."""
    pairs = [open_folder(folder) for folder in data]
    return [train for train, _ in pairs], [entry for _, held_out in pairs for entry in held_out.entries]


def starting_weights(choice: str, seed: int) -> State:
    """Weights by "nano", "scratch" or the path of a .safetensors file.

    Raises:
        BackboneError: there is no such file, or it is not a SAM.
    """
    if choice == "scratch":
        return fresh(ARCHITECTURES["nano"], seed)
    path = nano_path() if choice == "nano" else Path(choice)
    try:
        state = load_file(path)
        architecture_of(state)
    except (OSError, SafetensorError, KeyError):
        raise BackboneError(
            f"{path} holds no weights of a SAM; expected nano, scratch or a .safetensors file."
        ) from None
    return state


def about(
    step: int, images: int, seconds: float, data: tuple[str, ...], scene_share: float, weights: str
) -> dict[str, str]:
    """What the header of exported weights says."""
    return {
        "steps": str(step),
        "images": str(images),
        "hours": f"{seconds / 3600:.2f}",
        "data": ", ".join(data) or "none",
        "scenes": f"{scene_share:.2f}",
        "started_from": weights if weights in ("nano", "scratch") else Path(weights).name,
    }


def _export(learner: Learner, settings: Settings, path: Path, say: Callable[[str], None]) -> None:
    names = tuple(folder.resolve().name for folder in settings.data)
    header = about(learner.step, learner.images, learner.seconds, names, settings.scene_share, settings.weights)
    average = resized(learner.average, settings.recipe.largest)
    say(f"Wrote {path}, SHA-256 {checkpoint.export(average, path, header)}.")


def _tracker(settings: Settings) -> Tracker:
    note = settings.out / "mlflow_run.txt"
    run_id = note.read_text().strip() if note.is_file() else None
    parameters = {**settings.lasting, "stages": settings.recipe.stages, "out": settings.out}
    tracker = Tracker(settings.out.resolve().name, parameters, run_id)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(tracker.run_id)
    return tracker


def _numbers(report: StepReport) -> dict[str, float]:
    values = {key: value for key, value in asdict(report).items() if key not in ("step", "iou")}
    return values | {f"iou.{asked}": iou for asked, iou in report.iou.items()}


def _words(report: ProbeReport) -> str:
    boxes, clicks, groups = report.prompts
    return (
        f"IoU from a box {report.box:.3f} ({boxes}), one click best of three {report.click:.3f} and as the network "
        f"chooses {report.click_chosen:.3f} ({clicks}), a group {report.group:.3f} ({groups})"
    )


def export_run(out: Path, path: Path, full: bool = False) -> str:
    """Write the average of a run's last checkpoint.

    Args:
        out: the run's folder.
        path: of the file to write.
        full: in the precision that it was trained in, instead of half of it.

    Returns:
        The file's SHA-256.

    Raises:
        ConfigError: the folder holds no run.
        OutputError: the file cannot be written.
    """
    state, average = checkpoint.average_of(out)
    settings = state["settings"]
    names = tuple(Path(folder).resolve().name for folder in settings["data"])
    header = about(
        state["step"], state["images"], state["seconds"], names, settings["scene_share"], settings["weights"]
    )
    largest = max(stage["size"] for stage in state["recipe"]["stages"])
    return checkpoint.export(resized(average, largest), path, header, torch.float32 if full else torch.float16)

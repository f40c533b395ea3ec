"""A complete run: training with regular checkpoints, measurements on held-out images, and exports."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from nano import checkpoint
from nano.batches import vocabulary
from nano.learner import Learner, State, random_weights
from nano.loop import StepReport, steps
from nano.probe import ProbeReport, probe, probe_images
from nano.recipe import Recipe
from nano.sources import Entry, Folder, Mixture, open_folder
from nano.tracker import Tracker
from ptsam_auto.errors import BackboneError
from ptsam_auto.files import write_text
from ptsam_auto.sam.checkpoint import nano_path
from ptsam_auto.sam.network import ARCHITECTURES, architecture_of, resized


@dataclass(frozen=True)
class Settings:
    """Settings of a run.

    Args:
        out: Folder of checkpoints and exports.
        data: Folders of annotated images; may be empty.
        recipe: Stages and learning rates.
        weights: "nano" (the included weights), a .safetensors file, or "scratch".
        seed: Random seed for views, tasks and random weights.
        scene_share: Fraction of rendered scenes among the images, 0 to 1.
        workers: Number of processes that draw batches in advance.
        hours: Maximum training time, or None.
        checkpoint_every: Steps between two checkpoints.
        probe_every: Steps between two measurements; 0 for none.
        export_every: Steps between two exports; 0 for one at the end only.
        track: Whether to log to MLflow.
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
    def unchangeable(self) -> dict[str, object]:
        """Return the settings that must be the same when an interrupted run continues."""
        return {
            "data": [str(folder) for folder in self.data],
            "weights": self.weights,
            "seed": self.seed,
            "scene_share": self.scene_share,
        }


def pretrain(settings: Settings, say: Callable[[str], None], show: Callable[[StepReport], None]) -> Path:
    """Start or continue a run and export its averaged weights.

    Args:
        settings: Settings of the run.
        say: Function that is called with every message.
        show: Function that is called with the report of every step.

    Returns:
        Path of the final export.

    Raises:
        PtsamError: A folder, setting or file of weights is not valid, or a file cannot be written.
    """
    folders, held_out = open_folders(settings.data)
    source = Mixture(folders, settings.scene_share)
    recipe = settings.recipe
    learner = Learner(
        starting_weights(settings.weights, settings.seed), recipe.stages[0].size, recipe, len(vocabulary(source))
    )
    resumed = checkpoint.restore(learner, settings.out, settings.unchangeable)
    say(f"Continues after step {learner.step}." if resumed else f"Starts from {settings.weights}.")
    images = ", ".join(f"{path.name} {folder.images}" for path, folder in zip(settings.data, folders, strict=True))
    say(f"{recipe.steps} steps; {source.shares[0]:.0%} scenes, the rest from: {images or 'nothing'}.")

    tracker = _tracker(settings) if settings.track else None
    images_to_probe = probe_images(held_out, recipe.largest) if settings.probe_every else []

    def measure() -> None:
        report = probe(learner.averaged(recipe.largest), images_to_probe)
        say(f"Step {learner.step}, held out, {recipe.largest} px: {_in_words(report)}.")
        if tracker:
            tracker.log(
                learner.step, {f"probe.{name}": iou for name, iou in asdict(report).items() if name != "prompts"}
            )

    if settings.probe_every and not resumed:
        measure()
    seconds = None if settings.hours is None else settings.hours * 3600
    for report in steps(learner, source, settings.seed, settings.workers, seconds):
        show(report)
        if tracker:
            tracker.log(report.step, _metrics(report))
        if report.step % settings.checkpoint_every == 0:
            checkpoint.save(learner, settings.out, settings.unchangeable)
        if settings.probe_every and report.step % settings.probe_every == 0:
            measure()
        if settings.export_every and report.step % settings.export_every == 0:
            _export(learner, settings, settings.out / "exports" / f"step-{report.step:06d}.safetensors", say)
    checkpoint.save(learner, settings.out, settings.unchangeable)
    if settings.probe_every and learner.step % settings.probe_every:
        measure()
    if tracker:
        tracker.close()
    final = settings.out / "nano.safetensors"
    _export(learner, settings, final, say)
    return final


def open_folders(data: tuple[Path, ...]) -> tuple[list[Folder], list[Entry]]:
    """Return the folders to train on, and their held-out images."""
    pairs = [open_folder(folder) for folder in data]
    return [train for train, _ in pairs], [entry for _, held_out in pairs for entry in held_out.entries]


def starting_weights(choice: str, seed: int) -> State:
    """Return weights by "nano", "scratch" or the path of a .safetensors file.

    Raises:
        BackboneError: There is no such file, or it is not a SAM.
    """
    if choice == "scratch":
        return random_weights(ARCHITECTURES["nano"], seed)
    path = nano_path() if choice == "nano" else Path(choice)
    try:
        state = load_file(path)
        architecture_of(state)
    except (OSError, SafetensorError, KeyError):
        raise BackboneError(
            f"{path} holds no weights of a SAM; expected nano, scratch or a .safetensors file."
        ) from None
    return state


def export_header(
    step: int, images: int, seconds: float, data: tuple[str, ...], scene_share: float, weights: str
) -> dict[str, str]:
    """Return information about the training of weights, for the header of their file."""
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
    header = export_header(learner.step, learner.images, learner.seconds, names, settings.scene_share, settings.weights)
    average = resized(learner.average, settings.recipe.largest)
    say(f"Wrote {path}, SHA-256 {checkpoint.export(average, path, header)}.")


def _tracker(settings: Settings) -> Tracker:
    note = settings.out / "mlflow_run.txt"
    run_id = note.read_text().strip() if note.is_file() else None
    parameters = {**settings.unchangeable, "stages": settings.recipe.stages, "out": settings.out}
    tracker = Tracker(settings.out.resolve().name, parameters, run_id)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_text(note, tracker.run_id)
    return tracker


def _metrics(report: StepReport) -> dict[str, float]:
    values = {key: value for key, value in asdict(report).items() if key not in ("step", "iou")}
    return values | {f"iou.{prompt_type}": iou for prompt_type, iou in report.iou.items()}


def _in_words(report: ProbeReport) -> str:
    boxes, clicks, groups = report.prompts
    return (
        f"IoU from a box {report.box:.3f} ({boxes}), one click {report.click:.3f} (best of three masks) and "
        f"{report.click_chosen:.3f} (the mask with the highest predicted IoU; {clicks}), "
        f"a group {report.group:.3f} ({groups})"
    )


def export_run(out: Path, path: Path, full: bool = False) -> str:
    """Write the averaged weights of a run's last checkpoint.

    Args:
        out: Folder of the run.
        path: Path of the file to write.
        full: Whether to write float32, as in the training, instead of float16.

    Returns:
        SHA-256 of the file.

    Raises:
        ConfigError: The folder contains no run.
        OutputError: The file cannot be written.
    """
    state, average = checkpoint.averaged_weights(out)
    settings = state["settings"]
    names = tuple(Path(folder).resolve().name for folder in settings["data"])
    header = export_header(
        state["step"], state["images"], state["seconds"], names, settings["scene_share"], settings["weights"]
    )
    largest = max(stage["size"] for stage in state["recipe"]["stages"])
    return checkpoint.export(resized(average, largest), path, header, torch.float32 if full else torch.float16)

"""One training by many workers, on Ray Train: a worker that dies is replaced, and the run goes on.

The loop is `training.loop`, as in a fit by one worker; here is only who runs it, and where checkpoints go.
"""

import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ptsam_auto.data.dataset import Pair
from ptsam_auto.distributed import cluster
from ptsam_auto.errors import ClusterError, PtsamError
from ptsam_auto.methods import registry
from ptsam_auto.sam import checkpoint
from ptsam_auto.training import loop, resume
from ptsam_auto.training.bank import views_for
from ptsam_auto.training.loop import EpochReport, Training
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.team import Team
from ptsam_auto.training.views import Supply

# After `cluster`, which sets Ray's environment.
import ray.train  # isort: skip
from ray.train.torch import TorchTrainer, get_device  # isort: skip

RUN = "run.safetensors"  # inside each of Ray's checkpoints
KEPT = 3  # checkpoints; with one, a death between writing and noting it would lose both
RETRIES = 3  # of a run whose worker died
LOOK = 0.3  # seconds between two looks at how far the workers are


@dataclass(frozen=True)
class Job:
    """What all workers of a run need to know.

    Args:
        backbone: its name or path, as `checkpoint.find` takes it.
        sha256: of its weights.
        settings: all of them; the batch is that of all workers together.
        pairs: the training images, on a disk that all workers see.
        seed: of what is learned, order and views.
        key: names the run by all that decides its result, as `resume` has it.
        bank: folder for features, on a disk that all workers see.
        workers: how many.
        threads: that each computes with, and cores that it takes up.
    """

    backbone: str
    sha256: str
    settings: Settings
    pairs: tuple[Pair, ...]
    seed: int
    key: str
    bank: Path
    workers: int
    threads: int


def train_together(
    job: Job,
    training: Training,
    folder: Path,
    *,
    use_gpu: bool,
    storage: str | None = None,
    address: str | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> list[EpochReport]:
    """Train with several workers; called again after any death, it goes on from the last epoch.

    Args:
        job: what to train.
        training: a fresh run of this process; it ends where the workers' ended.
        folder: of the run, on this machine.
        use_gpu: a GPU for each worker.
        storage: where checkpoints go: a folder that all machines see, or whatever pyarrow's file systems name
            (s3://bucket/runs); by default inside `folder`.
        address: of a running Ray cluster; see `cluster.running`.
        progress: called with (epochs done, epochs in all, a note).

    Returns:
        The curve.

    Raises:
        ConfigError: the batch cannot be shared out.
        ClusterError: too few CPUs or GPUs, or workers died again and again.
        PtsamError: what the training itself raises.
    """
    Team(0, job.workers).check(job.settings.recipe.batch_size)
    wants = {"CPU": float(job.threads), "GPU": float(use_gpu)}
    with cluster.running(address):
        together = {kind: want * job.workers for kind, want in wants.items()}
        cluster.room(f"{job.workers} workers want", together, "Take fewer workers, or more machines: --address.")
        told = folder / "told.jsonl"
        trainer = TorchTrainer(
            _work,
            train_loop_config={"job": job},
            scaling_config=ray.train.ScalingConfig(
                num_workers=job.workers, use_gpu=use_gpu, resources_per_worker={k: v for k, v in wants.items() if v}
            ),
            run_config=ray.train.RunConfig(
                name=f"ptsam-{job.key[:16]}",
                storage_path=storage or str((folder / "train").resolve()),
                failure_config=ray.train.FailureConfig(max_failures=RETRIES),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=KEPT),
                callbacks=[_Told(told)],
                logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            ),
        )
        with _watched(told, job, progress):
            try:
                result = trainer.fit()
            except ray.train.TrainingFailedError as error:
                last = str(error).strip().splitlines()[-1]
                raise ClusterError(
                    f"The workers died {RETRIES + 1} times; the last time: {last}\n"
                    "What they had learned is kept: the same command goes on from there."
                ) from None
        if "failed" in (news := _last(told)):
            raise PtsamError(news["failed"])
        if result.checkpoint is None:
            raise KeyboardInterrupt
        with result.checkpoint.as_directory() as found:
            curve = resume.load(Path(found) / RUN, training, job.key)
    if len(curve) < job.settings.recipe.epochs:
        raise KeyboardInterrupt  # Ray Train ends quietly when it is told to stop
    return curve


def _work(config: dict[str, Any]) -> None:
    """What a worker runs."""
    job: Job = config["job"]
    context = ray.train.get_context()
    team = Team(context.get_world_rank(), context.get_world_size())
    torch.set_num_threads(job.threads)
    sam = checkpoint.find(job.backbone, job.sha256).sam.to(get_device())
    training = loop.start(registry.build(sam, job.settings.method, job.seed), job.settings.recipe)
    curve: list[EpochReport] = []
    if last := ray.train.get_checkpoint():
        with last.as_directory() as found:
            curve = resume.load(Path(found) / RUN, training, job.key)
    views = views_for(
        training.model,
        job.sha256,
        Supply.of(job.pairs, job.settings, job.seed, team),
        job.settings.recipe,
        job.bank,
    )
    try:
        for report in loop.epochs(training, views, job.settings.recipe, team):
            curve.append(report)
            _report(training, curve, job, team)
    except PtsamError as problem:
        # An answer, not an accident: it would not be tried again with another outcome. All workers have the same.
        ray.train.report({"failed": str(problem)})


def _report(training: Training, curve: list[EpochReport], job: Job, team: Team) -> None:
    """Tell of an epoch, with a checkpoint; workers are equal, so one writes for all."""
    metrics = asdict(curve[-1])
    if team.rank:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        resume.save(Path(folder) / RUN, training, curve, job.key)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


class _Told(ray.train.UserCallback):
    """Runs where Ray Train's controller does, on the driver's machine, and notes what the workers report."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:  # noqa: ANN401, ARG002
        """One line an epoch."""
        with self._path.open("a") as file:
            file.write(json.dumps(metrics[0]) + "\n")


@contextmanager
def _watched(told: Path, job: Job, progress: Callable[[int, int, str], None]) -> Iterator[None]:
    """Show how far the workers are for as long as this lasts: images encoded, where there is a bank, then epochs."""
    told.unlink(missing_ok=True)
    over, epochs = threading.Event(), job.settings.recipe.epochs

    def watch() -> None:
        while not over.wait(LOOK):
            if "epoch" in (news := _last(told)):
                progress(news["epoch"], epochs, f"loss {news['loss']:.3f}")
            elif job.settings.recipe.views:
                encoded = sum(1 for _ in job.bank.glob("*.arrow"))
                progress(0, epochs, f"{min(encoded, len(job.pairs))} of {len(job.pairs)} images encoded")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _last(told: Path) -> dict[str, Any]:
    """The last whole line of what was told; {} before the first."""
    lines = told.read_text().split("\n")[:-1] if told.exists() else []
    return json.loads(lines[-1]) if lines else {}

"""Training with several workers (Ray Train). Workers that fail are replaced, and the training continues.

Each worker runs `training.run`, as the single worker of a fit does. This module only starts the workers and handles
their checkpoints.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ptsam_auto.data.dataset import Pair
from ptsam_auto.distributed import cluster
from ptsam_auto.distributed.ray_api import TorchTrainer, get_device, ray
from ptsam_auto.errors import ClusterError, PtsamError
from ptsam_auto.terminal import Terminal, repeatedly
from ptsam_auto.training.run import Job, Run
from ptsam_auto.training.trainer import BANK, CHECKPOINT, SamTrainer, Trained, trained
from ptsam_auto.training.worker_group import WorkerGroup

RUN_FILE = "run.safetensors"  # File in each of Ray's checkpoints.
REPORTS_FILE = "reports.jsonl"  # Reports of the workers, one line per epoch.
CHECKPOINTS_KEPT = 3  # Number of checkpoints to keep; one is not enough if a worker fails while it writes.
RETRIES = 3  # Number of times that a training is continued after a worker failed.
POLL_SECONDS = 0.3  # Interval at which the progress is updated.


@dataclass(frozen=True)
class WorkersTrainer:
    """Trains any SAM method with several workers; see `training.trainer.Trainer`.

    Args:
        trainer: The single-process trainer.
        workers: Number of workers; the images of each step are divided among them.
        storage: Place for checkpoints: a folder that all machines can access, or a URL that pyarrow supports
            (s3://bucket/runs). Default: the folder of the training.
        address: Address of a running Ray cluster; see `cluster.ray_session`.
        threads: Number of threads per worker; default: see `cluster.threads_each`.
    """

    trainer: SamTrainer
    workers: int
    storage: str | None = None
    address: str | None = None
    threads: int | None = None

    def train(
        self, images: Sequence[Pair], seed: int, folder: Path, device: str, terminal: Terminal | None = None
    ) -> Trained:
        """Train. After a failure, the next call continues from the last epoch.

        Raises:
            ConfigError: The batch size is not divisible by the number of workers.
            ClusterError: The cluster has too few CPUs or GPUs, or the workers failed repeatedly.
            PtsamError: Error from the training itself.
        """
        terminal = terminal or Terminal.silent()
        bank = (self.trainer.bank or folder / BANK).resolve()
        run, checkpoint = Run(self.trainer.job(images, seed), device, bank), folder / CHECKPOINT
        WorkerGroup(0, self.workers).check(run.job.settings.recipe.batch_size)
        run.resume(checkpoint)
        if len(run.curve) < run.job.settings.recipe.epochs:
            threads = self.threads or cluster.threads_each(self.workers, self.address)
            terminal.say(f"Training with {self.workers} workers, {threads} threads each.")
            with terminal.bar("Training") as update:
                task = WorkerTask(run.job, bank, self.workers, threads)
                self._train_again_after_failed_starts(task, run, folder, device.startswith("cuda"), update)
            run.save(checkpoint)
        return trained(run)

    def _train_again_after_failed_starts(
        self, task: "WorkerTask", run: Run, folder: Path, use_gpu: bool, progress: Callable[[int, int, str], None]
    ) -> None:
        """Train the remaining epochs. If a worker dies while Ray Train starts it, start again.

        Ray Train counts such a death as an error of its controller: it does not retry, and it keeps the CPUs of the
        other workers until the session ends. A session of somebody else does not end.
        """
        attempts = 1 if ray.is_initialized() else RETRIES + 1
        for attempt in range(1, attempts + 1):
            try:
                self._train(task, run, folder, use_gpu, progress)
                break
            except ray.train.TrainingFailedError as error:
                at_start = getattr(error, "controller_failure", None)
                if attempt < attempts and isinstance(at_start, ray.exceptions.RayActorError):
                    continue
                times = attempt if at_start else attempt + RETRIES
                last = str(error).strip().splitlines()[-1]
                raise ClusterError(
                    f"The workers failed {times} {'time' if times == 1 else 'times'}. The last error: {last}\n"
                    "The last checkpoint is kept. Run the same command to continue."
                ) from None

    def _train(
        self, task: "WorkerTask", run: Run, folder: Path, use_gpu: bool, progress: Callable[[int, int, str], None]
    ) -> None:
        """Train the remaining epochs with Ray Train, in one session."""
        needs = {"CPU": float(task.threads), "GPU": float(use_gpu)}
        with cluster.ray_session(self.address):
            total_needs = {kind: need * self.workers for kind, need in needs.items()}
            advice = "Use fewer workers, or connect to a larger cluster: --address."
            cluster.capacity(f"{self.workers} workers need", total_needs, advice)
            reports = folder / REPORTS_FILE
            trainer = TorchTrainer(
                _work,
                train_loop_config={"task": task},
                scaling_config=ray.train.ScalingConfig(
                    num_workers=self.workers,
                    use_gpu=use_gpu,
                    resources_per_worker={kind: need for kind, need in needs.items() if need},
                ),
                run_config=ray.train.RunConfig(
                    name=f"ptsam-{run.job.key[:16]}",
                    storage_path=self.storage or str((folder / "train").resolve()),
                    failure_config=ray.train.FailureConfig(max_failures=RETRIES),
                    checkpoint_config=ray.train.CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
                    callbacks=[_ReportWriter(reports)],
                    logging_config=ray.train.LoggingConfig(log_level="ERROR"),
                ),
            )
            reports.unlink(missing_ok=True)
            with repeatedly(partial(_show, reports, task, progress), POLL_SECONDS):
                result = trainer.fit()
            if "failed" in (report := _last(reports)):
                raise PtsamError(report["failed"])
            if result.checkpoint is None:
                raise KeyboardInterrupt
            with result.checkpoint.as_directory() as folder_name:
                run.resume(Path(folder_name) / RUN_FILE)
        if len(run.curve) < run.job.settings.recipe.epochs:
            raise KeyboardInterrupt  # Ray Train returns without an error when it is interrupted.


@dataclass(frozen=True)
class WorkerTask:
    """Data that is sent to all workers of a training.

    Args:
        job: The training; its images are on a disk that all workers can read.
        bank: Folder for encoded views, on a disk that all workers can access.
        workers: Number of workers.
        threads: Number of threads per worker, which is also the number of CPUs that Ray reserves for it.
    """

    job: Job
    bank: Path
    workers: int
    threads: int


def _work(config: dict[str, Any]) -> None:
    """Train in a worker process (train function of Ray Train)."""
    task: WorkerTask = config["task"]
    context = ray.train.get_context()
    group = WorkerGroup(context.get_world_rank(), context.get_world_size())
    torch.set_num_threads(task.threads)
    run = Run(task.job, str(get_device()), task.bank, group)
    if last_checkpoint := ray.train.get_checkpoint():
        with last_checkpoint.as_directory() as folder_name:
            run.resume(Path(folder_name) / RUN_FILE)
    try:
        for _ in run.epochs():
            _report(run, group)
    except PtsamError as problem:
        # This is not a crash: a retry would fail in the same way, so the error is reported instead of raised. All
        # workers report the same error.
        ray.train.report({"failed": str(problem)})


def _report(run: Run, group: WorkerGroup) -> None:
    """Report an epoch. Worker 0 also saves a checkpoint, which is the same for all workers."""
    metrics = asdict(run.curve[-1])
    if group.rank:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        run.save(Path(folder) / RUN_FILE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


class _ReportWriter(ray.train.UserCallback):
    """Writes the reports of the workers to a file. It runs on the machine of the driver, as Ray Train's controller."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:  # noqa: ANN401
        """Write one line per epoch."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics[0]) + "\n")


def _show(reports: Path, task: WorkerTask, progress: Callable[[int, int, str], None]) -> None:
    """Update the progress bar: encoded images if there is a bank, then epochs."""
    recipe, images = task.job.settings.recipe, len(task.job.pairs)
    if "epoch" in (report := _last(reports)):
        progress(report["epoch"], recipe.epochs, f"loss {report['loss']:.3f}")
    elif recipe.views:
        encoded = sum(1 for _ in task.bank.glob("*.arrow"))
        progress(0, recipe.epochs, f"{min(encoded, images)} of {images} images encoded")


def _last(reports: Path) -> dict[str, Any]:
    """Return the last complete report, or {} if there is none."""
    lines = reports.read_text(encoding="utf-8").split("\n")[:-1] if reports.exists() else []
    return json.loads(lines[-1]) if lines else {}

"""nnU-Net, trained from scratch with the planner, trainer and predictor of its own package (Sec. 4.1.1).

It does not use our training loop, because in that loop it would no longer be nnU-Net. It runs in its own process and
folder:

work/job.json        the images and the configuration of the training
work/log.txt         the output of nnU-Net
work/raw/ preprocessed/ results/   its three folders

It requires `pip install 'ptsam-auto[nnunet]'`, and is imported only when it is used.
"""

# H W  size of an image in px

import json
import os
import pydoc
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ptsam_auto.data.dataset import Pair, fingerprint
from ptsam_auto.errors import ConfigError, OutputError, PtsamError, SpecialistError, suggestion
from ptsam_auto.extras import require
from ptsam_auto.files import json_sha256, write_json
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.trainer import Trained

NAME = "nnunet"  # name of the method
PREFIX = f"{NAME}."  # prefix of its settings
DATASET = "Dataset001_ptsam"
CONFIGURATION = "2d"
MODEL = Path("results") / DATASET / f"nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"
WEIGHTS = MODEL / "fold_all" / "checkpoint_final.pth"
IGNORED = 2  # label of ignored pixels; nnU-Net requires that it is the last one
CPU_MEMORY_GB = 1.0  # memory for its planner on a CPU; by default it plans patch and batch size for a GPU of 8 GB
POLL_SECONDS = 0.5  # time between two checks of the process


@dataclass(frozen=True)
class NnunetConfig:
    """The settings of nnU-Net that a user can choose. It plans network, patch, batch, loss and schedule itself.

    Args:
        epochs: Number of epochs (1,000 in the paper and in nnU-Net).
        steps_per_epoch: Steps per epoch: 20 in the paper (Sec. 4.1.3), 250 by nnU-Net's own default.
        gpu_memory_gb: GPU memory (GB) for which nnU-Net plans patch and batch size; None for its own default, which
            requires a GPU. Use 1 or less on a CPU.
        workers: Number of processes for preprocessing and augmentation.

    Raises:
        ConfigError: A value is outside its range.
    """

    epochs: int = 1000
    steps_per_epoch: int = 20
    gpu_memory_gb: float | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        for name in ("epochs", "steps_per_epoch", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"nnunet.{name} is {getattr(self, name)}; expected at least 1.")
        if self.gpu_memory_gb is not None and not self.gpu_memory_gb > 0:
            raise ConfigError(f"nnunet.gpu_memory_gb is {self.gpu_memory_gb}; expected a number above 0.")


def config_of(values: Mapping[str, Any]) -> NnunetConfig:
    """Create the configuration from settings such as {"nnunet.epochs": 100}.

    Raises:
        ConfigError: There is no such setting, or a value is of the wrong type or outside its range.
    """
    known = [PREFIX + field.name for field in fields(NnunetConfig)]
    for path, value in values.items():
        if path not in known:
            raise ConfigError(f"There is no setting {path}. {suggestion(path, known)}")
        number = path == f"{PREFIX}gpu_memory_gb"
        if type(value) is not int and not (number and type(value) is float):
            raise ConfigError(f"{path} is {value!r}; expected {'a number' if number else 'a whole number'}.")
    return NnunetConfig(**{path.removeprefix(PREFIX): value for path, value in values.items()})


@dataclass(frozen=True)
class NnunetTrainer:
    """Trains nnU-Net's 2-D configuration with nnU-Net's own trainer; see `training.trainer.Trainer`.

    nnU-Net does not use the seed, so two runs give different results.

    Args:
        config: Configuration of the training.
    """

    config: NnunetConfig

    def train(
        self,
        images: Sequence[Pair],
        seed: int,
        folder: Path,
        device: str,
        terminal: Terminal | None = None,
    ) -> Trained:
        """Train; after an interruption, another call continues from nnU-Net's last checkpoint."""
        terminal = terminal or Terminal.silent()
        key = json_sha256([fingerprint(images), asdict(self.config)])[:12]
        began = time.perf_counter()
        with terminal.bar("Training") as update:
            model, curve = train(images, folder / f"nnunet-{key}", self.config, device=device, progress=update)
        steps = self.config.epochs * self.config.steps_per_epoch
        return Trained(model, curve, steps, seconds=time.perf_counter() - began, design=model.design)


class Nnunet:
    """An nnU-Net. It predicts with mirroring and overlapping windows, the default of nnU-Net's predictor.

    Args:
        design: Plans, dataset and mirroring that its planner has decided, JSON types.
        weights: Weights by name; None for random weights, which the caller can replace through `trainable()`.
        device: Device, such as "cpu" or "cuda:0".

    Raises:
        PtsamError: nnU-Net is not installed.
        SpecialistError: The design refers to a class that is not a network or a layer.
    """

    def __init__(self, design: Mapping[str, Any], weights: Mapping[str, Tensor] | None, device: str) -> None:
        require("nnunet", "nnU-Net")
        _check_parts(design)
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        self.design, self.device = dict(design), torch.device(device)
        with _suppress_output():
            plans = PlansManager(design["plans"])
            configuration = plans.get_configuration(CONFIGURATION)
            network = nnUNetTrainer.build_network_architecture(
                plans,
                configuration,
                determine_num_input_channels(plans, configuration, design["dataset"]),
                plans.get_label_manager(design["dataset"]).num_segmentation_heads,
                enable_deep_supervision=False,
            )
            if weights is not None:
                network.load_state_dict(weights)
            self._network = network.to(self.device).eval()
            self._predictor = nnUNetPredictor(device=self.device, allow_tqdm=False)
            self._predictor.manual_initialization(
                self._network,
                plans,
                configuration,
                [self._network.state_dict()],
                design["dataset"],
                "nnUNetTrainer",
                tuple(design["mirroring"]),
            )

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return all parameters by name, including the heads of deep supervision, as in Table 1."""
        return dict(self._network.named_parameters())

    def probability(self, image: np.ndarray) -> np.ndarray:
        """Return the foreground probability (H W, float32, 0 to 1) of an image (H W 3, uint8, RGB)."""
        planes_31HW = image.transpose(2, 0, 1)[:, None].astype(np.float32)
        with _suppress_output():
            _, probabilities_21HW = self._predictor.predict_single_npy_array(
                planes_31HW, {"spacing": (999, 1, 1)}, save_or_return_probabilities=True
            )
        return probabilities_21HW[1, 0].astype(np.float32)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Return the mask (H W, bool) of an image (H W 3, uint8, RGB)."""
        return self.probability(image) > 0.5


def _check_parts(design: Mapping[str, Any]) -> None:
    """Check that a design names only networks and layers of known packages, because nnU-Net calls them."""
    for configuration in design["plans"]["configurations"].values():
        architecture = configuration.get("architecture", {})
        packages = {architecture.get("network_class_name"): "dynamic_network_architectures."}
        for keyword in architecture.get("_kw_requires_import", ()):
            packages[architecture["arch_kwargs"][keyword]] = "torch.nn."
        for name, package in packages.items():
            layer = pydoc.locate(name) if str(name).startswith(package) else None
            if name is not None and not (isinstance(layer, type) and issubclass(layer, nn.Module)):
                raise SpecialistError(
                    f"nnU-Net's plans name {name}; expected a network or a layer of {package[:-1]}. It was not loaded."
                )


def train(
    pairs: Sequence[Pair],
    work: Path,
    config: NnunetConfig,
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Nnunet, dict[str, list[float]]]:
    """Train nnU-Net's 2-D configuration on all images, without a validation set, like the other methods.

    After an interruption, another call continues: finished preprocessing is not repeated, and training continues from
    nnU-Net's last checkpoint (every twentieth of the epochs). nnU-Net does not use the seed, so two runs give
    different results.

    Args:
        pairs: Training images.
        work: nnU-Net's folder; it is created if it does not exist.
        config: Configuration of the training.
        device: "cuda", "mps" or "cpu".
        progress: Function that is called with (epochs started, total epochs).

    Returns:
        The network and its learning curve, see `trained`.

    Raises:
        PtsamError: nnU-Net is not installed, or failed.
        OutputError: The folder holds another training, or cannot be written to.
    """
    require("nnunet", "nnU-Net")
    _check_work_folder(work, {"data": fingerprint(pairs), "nnunetv2": version("nnunetv2"), **asdict(config)})
    if not (work / WEIGHTS).exists():
        if not (work / "raw" / DATASET / "dataset.json").exists():
            write_raw(pairs, work / "raw" / DATASET)
        _run(work, config, device, progress)
    progress(config.epochs, config.epochs)
    return trained(work, config, device)


def trained(work: Path, config: NnunetConfig, device: str) -> tuple[Nnunet, dict[str, list[float]]]:
    """Load the trained network and its learning curve from the folder of `train`.

    nnU-Net's weights are a pickle file there: never use this on a folder from other people.

    Args:
        work: Folder of a finished training.
        config: Configuration of that training.
        device: Device, such as "cpu" or "cuda:0".

    Returns:
        The network, and its learning curve: step, loss (nnU-Net's: cross-entropy minus Dice, weighted over sizes) and
        learning rate at the end of each epoch.
    """
    checkpoint = torch.load(work / WEIGHTS, map_location="cpu", weights_only=False)
    design = {
        "plans": json.loads((work / MODEL / "plans.json").read_text(encoding="utf-8")),
        "dataset": json.loads((work / MODEL / "dataset.json").read_text(encoding="utf-8")),
        "mirroring": list(checkpoint["inference_allowed_mirroring_axes"]),
    }
    logged = checkpoint["logging"]
    if "train_losses" not in logged:  # since version 2.7 there are several loggers
        logged = logged["local_logger"]
    curve = {
        "step": [float(config.steps_per_epoch * (epoch + 1)) for epoch in range(config.epochs)],
        "loss": [float(x) for x in logged["train_losses"]],
        "learning_rate": [float(x) for x in logged["lrs"]],
    }
    return Nnunet(design, checkpoint["network_weights"], device), curve


def _check_work_folder(work: Path, job: dict[str, Any]) -> None:
    path = work / "job.json"
    try:
        work.mkdir(parents=True, exist_ok=True)
        if not path.exists() and any(work.iterdir()):
            raise OutputError(f"{work} is not empty and is not a folder of nnU-Net.\nChoose another folder.")
        if not path.exists():
            write_json(path, job)
        if json.loads(path.read_text(encoding="utf-8")) != job:
            raise OutputError(f"{work} holds another training of nnU-Net, see {path}.\nChoose another folder.")
    except OSError as error:
        raise OutputError(f"Cannot write to {work}: {error.strerror}.\nChoose another folder.") from None


def write_raw(pairs: Sequence[Pair], folder: Path) -> None:
    """Write the images in nnU-Net's format. dataset.json is written last: a folder that contains it is complete."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    labels = {"background": 0, "foreground": 1}
    for number, pair in enumerate(pairs):
        sample = pair.load()
        Image.fromarray(sample.image).save(folder / "imagesTr" / f"case{number:05d}_0000.png")
        marked = sample.mask.astype(np.uint8)
        if sample.ignored is not None:
            labels["ignore"] = IGNORED
            marked[sample.ignored] = IGNORED
        Image.fromarray(marked).save(folder / "labelsTr" / f"case{number:05d}.png")
    description = {
        "channel_names": {"0": "red", "1": "green", "2": "blue"},
        "labels": labels,
        "numTraining": len(pairs),
        "file_ending": ".png",
    }
    write_json(folder / "dataset.json", description)


def _run(work: Path, config: NnunetConfig, device: str, progress: Callable[[int, int], None]) -> None:
    """Plan, preprocess and train in a child process, which is stopped when this process ends for any reason."""
    variables = {f"nnUNet_{name}": str(work.resolve() / name) for name in ("raw", "preprocessed", "results")}
    variables |= {"nnUNet_n_proc_DA": str(config.workers), "nnUNet_def_n_proc": str(config.workers)}
    variables["nnUNet_wandb_enabled"] = "0"  # no data is sent to another machine
    log = work / "log.txt"
    command = [sys.executable, "-m", "ptsam_auto.baselines.nnunet_process", str(work.resolve()), device]
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,  # the child process exits when this pipe is closed
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            while process.poll() is None:
                epochs = re.findall(
                    r"^.*: Epoch (\d+)\s*$", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
                )
                progress(int(epochs[-1]) if epochs else 0, config.epochs)
                time.sleep(POLL_SECONDS)
        finally:
            # Kill the whole process group, which includes its child processes.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:])
        raise PtsamError(f"nnU-Net stopped with exit code {process.returncode}; the end of {log}:\n{last}")


@contextmanager
def _suppress_output() -> Iterator[None]:
    """Suppress the output of nnU-Net's predictor."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield

"""nnU-Net, a specialist from scratch (Sec. 4.1.1): its own planner, trainer and predictor, from its own package.

It meets the other methods once it is trained. In their loop it would no longer be nnU-Net, so it runs as its users run
it, in a process and a folder of its own:

work/job.json        what is trained, and for how long
work/log.txt         whatever nnU-Net says
work/raw/ preprocessed/ results/   its three folders

Needs `pip install 'ptsam-auto[nnunet]'`; nothing of it is imported before it is called.
"""

# H W  an image's own size in px

import importlib.util
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

NAME = "nnunet"  # as a method
PREFIX = f"{NAME}."  # of its settings, where they stand among those of others
DATASET = "Dataset001_ptsam"
CONFIGURATION = "2d"
MODEL = Path("results") / DATASET / f"nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"
WEIGHTS = MODEL / "fold_all" / "checkpoint_final.pth"
POLL = 0.5  # seconds between two looks at the process


@dataclass(frozen=True)
class NnunetConfig:
    """What nnU-Net leaves to its user. All else - network, patch, batch, loss, schedule - it plans itself.

    Args:
        epochs: the paper's and nnU-Net's 1,000.
        steps_per_epoch: 20 in the paper (Sec. 4.1.3), nnU-Net's own is 250.
        gpu_memory_gb: that the planner sizes patch and batch for; None for its own choice, which wants a GPU. A CPU
            does with 1 or less.
        workers: processes that preprocess and augment.

    Raises:
        ConfigError: a value outside its range.
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
    """The config from its fields' paths, such as {"nnunet.epochs": 100}.

    Raises:
        ConfigError: there is no such field, or a value is of the wrong kind or outside its range.
    """
    known = [PREFIX + each.name for each in fields(NnunetConfig)]
    for path, value in values.items():
        if path not in known:
            raise ConfigError(f"There is no setting {path}. {suggestion(path, known)}")
        number = path == f"{PREFIX}gpu_memory_gb"
        if type(value) is not int and not (number and type(value) is float):
            raise ConfigError(f"{path} is {value!r}; expected {'a number' if number else 'a whole number'}.")
    return NnunetConfig(**{path.removeprefix(PREFIX): value for path, value in values.items()})


class Nnunet:
    """An nnU-Net, with mirroring and overlapping windows at prediction, as its predictor does unasked.

    Args:
        design: what its planner decided: plans, dataset and mirroring, JSON types.
        weights: by name; None leaves them to chance, for whoever fills `trainable()`.
        device: as torch names it.

    Raises:
        PtsamError: nnU-Net is not installed.
        SpecialistError: the design names something to run that is no part of a network.
    """

    def __init__(self, design: Mapping[str, Any], weights: Mapping[str, Tensor] | None, device: str) -> None:
        _check_installed()
        _check_parts(design)
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        self.design, self.device = dict(design), torch.device(device)
        with _silence():
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
        """What training changes, by name: everything, the heads of deep supervision included, as in Table 1."""
        return dict(self._network.named_parameters())

    def probability(self, image: np.ndarray) -> np.ndarray:
        """The chance of foreground (H W, float32, 0 to 1) in an image (H W 3, uint8, RGB)."""
        planes_31HW = image.transpose(2, 0, 1)[:, None].astype(np.float32)
        with _silence():
            _, chances_21HW = self._predictor.predict_single_npy_array(
                planes_31HW, {"spacing": (999, 1, 1)}, save_or_return_probabilities=True
            )
        return chances_21HW[1, 0].astype(np.float32)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The mask (H W, bool) of an image (H W 3, uint8, RGB)."""
        return self.probability(image) > 0.5


def _check_installed() -> None:
    if importlib.util.find_spec("nnunetv2") is None:
        raise PtsamError("nnU-Net is not installed. Install it: pip install 'ptsam-auto[nnunet]'")


def _check_parts(design: Mapping[str, Any]) -> None:
    """A design may come from anywhere, and nnU-Net imports and calls what it names."""
    for configuration in design["plans"]["configurations"].values():
        architecture = configuration.get("architecture", {})
        named = {architecture.get("network_class_name"): "dynamic_network_architectures."}
        for keyword in architecture.get("_kw_requires_import", ()):
            named[architecture["arch_kwargs"][keyword]] = "torch.nn."
        for name, package in named.items():
            found = pydoc.locate(name) if str(name).startswith(package) else None
            if name is not None and not (isinstance(found, type) and issubclass(found, nn.Module)):
                raise SpecialistError(
                    f"nnU-Net's plans name {name}; expected a part of a network, of {package[:-1]}. It was not loaded."
                )


def train(
    pairs: Sequence[Pair],
    work: Path,
    config: NnunetConfig,
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Nnunet, dict[str, list[float]]]:
    """Train nnU-Net's 2-D configuration on all of the images; none is kept back, as none is for the other methods.

    Stopped or killed and called again it continues: preprocessing once finished is not repeated, training goes on from
    nnU-Net's last checkpoint (every twentieth of the epochs). nnU-Net draws from no seed, so two runs differ.

    Args:
        pairs: the training images.
        work: nnU-Net's folder; made if it is missing.
        config: how long, and for what machine.
        device: "cuda", "mps" or "cpu".
        progress: called with (epochs begun, epochs in all).

    Returns:
        As `trained`.

    Raises:
        PtsamError: nnU-Net is not installed, or failed.
        OutputError: the folder holds another training, or cannot be written to.
    """
    _check_installed()
    _claim(work, {"data": fingerprint(pairs), "nnunetv2": version("nnunetv2"), **asdict(config)})
    if not (work / WEIGHTS).exists():
        if not (work / "raw" / DATASET / "dataset.json").exists():
            write_raw(pairs, work / "raw" / DATASET)
        _run(work, config, device, progress)
    progress(config.epochs, config.epochs)
    return trained(work, config, device)


def trained(work: Path, config: NnunetConfig, device: str) -> tuple[Nnunet, dict[str, list[float]]]:
    """What `train` left in its folder, and its curve.

    nnU-Net's weights are a pickle there: open only a folder that `train` wrote here, none that you were sent.

    Args:
        work: a folder that `train` finished.
        config: that it was finished with.
        device: as torch names it.

    Returns:
        The network, and at the end of each epoch step, loss (nnU-Net's: cross-entropy minus Dice, weighted over sizes)
        and learning rate.
    """
    checkpoint = torch.load(work / WEIGHTS, map_location="cpu", weights_only=False)
    design = {
        "plans": json.loads((work / MODEL / "plans.json").read_text()),
        "dataset": json.loads((work / MODEL / "dataset.json").read_text()),
        "mirroring": list(checkpoint["inference_allowed_mirroring_axes"]),
    }
    logged = checkpoint["logging"]
    if "train_losses" not in logged:  # since 2.7 one of several loggers
        logged = logged["local_logger"]
    curve = {
        "step": [float(config.steps_per_epoch * (epoch + 1)) for epoch in range(config.epochs)],
        "loss": [float(x) for x in logged["train_losses"]],
        "learning_rate": [float(x) for x in logged["lrs"]],
    }
    return Nnunet(design, checkpoint["network_weights"], device), curve


def _claim(work: Path, job: dict[str, Any]) -> None:
    path = work / "job.json"
    try:
        work.mkdir(parents=True, exist_ok=True)
        if not path.exists() and any(work.iterdir()):
            raise OutputError(f"{work} is not empty and not nnU-Net's.\nChoose another folder, or empty it first.")
        if not path.exists():
            path.write_text(json.dumps(job, indent=2))
        if json.loads(path.read_text()) != job:
            raise OutputError(f"{work} holds another training of nnU-Net, see {path}.\nChoose another folder.")
    except OSError as error:
        raise OutputError(f"Cannot write to {work}: {error.strerror}.\nChoose another folder.") from None


def write_raw(pairs: Sequence[Pair], folder: Path) -> None:
    """Write the images as nnU-Net wants them, dataset.json last: a folder that has it is whole."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(pairs):
        sample = pair.load()
        Image.fromarray(sample.image).save(folder / "imagesTr" / f"case{number:05d}_0000.png")
        Image.fromarray(sample.mask.astype(np.uint8)).save(folder / "labelsTr" / f"case{number:05d}.png")
    description = {
        "channel_names": {"0": "red", "1": "green", "2": "blue"},
        "labels": {"background": 0, "foreground": 1},
        "numTraining": len(pairs),
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2))


def _run(work: Path, config: NnunetConfig, device: str, progress: Callable[[int, int], None]) -> None:
    """Plan, preprocess and train in a process that ends when this one does, whatever ends it."""
    own = {f"nnUNet_{name}": str(work.resolve() / name) for name in ("raw", "preprocessed", "results")}
    own |= {"nnUNet_n_proc_DA": str(config.workers), "nnUNet_def_n_proc": str(config.workers)}
    own["nnUNet_wandb_enabled"] = "0"  # nothing leaves this machine
    log = work / "log.txt"
    command = [sys.executable, "-m", "ptsam_auto.baselines.nnunet_process", str(work.resolve()), device]
    with (
        log.open("w") as output,
        subprocess.Popen(
            command,
            env={**os.environ, **own},
            stdin=subprocess.PIPE,  # held open by us alone; its end is how the process learns of ours
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            while process.poll() is None:
                begun = re.findall(r"^.*: Epoch (\d+)\s*$", log.read_text(errors="replace"), re.MULTILINE)
                progress(int(begun[-1]) if begun else 0, config.epochs)
                time.sleep(POLL)
        finally:
            # Its own processes too; they are of its group.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").strip().splitlines()[-5:])
        raise PtsamError(f"nnU-Net stopped with exit code {process.returncode}; the end of {log}:\n{last}")


@contextmanager
def _silence() -> Iterator[None]:
    """Without what nnU-Net's predictor says about each of its steps."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield

"""`fit` for nnU-Net, which plans and trains by itself: what it is asked, and what it gives back."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

from ptsam_auto.baselines import nnunet
from ptsam_auto.baselines.nnunet import PREFIX, config_of
from ptsam_auto.data.dataset import Pair, fingerprint
from ptsam_auto.errors import ConfigError, Problem, listed
from ptsam_auto.fitting.made import Asked, Made
from ptsam_auto.show import Show

CPU_MEMORY_GB = 1.0  # for its planner, which sizes patch and batch for a GPU of 8 GB otherwise


def fit_nnunet(work: Path, train: Sequence[Pair], asked: Asked, show: Show) -> Made:
    """Train nnU-Net's 2-D configuration; interrupted and called again, it goes on from nnU-Net's last checkpoint.

    Args:
        work: made if it does not exist; nnU-Net's folders go there.
        train: the training images.
        asked: a person's choices.
        show: where progress goes.

    Raises:
        ConfigError: choices that nnU-Net does not have.
        PtsamError: nnU-Net is not installed, or failed.
    """
    _check(asked)
    given = asked.settings
    own = {f"{PREFIX}gpu_memory_gb": CPU_MEMORY_GB} if asked.device == "cpu" else {}
    config = config_of({**own, **given})
    key = hashlib.sha256(json.dumps([fingerprint(train), asdict(config)]).encode()).hexdigest()[:12]
    folder = work / f"nnunet-{key}"
    began = perf_counter()
    with show.bar("Training") as update:
        trained, curve = nnunet.train(
            train,
            folder,
            config,
            device=asked.device,
            progress=update,
        )
    sources = {}
    for name, value in asdict(config).items():
        path = PREFIX + name
        source = (
            "set by the user" if path in given else "ours, for a CPU" if path in own else "Sec. 4.1.3, or nnU-Net's"
        )
        sources[path] = {"value": value, "source": source}
    return Made(
        trained,
        curve,
        {
            "backbone": None,
            "adapt": "scratch",
            "method": {"name": nnunet.NAME, **asdict(config)},
            "design": trained.design,
            "settings": sources,
            "searched": None,
        },
        {"steps": config.epochs * config.steps_per_epoch, "views": 0, "seconds": perf_counter() - began},
    )


def _check(asked: Asked) -> None:
    """Say at once all that nnU-Net has no use for."""
    problems = [
        Problem(f"--set {path}", f"nnU-Net's own settings begin with {PREFIX}")
        for path in asked.settings
        if not path.startswith(PREFIX)
    ]
    unused = {
        "--backbone": asked.backbone != "auto" and "nnU-Net starts from scratch",
        "--adapt": asked.adapt is not None and "nnU-Net starts from scratch",
        "--batch-size": asked.batch_size is not None and "nnU-Net plans its own",
        "--workers": asked.workers > 1 and f"nnU-Net trains by itself; its helpers are {PREFIX}workers",
    }
    problems += [Problem(option, why) for option, why in unused.items() if why]
    if problems:
        raise ConfigError(listed("The command", problems, "Leave them out."))

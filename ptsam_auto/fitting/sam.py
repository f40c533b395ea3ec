"""`fit` for every method on a SAM: settings from the frozen defaults, features kept, one worker or many."""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ptsam_auto.data.dataset import Pair
from ptsam_auto.errors import ConfigError
from ptsam_auto.fitting.made import Asked, Made, columns
from ptsam_auto.methods import registry
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam import checkpoint
from ptsam_auto.show import Show
from ptsam_auto.specialist.predict import predict
from ptsam_auto.training import defaults, loop, resume
from ptsam_auto.training.bank import views_for
from ptsam_auto.training.loop import EpochReport
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.team import Team
from ptsam_auto.training.views import Supply


def fit_sam(work: Path, train: Sequence[Pair], held_out: Sequence[Pair], asked: Asked, show: Show) -> Made:
    """Train a method on a SAM; interrupted and called again, it goes on.

    Args:
        work: made if it does not exist; holds the bank and the checkpoint.
        train: the training images.
        held_out: images that it will be measured on.
        asked: a person's choices.
        show: where progress goes.

    Raises:
        PtsamError: see `pipeline.fit`; raised before any training wherever possible.
    """
    plan = _plan(asked, show)
    settings = plan.settings
    Team(0, asked.workers).check(settings.recipe.batch_size)
    met = _met(plan, [*train, *held_out])
    if met:
        show.say(met)
    model = registry.build(plan.backbone.sam.to(asked.device), settings.method, asked.seed)
    work.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    curve = _train(work, model, plan, train, asked, show)
    seconds = time.perf_counter() - began
    evidence = defaults.evidence(plan.backbone.family, plan.adapt, settings.method.name)
    bare = PromptFreeSam(plan.backbone.sam, mask_token=settings.method.mask_token, tiles=model.tiles)
    return Made(
        model.eval(),
        columns(curve),
        {
            "backbone": {"name": plan.backbone.name, "sha256": plan.backbone.sha256},
            "adapt": plan.adapt,
            **asdict(settings),
            "settings": plan.sources,
            "searched": {key: value for key, value in evidence.items() if key != "data"} if evidence else None,
        },
        {"steps": settings.recipe.steps, "views": settings.recipe.views_drawn(len(train)), "seconds": seconds},
        untuned=partial(predict, bare),
        alarms=[met] if met else [],
    )


@dataclass(frozen=True)
class _Plan:
    """What will be trained, and where each setting comes from."""

    backbone: checkpoint.Backbone
    adapt: str
    settings: Settings
    sources: dict[str, dict[str, Any]]


def _plan(asked: Asked, show: Show) -> _Plan:
    method, changes = asked.method, asked.settings
    registry.named(method)
    if "method.name" in changes:
        raise ConfigError("method.name cannot be set; choose a method with --method.")
    with show.bar("Backbone") as update:
        backbone = checkpoint.choose(asked.backbone, say=show.say, progress=update)
    family = backbone.family
    possible = defaults.adaptations(family, method)
    adapt = (
        asked.adapt or defaults.adaptation(family, "cuda" if asked.device.startswith("cuda") else "cpu", method).value
    )
    if adapt not in possible:
        raise ConfigError(f"{method} adapts the {possible[0]} only, not the {adapt}. Leave out --adapt {adapt}.")
    block = defaults.block(family, adapt, method)
    sources = {default.path: {"value": default.value, "source": default.source} for default in block}
    if asked.batch_size is not None:
        sources |= _for_batch_size(asked.batch_size, sources)
    sources |= {path: {"value": value, "source": "set by the user"} for path, value in changes.items()}
    settings = Settings.from_paths({path: source["value"] for path, source in sources.items()})
    return _Plan(backbone, adapt, settings, sources)


def _for_batch_size(batch_size: int, sources: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Another batch size, and the learning rate that goes with it: AdamW's steps grow with the batch's square root.

    See Malladi et al. 2022, "On the SDEs and scaling rules for adaptive gradient algorithms".
    """
    before, rate = (sources[path] for path in ("recipe.batch_size", "recipe.learning_rate"))
    scaled = rate["value"] * math.sqrt(batch_size / before["value"])
    why = f"{rate['value']} ({rate['source']}) x sqrt({batch_size} / {before['value']}), for a batch of {batch_size}"
    return {
        "recipe.batch_size": {"value": batch_size, "source": "set by the user"},
        "recipe.learning_rate": {"value": scaled, "source": why},
    }


def _met(plan: _Plan, pairs: Sequence[Pair]) -> str | None:
    """What is to be said where images chose the defaults that are now measured on them."""
    method = plan.settings.method.name
    found = defaults.met(plan.backbone.family, plan.adapt, method, (pair.digest for pair in pairs))
    if not found:
        return None
    sets = ", ".join(f"{count} of {name}" for name, count in found.items())
    return f"The defaults were chosen on {sum(found.values())} of these images ({sets}): do not quote this score."


def _key(plan: _Plan, train: Sequence[Pair], seed: int) -> str:
    """Names a training run by all that decides its result; only a checkpoint of the same run may continue it."""
    contents = {
        "backbone": plan.backbone.sha256,
        "settings": asdict(plan.settings),
        "train": [pair.digest for pair in train],
        "seed": seed,
        "version": version("ptsam-auto"),
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _train(
    work: Path, model: PromptFreeSam, plan: _Plan, train: Sequence[Pair], asked: Asked, show: Show
) -> list[EpochReport]:
    path, key, epochs = work / "checkpoint.safetensors", _key(plan, train, asked.seed), plan.settings.recipe.epochs
    training = loop.start(model, plan.settings.recipe)
    curve = resume.load(path, training, key)
    if asked.workers > 1 and len(curve) < epochs:
        curve = _train_together(work, training, plan, train, asked, show)
        resume.save(path, training, curve, key)
        return curve
    if curve:
        show.say(f"Continuing after epoch {curve[-1].epoch} of {epochs}.")
    with show.bar("Encoding") as update:
        supply = Supply.of(train, plan.settings, asked.seed)
        views = views_for(model, plan.backbone.sha256, supply, plan.settings.recipe, work / "bank", update)
    with show.bar("Training") as update:
        update(len(curve), epochs)
        for report in loop.epochs(training, views, plan.settings.recipe):
            curve.append(report)
            resume.save(path, training, curve, key)
            update(report.epoch, epochs, f"loss {report.loss:.3f}")
    return curve


def _train_together(
    work: Path, training: loop.Training, plan: _Plan, train: Sequence[Pair], asked: Asked, show: Show
) -> list[EpochReport]:
    from ptsam_auto.distributed.cluster import threads_each
    from ptsam_auto.distributed.train import Job, train_together

    job = Job(
        backbone=plan.backbone.name,
        sha256=plan.backbone.sha256,
        settings=plan.settings,
        pairs=tuple(train),
        seed=asked.seed,
        key=_key(plan, train, asked.seed),
        bank=(work / "bank").resolve(),
        workers=asked.workers,
        threads=threads_each(asked.workers, asked.address),
    )
    show.say(f"{asked.workers} workers train together, {job.threads} threads each.")
    gpu = training.model.device.type == "cuda"
    with show.bar("Training") as update:
        return train_together(
            job, training, work, use_gpu=gpu, storage=asked.storage, address=asked.address, progress=update
        )

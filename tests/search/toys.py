"""A search small enough for a test: discs, a toy SAM, trainings of a few steps."""

from ptsam_auto.experiment.folds import DatasetRecord, Fold
from ptsam_auto.experiment.work_folder import Origin
from ptsam_auto.experiment.workspace import Workspace
from ptsam_auto.sam.checkpoint import load
from ptsam_auto.search.record import Rung, SearchedBackbone, SearchRecord, SearchRequest, Trial
from ptsam_auto.search.space import Choice, Range, Resources, Space
from ptsam_auto.search.trial import Task
from ptsam_auto.specialist.record import BackboneRecord
from tests.toys import pairs

QUICK = {"recipe.epochs": 4, "recipe.steps_per_epoch": 2, "recipe.views": 2, "recipe.batch_size": 2}
YAML = """\
# A toy.
adapt: decoder
search:
  recipe.learning_rate: {log_uniform: [0.001, 0.2]}
  method.decoder_prompts: {choice: [1, 2, 8]}
fixed: {recipe.epochs: 4, recipe.steps_per_epoch: 2, recipe.views: 2, method.tiles: 1}
first:
  - {recipe.learning_rate: 0.05, method.decoder_prompts: 8}
trials: 4
splits: 2
train_images: 3
resources: {cpu: 1}
"""


def space(**rest):
    values = {
        "search": {"recipe.learning_rate": Range(0.001, 0.2, log=True), "method.decoder_prompts": Choice((1, 2, 8))},
        "fixed": QUICK,
        "first": ({"recipe.learning_rate": 0.05, "method.decoder_prompts": 8},),
        "trials": 4,
        "resources": Resources(),
    }
    return Space("toy", "# A toy.\n", **{**values, **rest})


def folds(load_with=None):
    """Two datasets, two splits each, of three training and two held-out images."""
    found = []
    for number, name in enumerate(("discs", "more")):
        for seed in range(2):
            five = pairs(5, start=20 * number + 5 * seed)
            if load_with is not None:
                five = [type(pair)(pair.name, pair.digest, load_with(pair)) for pair in five]
            found.append(Fold(f"{name}/{seed}", seed, tuple(five[:3]), tuple(five[3:])))
    return tuple(found)


def task(folder, toy, of=None, shares=(0.25, 0.5, 1.0)):
    backbone = load(toy)
    folder.mkdir(parents=True, exist_ok=True)
    return Task(Workspace(backbone, folder, 1, "cpu"), of or folds(), shares)


def record(**changes):
    """The record of a search on discs."""
    request = {
        "space": "toy",
        "exhaustive": False,
        "search": {"recipe.learning_rate": Range(0.001, 0.2, log=True), "method.decoder_prompts": Choice((1, 2, 8))},
        "method": "ptsam",
        "adapt": ("decoder",),
        "fixed": {},
        "first": (),
        "splits": 2,
        "train_images": 16,
        "stop_early": None,
        "backbone": ("a" * 64,),
        "data": {"discs": "f" * 64},
        "seed": 0,
    }
    request |= {name: changes.pop(name) for name in set(changes) & (request.keys() - {"backbone", "data"})}
    base = changes.pop("base", {})
    values = {
        "origin": Origin("0123", "2026-11-23T01:02:03+00:00", {"ray": "2"}, "c0ffee"),
        "request": SearchRequest(**request),
        "text": "# A toy.\n",
        "backbones": (SearchedBackbone("nano", "nano", BackboneRecord("nano", "a" * 64), {"decoder": base}),),
        "data": (DatasetRecord("discs", "f" * 64, ()),),
    }
    return SearchRecord(**{**values, **changes})


def ended(number, scores, state="finished", trainable=2048, **settings):
    """A trial with the same scores for each of two datasets; scores are a split's each."""
    values = {"recipe.learning_rate": 0.05, "recipe.epochs": 40, "recipe.steps_per_epoch": 20, "recipe.batch_size": 2}
    values |= {"recipe.views": 16, "method.tiles": 1, "method.decoder_prompts": trainable // 256, **settings}
    by_fold = {f"{name}/{seed}": dice for name in ("discs", "more") for seed, dice in enumerate(scores)}
    rung = Rung(1.0 if state == "finished" else 0.5, values["recipe.epochs"], 800, by_fold, 0.3, 12.0)
    configuration = {path: values[path] for path in ("recipe.learning_rate", "method.decoder_prompts")}
    return Trial(number, configuration, values, [rung], state, None, trainable, 0)

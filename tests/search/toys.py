"""A search small enough for a test: discs, a toy SAM, trainings of a few steps."""

from ptsam_auto.sam.checkpoint import load
from ptsam_auto.search.cells import Cell
from ptsam_auto.search.records import Rung, Trial
from ptsam_auto.search.space import Choice, Range, Resources, Space
from ptsam_auto.search.trial import Task
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


def cells(load_with=None):
    """Two datasets, two splits each, of three training and two held-out images."""
    found = []
    for number, name in enumerate(("discs", "more")):
        for seed in range(2):
            five = pairs(5, start=20 * number + 5 * seed)
            if load_with is not None:
                five = [type(pair)(pair.name, pair.digest, load_with(pair)) for pair in five]
            found.append(Cell(f"{name}/{seed}", seed, tuple(five[:3]), tuple(five[3:])))
    return tuple(found)


def task(folder, toy, of=None, shares=(0.25, 0.5, 1.0)):
    backbone = load(toy)
    folder.mkdir(parents=True, exist_ok=True)
    return Task(of or cells(), backbone.name, backbone.sha256, shares, folder, 2, 1, "cpu")


def ended(number, scores, state="finished", trainable=2048, **settings):
    """A trial with the same scores for each of two datasets; scores are a split's each."""
    values = {"recipe.learning_rate": 0.05, "recipe.epochs": 40, "recipe.steps_per_epoch": 20, "recipe.batch_size": 2}
    values |= {"recipe.views": 16, "method.tiles": 1, "method.decoder_prompts": trainable // 256, **settings}
    by_cell = {f"{name}/{seed}": dice for name in ("discs", "more") for seed, dice in enumerate(scores)}
    rung = Rung(1.0 if state == "finished" else 0.5, values["recipe.epochs"], 800, by_cell, 0.3, 12.0)
    configuration = {path: values[path] for path in ("recipe.learning_rate", "method.decoder_prompts")}
    return Trial(number, configuration, values, [rung], state, None, trainable, 0)

"""Measures whether annotating the images that `ptsam-auto suggest` names teaches more than annotating random ones.

    python benchmarks/suggest.py --data ../shared/data/nuclei_dsb2018 --seeds 5

For each seed, 8 random images of the train list of a dataset (with a splits.json that has the lists train and test) are
annotated, and the models of a cross-fit on them rank the rest of the train list, by the rule of `suggest`. Then one
model is trained on the 8 images and the 8 first ones of the ranking, and others on the same 8 images and 8 random ones
of the rest. All are measured on the images of the test list. The table shows the mean over the seeds, and the
difference between suggested and random images, paired over the seeds, with its standard error. With --all-ways there
are also rows for the first images alone, and for each factor of the rule alone.

To be cheap it uses a single member, nano with a frozen encoder, and no choice; change it with --set. The seed changes
the images, not the views, the initial values or the scale, so that each view is encoded once for all seeds.

If the command is interrupted, run it again to continue. `--table` only prints the table of the finished seeds. With 56
images to rank, a seed takes a few minutes on one core.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ptsam_auto import registry
from ptsam_auto.commands.command_line import read_settings
from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.leaks import shared
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.split import cross_folds
from ptsam_auto.device import choose_device
from ptsam_auto.experiment.backbone import choose_backbone
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.files import write_json
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.registry import Choices
from ptsam_auto.specialist.suggestion import choose
from ptsam_auto.specialist.uncertainty import disagreement
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.scale import scale_of
from ptsam_auto.training.trainer import SamTrainer

CHEAP = {"method.tiles": 1, "recipe.epochs": 10, "recipe.views": 4}
FOLDS = 4  # as in fit
TRAINING_SEED = 0
START, SUGGESTED, UNCERTAIN, DIFFERENT, RANDOM = (
    "first images only", "suggested", "only uncertain", "only different", "random",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", default=[], type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="Number of draws of the first images.")
    parser.add_argument("--first", type=int, default=8, help="Number of images that are annotated first.")
    parser.add_argument("--more", type=int, default=8, help="Number of images that are annotated next.")
    parser.add_argument("--random-draws", type=int, default=1, help="Number of random choices per seed; their mean.")
    parser.add_argument("--most-test", type=int, default=20, help="Largest number of test images.")
    parser.add_argument("--backbone", default="nano")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="PATH=VALUE")
    parser.add_argument("--out", type=Path, default=Path("suggest"), help="Folder for results and encoded images.")
    parser.add_argument("--all-ways", action="store_true", help="Measure each factor of the rule alone, too.")
    parser.add_argument("--table", action="store_true", help="Print the table only.")
    options = parser.parse_args()
    terminal = Terminal()
    options.out.mkdir(parents=True, exist_ok=True)
    for folder in [] if options.table else options.data:
        paths = {seed: options.out / f"{folder.resolve().name}-{seed}.json" for seed in range(options.seeds)}
        missing = [seed for seed, path in paths.items() if not path.exists()]
        if missing:
            experiment = Experiment(folder, options, terminal)
            for seed in missing:
                terminal.say(f"{folder.name}, seed {seed}")
                write_json(paths[seed], experiment.measured(seed))
    terminal.out.print(table([json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]))


class Experiment:
    """The images of a dataset, and a trainer whose encoded images all seeds share."""

    def __init__(self, folder: Path, options: argparse.Namespace, terminal: Terminal) -> None:
        self._name, self._options = folder.resolve().name, options
        self._train, self._test = lists(folder, options.most_test, terminal)
        self._device, self._bank = choose_device(None), options.out / "bank"
        settings = CHEAP | read_settings(options.settings)
        choices = Choices(backbone=options.backbone, adapt="decoder", settings=settings, device=self._device)
        backbone = choose_backbone(options.backbone, terminal)
        trainer = registry.method("ptsam").plan(choices, backbone, self._train).trainer
        assert isinstance(trainer, SamTrainer)
        # One scale for all trainings, so that they share the encoded images.
        method, image_size = trainer.settings.method, backbone.sam.image_encoder.img_size
        scale = scale_of(method.tiles, method.scale, self._train, image_size)
        self._trainer = replace(trainer, bank=self._bank, scale=scale)
        self._hash, self._settings = backbone.sha256, settings

    def measured(self, seed: int) -> dict[str, Any]:
        """Return the Dice on the test images after each way to choose the next images."""
        rng, first, more = np.random.default_rng(seed), self._options.first, self._options.more
        order = [self._train[index] for index in rng.permutation(len(self._train))]
        start, rest = order[:first], order[first:]
        # The command leaves such images out as well.
        alike = {pair.name for pair, _ in shared(rest, start)}
        new = [pair for pair in rest if pair.name not in alike]
        uncertainty, descriptors, annotated = self._looked_at(start, new)

        def ranked(unsure: Sequence[float]) -> list[Pair]:
            return [new[pick.index] for pick in choose(unsure, descriptors, annotated, more)]

        chosen = {
            SUGGESTED: [ranked(uncertainty)],
            RANDOM: [
                [rest[index] for index in rng.permutation(len(rest))[:more]] for _ in range(self._options.random_draws)
            ],
        }
        if self._options.all_ways:
            chosen |= {
                START: [[]],
                UNCERTAIN: [[new[index] for index in np.argsort(uncertainty)[::-1][:more]]],
                DIFFERENT: [ranked([1.0] * len(new))],
            }
        return {
            "dataset": self._name,
            "seed": seed,
            "settings": self._settings,
            "first": [pair.name for pair in start],
            "alike": sorted(alike),
            "uncertainty": dict(zip([pair.name for pair in new], uncertainty, strict=True)),
            "added": {way: [[pair.name for pair in draw] for draw in draws] for way, draws in chosen.items()},
            "dice": {way: [self._dice([*start, *draw]) for draw in draws] for way, draws in chosen.items()},
        }

    def _looked_at(self, start: Sequence[Pair], new: Sequence[Pair]) -> tuple[list[float], np.ndarray, np.ndarray]:
        """Return the disagreement of the folds on each new image, and descriptors of new and of annotated images."""
        folds = cross_folds(tuple(start), FOLDS, TRAINING_SEED)
        models = [self._model([pair for index, pair in enumerate(start) if index not in fold]) for fold in folds]
        unseen = self._held_out(new)
        predicted = zip(*(unseen.predictions(model) for model in models), strict=True)
        uncertainty = [disagreement(np.stack([one.probability for one in each])) for each in predicted]
        return uncertainty, unseen.descriptors(models[0]), self._held_out(start).descriptors(models[0])

    def _dice(self, images: Sequence[Pair]) -> float:
        return self._held_out(self._test).scores(self._model(images)).dice

    def _model(self, images: Sequence[Pair]) -> PromptFreeSam:
        with tempfile.TemporaryDirectory() as folder:
            model = self._trainer.train(images, TRAINING_SEED, Path(folder), self._device).model
        assert isinstance(model, PromptFreeSam)
        return model

    def _held_out(self, pairs: Sequence[Pair]) -> HeldOut:
        return HeldOut(self._bank, self._hash, pairs)


def lists(folder: Path, most_test: int, terminal: Terminal) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return the images of the train list, and of the test list."""
    with terminal.bar("Reading") as update:
        dataset = read_folder(folder.resolve(), ReadingOptions(), progress=update)
    names = json.loads((folder / "splits.json").read_text())
    by_name = {pair.name: pair for pair in dataset.pairs}
    return (
        tuple(by_name[name] for name in names["train"]),
        tuple(by_name[name] for name in names["test"][:most_test]),
    )


def table(results: Sequence[dict[str, Any]]) -> Table:
    """Return the table: mean Dice of each way over the seeds, and the paired differences to random images."""
    rows = Table("dataset", "next images", "Dice", "less random", "standard error", "better in seeds")
    for dataset in sorted({result["dataset"] for result in results}):
        own = [result for result in results if result["dataset"] == dataset]
        dice = {way: np.array([100 * np.mean(result["dice"][way]) for result in own]) for way in own[0]["dice"]}
        for way, values in dice.items():
            shown = ["", "", ""]
            if way not in (START, RANDOM):
                gain = values - dice[RANDOM]
                error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else float("nan")
                shown = [f"{gain.mean():+.1f}", f"{error:.1f}", f"{(gain > 0).sum()} of {len(gain)}"]
            rows.add_row(dataset, way, f"{values.mean():.1f}", *shown)
        rows.add_section()
    return rows


if __name__ == "__main__":
    main()

"""Each image is predicted by a model that never saw it, and the folds share what they can."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ptsam_auto.experiment.cross_fit import CrossFitting, seconds_spent
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import checkpoint, image_encoder
from ptsam_auto.terminal import Terminal
from ptsam_auto.training import joint, loop
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.scale import scale_of
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer, Trained
from tests.toys import pairs, sample

FOLDS = ((0, 3), (1, 4), (2,))


class Killed(Exception):
    pass


class Remembers:
    """A model that calls everything bright if it knows the image, else nothing."""

    def __init__(self, images):
        self.known = {image.load().image.tobytes() for image in images}
        self.size = len(images)

    def probability(self, image):
        return np.full(image.shape[:2], 0.9 if image.tobytes() in self.known else 0.1, np.float32)

    def trainable(self):
        return {"size": nn.Parameter(torch.tensor([float(self.size)]))}


class Fake:
    """A trainer that notes what it is given."""

    def __init__(self, killed_at=None):
        self.given, self.seeds, self.killed_at = [], [], killed_at

    def train(self, images, seed, folder, device, terminal=None):
        if len(self.given) == self.killed_at:
            raise Killed
        self.given.append([pair.name for pair in images])
        self.seeds.append(seed)
        return Trained(Remembers(images))


def fitted(trainer, folder, images=None, folds=FOLDS):
    return crossed(trainer, images or pairs(5), 7, folder, partial(HeldOut, folder / "bank", ""), folds=folds)


def crossed(trainer, images, seed, folder, held_out, terminal=None, folds=FOLDS):
    cross_fitting = CrossFitting("mine", trainer, tuple(images), folds, seed, folder, "cpu", held_out)
    cross_fitting.run(cross_fitting.missing, terminal)
    return cross_fitting.result()


def test_the_model_that_predicts_an_image_was_trained_on_the_others_alone(tmp_path):
    trainer = Fake()
    result = fitted(trainer, tmp_path)
    assert trainer.given == [["disc01", "disc02", "disc04"], ["disc00", "disc02", "disc03"],
                             ["disc00", "disc01", "disc03", "disc04"]]  # fmt: skip
    assert trainer.seeds == [7, 7, 7]
    assert [image.name for image in result.scores.images] == [f"disc0{i}" for i in range(5)], "in the given order"
    for image in range(5):
        probability = result.probability(image)
        assert (probability.shape, probability.dtype) == ((48, 64), np.float16)
        assert probability.max() < 0.5, "a model that knew the image would have 0.9"
    assert [load_file(result.learned(fold))["size"].item() for fold in range(3)] == [3, 3, 4]


def test_killed_in_the_middle_finished_folds_are_not_trained_again(tmp_path):
    with pytest.raises(Killed):
        fitted(Fake(killed_at=2), tmp_path / "killed")
    assert seconds_spent(tmp_path / "killed") > 0
    trainer = Fake()
    result = fitted(trainer, tmp_path / "killed")
    assert trainer.given == [["disc00", "disc01", "disc03", "disc04"]]
    undisturbed = fitted(Fake(), tmp_path / "undisturbed")
    assert result.scores == undisturbed.scores
    assert all(np.array_equal(result.probability(i), undisturbed.probability(i)) for i in range(5))


def test_folds_share_the_bank_even_if_the_images_differ_in_size(tmp_path, toy, monkeypatch):
    """No view and no tile is encoded twice, because all folds see the images at one scale."""
    backbone = checkpoint.load(toy)
    sizes = [(48, 64), (60, 90), (90, 120), (40, 150), (64, 64)]
    images = [replace(pair, load=partial(sample, i, *sizes[i])) for i, pair in enumerate(pairs(5))]
    recipe = Recipe(epochs=1, steps_per_epoch=8, batch_size=2, views=2)
    settings = Settings(method=PTSAMConfig(decoder_prompts=2, tiles=2), recipe=recipe)
    scale = scale_of(2, "absolute", images, 64)
    trainer = SamTrainer(backbone, settings, bank=tmp_path / "bank", scale=scale)
    encoded = []
    original = image_encoder.encode

    def counted(encoder, images_B3SS):
        encoded.extend(image.numpy().tobytes() for image in images_B3SS)
        return original(encoder, images_B3SS)

    monkeypatch.setattr(image_encoder, "encode", counted)
    result = crossed(trainer, images, 0, tmp_path / "work", partial(HeldOut, tmp_path / "bank", backbone.sha256))
    tiles = sum(len(scale.tiling.boxes(*size, 64)) for size in sizes)
    assert len(encoded) == 5 * 2 + tiles
    assert len(result.scores.images) == 5
    assert [result.probability(i).shape for i in range(5)] == sizes


class Shown(Terminal):
    """Keeps the progress; killed after some updates of the training."""

    def __init__(self, killed_at=None):
        silent = Terminal.silent()
        super().__init__(silent.console, silent.out)
        self.updates, self.killed_at = [], killed_at

    @contextmanager
    def bar(self, stage):
        def update(done, total, note="", table=None):
            if stage == "Training":
                self.updates.append((done, total))
                if len(self.updates) == self.killed_at:
                    raise Killed

        yield update


def test_folds_trained_together_give_what_they_give_one_after_another_also_if_killed(tmp_path, toy, monkeypatch):
    backbone = checkpoint.load(toy)
    recipe = Recipe(epochs=3, steps_per_epoch=2, batch_size=2, views=2)
    settings = Settings(method=PTSAMConfig(decoder_prompts=2), recipe=recipe)
    trainer = SamTrainer(backbone, settings, bank=tmp_path / "bank", scale=scale_of(1, "absolute", pairs(5), 64))

    def run(name, terminal):
        held_out = partial(HeldOut, tmp_path / "bank", backbone.sha256)
        return crossed(trainer, pairs(5), 0, tmp_path / name, held_out, terminal)

    apart = run("apart", Shown())
    trained, original = [], loop.epoch

    def counted(trainees, group):
        trained.append(len(trainees))
        return original(trainees, group)

    monkeypatch.setattr(loop, "epoch", counted)
    monkeypatch.setattr(joint, "pays", lambda device: True)
    with pytest.raises(Killed):
        run("together", Shown(killed_at=3))
    assert trained == [3, 3]
    shown = Shown()
    together = run("together", shown)
    assert trained == [3, 3, 3], "each fold goes on after the epochs that it has"
    assert shown.updates == [(6, 9), (9, 9)]
    for fold in range(3):
        mine, its = load_file(together.learned(fold)), load_file(apart.learned(fold))
        torch.testing.assert_close(mine, its, atol=1e-4, rtol=0)
    for image in range(5):
        np.testing.assert_allclose(together.probability(image), apart.probability(image), atol=2e-3)
    run("together", Shown(killed_at=1))
    assert trained == [3, 3, 3], "finished folds are not trained again"

"""The prompts in the package belong to weights that it can load, and to no others."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from ptsam_auto.adapt import learned
from ptsam_auto.adapt.learned import learned_prompts
from ptsam_auto.errors import ConfigError
from ptsam_auto.files import file_sha256
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam.checkpoint import PACKAGED, Backbone, nano_path
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.run import Job, Run, Start
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import trained
from tests.toys import pairs, toy_sam

FILES = sorted(Path(learned.__file__).parent.glob("*_scenes.safetensors"))
SCENES = Settings(PTSAMConfig(encoder_prompts=2, initial_prompts="scenes"))


def toy(sha256="a" * 64):
    return Backbone("toy", sha256, toy_sam())


def test_every_file_names_the_weights_that_the_package_loads():
    weights = {"nano": file_sha256(nano_path())} | {name: packaged.sha256 for name, packaged in PACKAGED.items()}
    assert FILES
    for path in FILES:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["learned"])
        assert path.name == f"{about['backbone']}_scenes.safetensors"
        assert about["sha256"] == weights[about["backbone"]]
        found = learned_prompts(Backbone(about["backbone"], about["sha256"], toy_sam()))
        assert found["decoder_prompts"].shape == (8, 256)
        assert all(values.isfinite().all() and values.dtype == torch.float32 for values in found.values())


def test_for_other_weights_there_are_none_and_the_message_says_what_to_do():
    names = " and ".join(path.name.removesuffix("_scenes.safetensors") for path in FILES)
    with pytest.raises(ConfigError) as caught:
        Run(Job(toy(), SCENES, tuple(pairs(2)), 0), "cpu", Path("bank"))
    assert str(caught.value) == (
        'method.initial_prompts is "scenes", but for the weights of toy no prompts were learned on scenes; there are '
        f"some for {names}.\nUse method.initial_prompts=random, as in the paper."
    )


def test_a_training_begins_at_them(monkeypatch, tmp_path):
    prompts = {"decoder_prompts": torch.rand(8, 256), "encoder_prompts": torch.rand(2, 8, 24)}
    monkeypatch.setattr("ptsam_auto.training.run.learned_prompts", lambda backbone: prompts)
    model = Run(Job(toy(), SCENES, tuple(pairs(2)), 0), "cpu", tmp_path).model
    assert torch.equal(model.encoder_prompts, prompts["encoder_prompts"][:, :2])
    assert torch.equal(model.decoder_prompts, prompts["decoder_prompts"])


def test_a_training_begins_at_the_prompts_of_another_and_is_not_taken_for_one_that_does_not(tmp_path):
    settings = Settings(PTSAMConfig(encoder_prompts=2, tiles=1), recipe=Recipe(epochs=1, steps_per_epoch=2))
    before = Run(Job(toy(), settings, tuple(pairs(2)), 0), "cpu", tmp_path)
    assert [report.step for report in before.epochs(checkpoint=tmp_path / "checkpoint.safetensors")] == [2]
    prompts = {name: values.detach() for name, values in before.model.trainable().items()}
    run = Run(Job(toy(), settings, tuple(pairs(2)), 0, start=Start(save(prompts), 2)), "cpu", tmp_path)
    for name, values in run.model.trainable().items():
        torch.testing.assert_close(values.detach(), prompts[name], atol=0, rtol=0)
    run.resume(tmp_path / "checkpoint.safetensors")
    assert (run.step, trained(run).steps_before, trained(before).steps_before) == (0, 2, 0)

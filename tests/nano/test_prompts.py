import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from nano.prompts import About, learn, write
from ptsam_auto.errors import ConfigError
from ptsam_auto.sam.checkpoint import load

ABOUT = About("toy", "a" * 64, mask_token=0, steps=40, learning_rate=0.02, seed=1)

pytestmark = pytest.mark.slow


def interrupted(*update):
    raise KeyboardInterrupt


def test_learning_prompts_goes_on_where_it_was_stopped_and_sam_stays_as_it_is(toy, tmp_path):
    backbone = load(toy)
    before = {name: tensor.clone() for name, tensor in backbone.sam.state_dict().items()}
    seen = []
    whole = learn(backbone, ABOUT, tmp_path / "whole", lambda *update: seen.append(update[:2]))
    assert seen == [(20, 40), (40, 40)]
    with pytest.raises(KeyboardInterrupt):
        learn(backbone, ABOUT, tmp_path / "half", interrupted)
    halves = learn(backbone, ABOUT, tmp_path / "half", lambda *update: seen.append(update[:2]))
    assert seen[2:] == [(40, 40)]
    for name, values in whole.trainable().items():
        assert torch.equal(values, halves.trainable()[name]), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.sam.state_dict().items())


def test_a_number_of_steps_that_would_be_cut_is_refused():
    with pytest.raises(ConfigError, match=r"^The number of steps is 50; expected a multiple of 20\.$"):
        replace(ABOUT, steps=50)


def test_what_is_common_to_the_concepts_is_written_with_what_it_was_learned_on(toy, tmp_path):
    model = learn(load(toy), ABOUT, tmp_path / "begun", lambda *update: None)
    sha256 = write(model, ABOUT, tmp_path / "prompts.safetensors")
    assert write(model, ABOUT, tmp_path / "again.safetensors") == sha256
    with safe_open(tmp_path / "prompts.safetensors", "pt") as file:
        assert set(file.keys()) == {"decoder_prompts", "encoder_prompts"}
        assert torch.equal(file.get_tensor("encoder_prompts"), model.encoder_prompts)
        about = json.loads(file.metadata()["learned"])
    assert about == {
        "backbone": "toy",
        "sha256": "a" * 64,
        "mask_token": 0,
        "steps": 40,
        "learning_rate": 0.02,
        "seed": 1,
    }

"""A run that was interrupted ends as if it had not been."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ptsam_auto.errors import PtsamError
from ptsam_auto.methods.ptsam import PTSAMConfig, build
from ptsam_auto.training import resume
from ptsam_auto.training.loop import epochs, start
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import FreshViews
from tests.toys import sampler, toy_sam

RECIPE = Recipe(epochs=4, steps_per_epoch=2)


def fresh(recipe=RECIPE):
    model = build(toy_sam(), PTSAMConfig(encoder_prompts=2), seed=0)
    return start(model, recipe), FreshViews(model, sampler(3))


def test_a_run_resumed_from_disk_ends_with_the_same_prompts(tmp_path):
    undisturbed, views = fresh()
    whole = list(epochs(undisturbed, views, RECIPE))

    path, curve = tmp_path / "run.safetensors", []
    first, views = fresh()
    for report in epochs(first, views, RECIPE):
        curve.append(report)
        resume.save(path, first, curve, "key")
        if report.epoch == 2:
            break

    second, views = fresh()
    curve = resume.load(path, second, "key")
    assert (second.step, len(curve)) == (4, 2)
    curve += list(epochs(second, views, RECIPE))

    assert [report.loss for report in curve] == [report.loss for report in whole]
    for name, tensor in second.model.trainable().items():
        assert torch.equal(tensor, undisturbed.model.trainable()[name])


def test_another_runs_checkpoint_or_a_damaged_one_starts_anew(tmp_path):
    path = tmp_path / "run.safetensors"
    training, views = fresh()
    resume.save(path, training, [next(epochs(training, views, RECIPE))], "key")
    other, _ = fresh()
    assert resume.load(path, other, "another key") == []
    assert other.step == 0
    path.write_bytes(path.read_bytes()[:100])
    assert resume.load(path, other, "key") == []
    assert resume.load(tmp_path / "absent.safetensors", other, "key") == []


@pytest.mark.parametrize("wrong", [
    {"metadata": None},
    {"metadata": {"key": "key", "step": "two", "curve": "[]"}},
    {"metadata": {"key": "key", "step": "2", "curve": "[{}]"}},
    {"metadata": {"key": "key", "step": "2", "curve": "{"}},
    {"metadata": {"key": "key", "step": "2"}},
    {"nan": "decoder_prompts"},
    {"nan": "encoder_prompts/exp_avg"},
    {"missing": "encoder_prompts/exp_avg"},
    {"missing": "decoder_prompts"},
])  # fmt: skip
def test_a_checkpoint_that_is_damaged_inside_counts_as_none_and_changes_nothing(tmp_path, wrong):
    path = tmp_path / "run.safetensors"
    training, views = fresh()
    resume.save(path, training, [next(epochs(training, views, RECIPE))], "key")
    with safe_open(path, framework="pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if "nan" in wrong:
        tensors[wrong["nan"]] = torch.full_like(tensors[wrong["nan"]], float("nan"))
    tensors.pop(wrong.get("missing"), None)
    save_file(tensors, path, metadata=wrong.get("metadata", about))
    other, _ = fresh()
    before = {name: tensor.clone() for name, tensor in other.model.trainable().items()}
    assert resume.load(path, other, "key") == []
    assert (other.step, len(other.optimiser.state)) == (0, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.model.trainable().items())


def test_a_loss_that_is_no_number_stops_the_run_with_advice():
    training, views = fresh()
    with torch.no_grad():
        training.model.decoder_prompts.fill_(float("nan"))
    with pytest.raises(PtsamError) as error:
        next(epochs(training, views, RECIPE))
    assert str(error.value) == (
        "The loss is nan at step 0; training cannot continue. Lower recipe.learning_rate (now 0.05) and fit again."
    )


def test_one_flipped_bit_in_a_checkpoint_is_noticed(tmp_path):
    """It would be finite numbers of the right shape, and other prompts than without the damage."""
    path = tmp_path / "run.safetensors"
    training, views = fresh()
    resume.save(path, training, [next(epochs(training, views, RECIPE))], "key")
    other, _ = fresh()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert resume.load(path, other, "key") == []
    assert other.step == 0
    content[-2] ^= 1
    path.write_bytes(content)
    assert len(resume.load(path, other, "key")) == 1

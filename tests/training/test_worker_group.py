"""Two workers that share every batch learn what one worker learns."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.methods.samed import SAMedConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.precision import full_precision
from ptsam_auto.training.bank import views_for
from ptsam_auto.training.loop import epochs, start
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup
from tests.toys import sampler

RECIPE = Recipe(epochs=3, steps_per_epoch=4, batch_size=4, learning_rate=0.01)
SHORT = replace(RECIPE, epochs=2, steps_per_epoch=1, batch_size=2)
# What is trained on each backbone, by a name; the frozen encoder's views come from a bank that the workers share.
TRAININGS = {
    "toy": {"ptsam": (PTSAMConfig(encoder_prompts=2), RECIPE), "samed": (SAMedConfig(), RECIPE)},
    "tiny": {
        "ptsam": (PTSAMConfig(encoder_prompts=2), SHORT),
        "frozen": (PTSAMConfig(), replace(SHORT, views=1)),
    },
}


def train(trainings, path, bank, group):
    """What each training learns, and the curve of its loss; in full precision, where only the order of sums differs."""
    backbone, learned, curves = checkpoint.load(path), {}, {}
    for name, (config, recipe) in trainings.items():
        training = start(sam_methods.build(backbone.sam, config, seed=0), recipe)
        views = views_for(training.model, backbone.sha256, sampler(5, recipe.batch_size, group), recipe, bank)
        with full_precision():
            curves[name] = torch.tensor([report.loss for report in epochs(training, views, recipe, group)])
        learned |= {f"{name}/{key}": tensor.detach() for key, tensor in training.model.trainable().items()}
    return learned | {f"{name}/curve": curve for name, curve in curves.items()}


def work(rank, trainings, path, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    learned = train(trainings, path, Path(folder, "bank"), WorkerGroup(rank, 2))
    save_file({name: tensor.contiguous() for name, tensor in learned.items()}, f"{folder}/{rank}.safetensors")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", TRAININGS)
def test_two_workers_learn_what_one_learns(backbone, request, tmp_path):
    trainings, path = TRAININGS[backbone], request.getfixturevalue(backbone)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=work, args=(rank, trainings, path, str(tmp_path))) for rank in range(2)]
    for worker in workers:
        worker.start()
    alone = train(trainings, path, tmp_path / "bank of one", SINGLE_WORKER)
    for worker in workers:
        worker.join(timeout=120)
        assert worker.exitcode == 0
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    for name, tensor in alone.items():
        assert first[name].equal(second[name]), f"{name}: workers drift apart"
        # Sums are taken in another order. Where a gradient is nothing but rounding, as in some of the decoder that
        # SAMed trains, AdamW's first steps make a whole step of that; the loss does not mind.
        if not name.startswith("samed/sam."):
            torch.testing.assert_close(first[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_a_batch_that_cannot_be_shared_out_is_refused():
    WorkerGroup(0, 2).check(4)
    with pytest.raises(ConfigError) as caught:
        WorkerGroup(0, 3).check(2)
    assert str(caught.value) == (
        "recipe.batch_size is 2, over all workers together; 3 workers cannot divide that evenly.\n"
        "Use fewer workers, or a larger batch: --batch-size 3"
    )

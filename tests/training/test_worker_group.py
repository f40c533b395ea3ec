"""Two workers that share every batch learn what one worker learns."""

import multiprocessing

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.methods.samed import SAMedConfig
from ptsam_auto.training.loop import epochs, start
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import FreshViews
from ptsam_auto.training.worker_group import SINGLE_WORKER, WorkerGroup
from tests.toys import sampler, toy_sam

RECIPE = Recipe(epochs=3, steps_per_epoch=4, batch_size=4, learning_rate=0.01)
METHODS = {"ptsam": PTSAMConfig(encoder_prompts=2), "samed": SAMedConfig()}


def train(group):
    """What each method learns, and the curve of its loss."""
    learned, curves = {}, {}
    for name, config in METHODS.items():
        training = start(sam_methods.build(toy_sam(), config, seed=0), RECIPE)
        views = FreshViews(training.model, sampler(5, RECIPE.batch_size, group))
        curves[name] = torch.tensor([report.loss for report in epochs(training, views, RECIPE, group)])
        learned |= {f"{name}/{key}": tensor.detach() for key, tensor in training.model.trainable().items()}
    return learned | {f"{name}/curve": curve for name, curve in curves.items()}


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    save_file({k: v.contiguous() for k, v in train(WorkerGroup(rank, 2)).items()}, f"{folder}/{rank}.safetensors")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_learn_what_one_learns(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=work, args=(rank, str(tmp_path))) for rank in range(2)]
    for worker in workers:
        worker.start()
    alone = train(SINGLE_WORKER)
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

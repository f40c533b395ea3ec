"""Joint training: several prompt sets on one frozen SAM take one pass through its decoder in each step.

`groups` decides which runs are trained together; `run.epochs` trains a group. The results are those of separate
trainings, up to rounding.

On a CPU runs are trained one after another: the products of matrices for two images already occupy a core. With one
thread, 4 prompt sets together are 0.98 times and 16 are 1.00 times as fast as one after another (CPU time, nano, see
docs/results/speed.md). On a GPU they are trained together, because a step for two images does not fill it: on an H200 4
prompt sets together are 2.6 times and 16 are 3.5 times as fast as one after another (ViT-B, in the same place).

What does not depend on the prompts is not shared between sets: on nano it is 7 % of a step (the projections of the
first layer), and different folds seldom draw the same view in the same step.
"""

from collections.abc import Sequence

import torch

from ptsam_auto.training.run import Run

MOST_IMAGES = 32  # per step of a group, for the memory of the device


def pays(device: torch.device) -> bool:
    """Return whether joint training is faster on a device: on all but the CPU, see above."""
    return device.type != "cpu"


def joinable(run: Run) -> bool:
    """Return whether a run can be trained together with others: decoder prompts alone, with one worker.

    With a tuned encoder or decoder, runs have no pass of the network in common.
    """
    return run.group.size == 1 and set(run.model.trainable()) == {"decoder_prompts"}


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Divide runs into groups that are trained one after another; the runs of a group are trained together."""
    divided: list[list[Run]] = []
    for run in runs:
        last = divided[-1] if divided else []
        images = sum(other.job.settings.recipe.batch_size for other in [*last, run])
        together = pays(run.model.device) and joinable(run)
        if last and together and joinable(last[0]) and images <= MOST_IMAGES:
            last.append(run)
        else:
            divided.append([run])
    return divided

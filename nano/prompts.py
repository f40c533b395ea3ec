"""Learns prompts on rendered scenes, at which a training on the same backbone can begin (method.initial_prompts).

All concepts of all scenes and all filters (see `tasks.concept_tasks`) are learned at once on the frozen SAM. The
prompts of the image encoder are the same for all of them; the decoder prompts of a concept are common ones plus a
difference of its own. What is common is written, and the differences are not.
"""

# V concepts  P prompts  D = 256  T tasks of an image  S input side, px  w side of the decoder's masks, px

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nano.batches import draw_prompted_image, vocabulary
from nano.checkpoint import write_tensors
from nano.sources import Regions, Scenes
from nano.tasks import Task
from ptsam_auto.adapt.prompts import new_decoder_prompts, new_encoder_prompts
from ptsam_auto.errors import ConfigError
from ptsam_auto.files import json_sha256
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.sam.mask_decoder import decode
from ptsam_auto.sam.preprocess import to_input
from ptsam_auto.sam.published import Sam
from ptsam_auto.training import resume
from ptsam_auto.training.loop import Training
from ptsam_auto.training.loss import segmentation_loss
from ptsam_auto.training.recipe import Recipe

PROMPTS = 8  # as many as a specialist has in the paper, in the decoder and in each layer of the encoder
COMMON_STD, DIFFERENCE_STD = 0.1, 0.03  # standard deviations of the initial decoder prompts
EPOCH = 20  # steps between two checkpoints
SOURCE = Scenes()


class ConceptPrompts(PromptFreeSam):
    """A frozen SAM with prompts for many concepts.

    Args:
        sam: SAM; its weights are set to frozen.
        mask_token: Index of the mask that is the output.
        seed: Random seed of the initial prompts.

    Attributes:
        differences_VPD: What is added to the common decoder prompts for each concept.
    """

    def __init__(self, sam: Sam, mask_token: int, seed: int) -> None:
        sam.requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        common = new_decoder_prompts(PROMPTS, COMMON_STD, generator)
        super().__init__(sam, common, new_encoder_prompts(sam.image_encoder, PROMPTS, generator), mask_token)
        self.numbers = {name: number for number, name in enumerate(vocabulary(SOURCE))}
        differences = new_decoder_prompts(len(self.numbers) * PROMPTS, DIFFERENCE_STD, generator)
        self.differences_VPD = nn.Parameter(differences.reshape(len(self.numbers), PROMPTS, -1))

    def loss(self, regions: Regions, tasks: Sequence[Task], recipe: Recipe) -> Tensor:
        """Return the mean of the tasks' training losses, each as in a training with one image."""
        features_1256GG = self.encode(to_input(self.sam, regions.image, self.image_size)[None])
        numbers = torch.tensor([self.numbers[task.concept] for task in tasks])
        assert self.decoder_prompts is not None
        prompts_TPD = self.decoder_prompts + self.differences_VPD.index_select(0, numbers)
        features = features_1256GG.expand(len(tasks), -1, -1, -1)
        logits_Tww = decode(self.sam, features, prompts_TPD, self.mask_token, self.background_token)
        height, width = regions.labels.shape
        target_TSS = torch.zeros(len(tasks), self.image_size, self.image_size)
        target_TSS[:, :height, :width] = torch.from_numpy(np.stack([task.target for task in tasks]))
        inside_1SS = torch.zeros(1, self.image_size, self.image_size)
        inside_1SS[:, :height, :width] = 1
        shrink = self.image_size // logits_Tww.shape[-1]
        target_Tww, inside_1ww = F.avg_pool2d(target_TSS, shrink), F.avg_pool2d(inside_1SS, shrink)
        losses = [
            segmentation_loss(logits_Tww[[row]], target_Tww[[row]], inside_1ww, recipe.cross_entropy_weight).total
            for row in range(len(tasks))
        ]
        return torch.stack(losses).mean()


@dataclass(frozen=True)
class About:
    """What is written with the prompts.

    Args:
        backbone: Name of the frozen SAM.
        sha256: SHA-256 of its weights; the prompts are used with no others.
        mask_token: Index of the mask that was the output.
        steps: Number of steps, each with one scene and up to three tasks; a multiple of `EPOCH`.
        learning_rate: Initial learning rate of AdamW; it is annealed to 0.
        seed: Random seed.

    Raises:
        ConfigError: The number of steps is no multiple of `EPOCH`.
    """

    backbone: str
    sha256: str
    mask_token: int
    steps: int
    learning_rate: float
    seed: int

    def __post_init__(self) -> None:
        if self.steps < EPOCH or self.steps % EPOCH:
            raise ConfigError(f"The number of steps is {self.steps}; expected a multiple of {EPOCH}.")


def learn(
    backbone: Backbone, about: About, checkpoint: Path, progress: Callable[[int, int, str], None]
) -> ConceptPrompts:
    """Learn prompts.

    Args:
        backbone: Frozen SAM.
        about: Settings of the run.
        checkpoint: File for the state of the run, from which the same run continues.
        progress: Function that is called with (steps done, all steps, the loss in words).
    """
    recipe = Recipe(learning_rate=about.learning_rate, epochs=about.steps // EPOCH, steps_per_epoch=EPOCH)
    model = ConceptPrompts(backbone.sam, about.mask_token, about.seed)
    optimiser = torch.optim.AdamW(model.trainable().values(), lr=recipe.learning_rate, weight_decay=0.0)
    training = Training(model, optimiser)
    key = json_sha256(asdict(about))
    resume.load(checkpoint, training, key)
    while training.step < recipe.steps:
        losses = []
        for _ in range(EPOCH):
            loss = model.loss(*_drawn(about.seed, training.step, model.image_size), recipe)
            optimiser.zero_grad()
            loss.backward()
            for parameters in optimiser.param_groups:
                parameters["lr"] = recipe.learning_rate_at(training.step)
            optimiser.step()
            training.step += 1
            losses.append(float(loss.detach()))
        resume.save(checkpoint, training, [], key)
        progress(training.step, recipe.steps, f"loss {np.mean(losses):.3f}")
    return model


def _drawn(seed: int, step: int, size: int) -> tuple[Regions, list[Task]]:
    """Return the scene of a step and its concepts; it depends on seed and step alone."""
    for index in count():
        item = draw_prompted_image(SOURCE, seed, step, index, size)
        if tasks := [task for task in item.tasks if task.prompt_type == "concept"]:
            return item.regions, tasks
    raise AssertionError


def write(model: ConceptPrompts, about: About, path: Path) -> str:
    """Write what is common to all concepts, and return the SHA-256 of the file; see `checkpoint.write_tensors`."""
    learned = model.trainable()
    tensors = {name: learned[name].detach() for name in ("decoder_prompts", "encoder_prompts")}
    return write_tensors(tensors, path, "learned", asdict(about))

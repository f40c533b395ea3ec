"""State of a training: weights, their running average and AdamW's moments, which can be saved and resized."""

# S input side, px

import itertools
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nano.auxiliary import AuxiliaryHeads
from nano.batches import Batch
from nano.loss import BatchLoss, batch_loss
from nano.recipe import Recipe
from ptsam_auto.sam.network import Architecture, build, from_state, resized
from ptsam_auto.sam.published import Sam, TwoWayTransformer

PARTS = ("weights", "average", "first", "second")  # parts of the state; the last two are AdamW's moments
UNTRAINED = ("prompt_encoder.mask_downscaling.",)  # not trained, because no task has a mask as its prompt
AUXILIARY = "auxiliary."  # prefix of the auxiliary heads' tensors, which are not exported
CONCEPTS = AUXILIARY + "concept_prompts_VPD"
CONCEPT_RATE_FACTOR = 20  # times the network's learning rate, because each concept is in one task of a hundred

State = dict[str, Tensor]


class Learner:
    """One network in training.

    Args:
        state: Weights with SAM's names, for any input size.
        size: S, input size of the training, px.
        recipe: Recipe of the training.
        concepts: Number of concepts with learned prompts.

    Attributes:
        sam: Network, with gradients.
        auxiliary: Auxiliary heads that are trained with the network, with gradients.
        average: Running average of all trained parameters.
        step: Number of steps done.
        images: Number of images used.
        seconds: Time spent in steps.
    """

    def __init__(self, state: Mapping[str, Tensor], size: int, recipe: Recipe, concepts: int = 1) -> None:
        self.recipe = recipe
        self.step, self.images, self.seconds = 0, 0, 0.0
        weights = resized({name: tensor.float() for name, tensor in state.items()}, size)
        self.auxiliary = AuxiliaryHeads(concepts)
        weights |= {AUXILIARY + name: tensor.clone() for name, tensor in self.auxiliary.state_dict().items()}
        moments = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        self._place({"weights": weights, "average": weights, "first": moments, "second": moments}, size)

    def _place(self, parts: dict[str, State], size: int) -> None:
        """Build network and optimiser at `size` from the four parts (of this size)."""
        self.size = size
        self.sam: Sam = from_state(
            {name: tensor.clone() for name, tensor in without_auxiliary(parts["weights"]).items()}
        )
        auxiliary = {n.removeprefix(AUXILIARY): t for n, t in parts["weights"].items() if n.startswith(AUXILIARY)}
        self.auxiliary.load_state_dict(auxiliary)
        self.average: State = {name: tensor.clone() for name, tensor in parts["average"].items()}
        self.trained: dict[str, nn.Parameter] = {}
        of_auxiliary = ((AUXILIARY + name, parameter) for name, parameter in self.auxiliary.named_parameters())
        for name, parameter in itertools.chain(self.sam.named_parameters(), of_auxiliary):
            if not name.startswith(UNTRAINED):
                self.trained[name] = parameter.requires_grad_(True)
                # Zero and not None, so that every step updates every tensor, independent of the tasks in the batch.
                parameter.grad = torch.zeros_like(parameter)
        concepts = self.trained[CONCEPTS]
        matrices = [p for p in self.trained.values() if p.ndim > 1 and p is not concepts]
        others = [p for p in self.trained.values() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.recipe.decay, "rate_factor": 1},
            {"params": others, "weight_decay": 0.0, "rate_factor": 1},
            {"params": [concepts], "weight_decay": 0.0, "rate_factor": CONCEPT_RATE_FACTOR},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, betas=self.recipe.betas)
        for name, parameter in self.trained.items():
            self.optimiser.state[parameter] = {
                "step": torch.tensor(float(self.step)),
                "exp_avg": parts["first"][name].clone(),
                "exp_avg_sq": parts["second"][name].clone(),
            }

    def parts(self) -> dict[str, State]:
        """Return all tensors that training changes, by part and name; they are not copied."""
        weights = self.sam.state_dict() | {AUXILIARY + name: t for name, t in self.auxiliary.state_dict().items()}
        moments = {name: self.optimiser.state[parameter] for name, parameter in self.trained.items()}
        zero = torch.zeros(())
        first = {
            name: moments[name]["exp_avg"] if name in moments else zero.expand_as(weights[name]) for name in weights
        }
        second = {
            name: moments[name]["exp_avg_sq"] if name in moments else zero.expand_as(weights[name]) for name in weights
        }
        return {"weights": weights, "average": self.average, "first": first, "second": second}

    def resize(self, size: int) -> None:
        """Change the input size; position embeddings, their average and their moments are interpolated."""
        if size != self.size:
            parts = {part: resized(state, size) for part, state in self.parts().items()}
            # Bicubic interpolation overshoots, and a second moment must not be negative.
            parts["second"] = {name: tensor.clamp(min=0) for name, tensor in parts["second"].items()}
            self._place(parts, size)

    def restore(self, parts: dict[str, State], size: int, step: int, images: int, seconds: float) -> None:
        """Continue from a saved state."""
        self.step, self.images, self.seconds = step, images, seconds
        self._place(parts, size)

    def train_step(self, batch: Batch, progress: float) -> tuple[BatchLoss, float, float]:
        """Train one step on one batch.

        Args:
            batch: Batch of the learner's size.
            progress: Fraction of the run that is done, 0 to 1.

        Returns:
            The loss of the batch, the learning rate, and the norm of the gradient before clipping.
        """
        start = time.monotonic()
        rate = self.recipe.learning_rate(self.step, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate_factor"]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            loss = batch_loss(self.sam, self.auxiliary, batch, self.recipe.balance_at(progress), self.recipe.detail)
        self.optimiser.zero_grad(set_to_none=False)
        loss.loss.backward()
        norm = float(nn.utils.clip_grad_norm_(list(self.trained.values()), self.recipe.clip))
        self.optimiser.step()
        keep = self.recipe.averaging_at(self.step)
        with torch.no_grad():
            for name, parameter in self.trained.items():
                self.average[name].lerp_(parameter, 1 - keep)
        self.step += 1
        self.images += len(batch.images)
        self.seconds += time.monotonic() - start
        return loss, rate, norm

    def averaged(self, size: int) -> Sam:
        """Return the averaged weights as a frozen network of any input size."""
        return from_state(resized(without_auxiliary(self.average), size))


def without_auxiliary(state: Mapping[str, Tensor]) -> State:
    """Return the tensors without those of the auxiliary heads."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(AUXILIARY)}


def random_weights(architecture: Architecture, seed: int) -> State:
    """Return random weights for training from scratch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sam = build(architecture)
        nn.init.normal_(sam.image_encoder.pos_embed, std=0.02)
        tie_queries_and_keys(sam.mask_decoder.transformer)
    return sam.state_dict()


@torch.no_grad()
def tie_queries_and_keys(transformer: TwoWayTransformer) -> None:
    """Initialise every cross-attention of the decoder so that it attends to the position of the prompt.

    Position codes match themselves (the sum of cos(w (x - y)) has its maximum at x = y) only if queries and keys are
    projected in the same way. Without this the decoder ignored its prompts for more than 600 steps.
    """
    cross_attentions = [
        attention
        for layer in transformer.layers
        for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token)
    ]
    for attention in [*cross_attentions, transformer.final_attn_token_to_image]:
        attention.q_proj.weight.mul_(2)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        attention.q_proj.bias.zero_()
        attention.k_proj.bias.zero_()

"""The network while it learns: weights, running average and AdamW's moments, ready to be saved and resized."""

# S input side, px

import itertools
import time
from collections.abc import Mapping

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import Tensor, nn

from ptsam_auto.pretrain.batches import Batch
from ptsam_auto.pretrain.beside import Beside
from ptsam_auto.pretrain.objective import Judged, judge
from ptsam_auto.pretrain.recipe import Recipe
from ptsam_auto.sam.generalist import Architecture, build, from_state, resized

PARTS = ("weights", "average", "first", "second")  # what is kept of a tensor; the last two are AdamW's moments
UNTRAINED = ("prompt_encoder.mask_downscaling.",)  # nobody prompts nano with a mask
BESIDE = "beside."  # what is learned beside the network stands among the weights by this name, and is not exported
CONCEPTS = BESIDE + "concepts_VPD"
CONCEPT_HASTE = 20  # their learning rate over the network's: a concept comes up once in a hundred tasks

State = dict[str, Tensor]


class Learner:
    """One network in training.

    Args:
        state: its weights, SAM's names, for any input size.
        size: S to train at.
        recipe: the plan.
        concepts: how many it learns to be called by a prompt of their own.

    Attributes:
        sam: the network, with gradients.
        beside: what is learned with it, with gradients.
        average: the running average of all that is trained.
        step: steps done.
        images: images seen.
        seconds: time spent in steps.
    """

    def __init__(self, state: Mapping[str, Tensor], size: int, recipe: Recipe, concepts: int = 1) -> None:
        self.recipe = recipe
        self.step, self.images, self.seconds = 0, 0, 0.0
        weights = resized({name: tensor.float() for name, tensor in state.items()}, size)
        self.beside = Beside(concepts)
        weights |= {BESIDE + name: tensor.clone() for name, tensor in self.beside.state_dict().items()}
        moments = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        self._place({"weights": weights, "average": weights, "first": moments, "second": moments}, size)

    def _place(self, parts: dict[str, State], size: int) -> None:
        """Build network and optimiser at `size` from the four parts (of this size)."""
        self.size = size
        self.sam: Sam = from_state({name: tensor.clone() for name, tensor in network(parts["weights"]).items()})
        beside = {n.removeprefix(BESIDE): t for n, t in parts["weights"].items() if n.startswith(BESIDE)}
        self.beside.load_state_dict(beside)
        self.average: State = {name: tensor.clone() for name, tensor in parts["average"].items()}
        self.trained: dict[str, nn.Parameter] = {}
        beside_named = ((BESIDE + name, parameter) for name, parameter in self.beside.named_parameters())
        for name, parameter in itertools.chain(self.sam.named_parameters(), beside_named):
            if not name.startswith(UNTRAINED):
                self.trained[name] = parameter.requires_grad_(True)
                # A zero rather than no gradient: every tensor takes part in every step, whatever a batch asked.
                parameter.grad = torch.zeros_like(parameter)
        concepts = self.trained[CONCEPTS]
        matrices = [p for p in self.trained.values() if p.ndim > 1 and p is not concepts]
        others = [p for p in self.trained.values() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.recipe.decay, "haste": 1},
            {"params": others, "weight_decay": 0.0, "haste": 1},
            {"params": [concepts], "weight_decay": 0.0, "haste": CONCEPT_HASTE},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, betas=self.recipe.betas)
        for name, parameter in self.trained.items():
            self.optimiser.state[parameter] = {
                "step": torch.tensor(float(self.step)),
                "exp_avg": parts["first"][name].clone(),
                "exp_avg_sq": parts["second"][name].clone(),
            }

    def parts(self) -> dict[str, State]:
        """Everything that training changes, by part and name; the tensors are the learner's own."""
        weights = self.sam.state_dict() | {BESIDE + name: t for name, t in self.beside.state_dict().items()}
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
        """Go on at another input size: positions, their average and their moments are interpolated alike."""
        if size != self.size:
            parts = {part: resized(state, size) for part, state in self.parts().items()}
            # Bicubic interpolation overshoots, and a second moment is not negative.
            parts["second"] = {name: tensor.clamp(min=0) for name, tensor in parts["second"].items()}
            self._place(parts, size)

    def restore(self, parts: dict[str, State], size: int, step: int, images: int, seconds: float) -> None:
        """Become what `parts` were saved from."""
        self.step, self.images, self.seconds = step, images, seconds
        self._place(parts, size)

    def learn(self, batch: Batch, progress: float) -> tuple[Judged, float, float]:
        """One step on one batch.

        Args:
            batch: of the learner's size.
            progress: 0 to 1 through the whole run.

        Returns:
            What the batch was judged at, the learning rate, and the gradient's norm before clipping.
        """
        start = time.monotonic()
        rate = self.recipe.learning_rate(self.step, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["haste"]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            judged = judge(self.sam, self.beside, batch, self.recipe.balance_at(progress), self.recipe.detail)
        self.optimiser.zero_grad(set_to_none=False)
        judged.loss.backward()
        norm = float(nn.utils.clip_grad_norm_(list(self.trained.values()), self.recipe.clip))
        self.optimiser.step()
        keep = self.recipe.averaging_at(self.step)
        with torch.no_grad():
            for name, parameter in self.trained.items():
                self.average[name].lerp_(parameter, 1 - keep)
        self.step += 1
        self.images += len(batch.images)
        self.seconds += time.monotonic() - start
        return judged, rate, norm

    def averaged(self, size: int) -> Sam:
        """The running average as a frozen network at any size."""
        return from_state(resized(network(self.average), size))


def network(state: Mapping[str, Tensor]) -> State:
    """What of a learner's weights is SAM."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(BESIDE)}


def fresh(architecture: Architecture, seed: int) -> State:
    """Weights to start from scratch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sam = build(architecture)
        nn.init.normal_(sam.image_encoder.pos_embed, std=0.02)
        tie_queries_and_keys(sam.mask_decoder.transformer)
    return sam.state_dict()


@torch.no_grad()
def tie_queries_and_keys(transformer: TwoWayTransformer) -> None:
    """Let every cross-attention of the decoder look where the prompt is, to begin with.

    Codes of positions match themselves (the sum of cos(w (x - y)) peaks at x = y) only if queries and keys see them
    through the same projection. Without this the decoder ignored its prompts for more than 600 steps.
    """
    crossing = [
        attention
        for layer in transformer.layers
        for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token)
    ]
    for attention in [*crossing, transformer.final_attn_token_to_image]:
        attention.q_proj.weight.mul_(2)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        attention.q_proj.bias.zero_()
        attention.k_proj.bias.zero_()

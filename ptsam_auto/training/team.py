"""Workers that take every step together: each computes its share of the batch, and all end with the same numbers.

Plain torch.distributed; who started the processes does not matter. A worker alone needs none of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from ptsam_auto.errors import ConfigError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Team:
    """One worker's place among the workers of torch.distributed's default group.

    Args:
        rank: from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def check(self, batch_size: int) -> None:
        """The batch is that of all workers together, so that their number changes nothing but the time it takes.

        Raises:
            ConfigError: it cannot be shared out evenly.
        """
        if batch_size % self.size:
            larger = -(-batch_size // self.size) * self.size
            raise ConfigError(
                f"recipe.batch_size is {batch_size}, over all workers together; {self.size} workers cannot share that "
                f"out evenly.\nTake fewer workers, or a larger batch: --batch-size {larger}"
            )

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This worker's part of what all see together."""
        return items[self.rank :: self.size]

    def sum(self, values: Tensor) -> Tensor:
        """Of all workers' values; each one's gradient is that of its own part."""
        return values if self.size == 1 else _Sum.apply(values)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up what all workers' parts say; all that is ever sent is as large as what is learned."""
        if self.size == 1:
            return
        # One message for all, and one layout for all: a worker may have no gradient where another has one.
        known = list(parameters)
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in known])
        reached = torch.tensor([p.grad is not None for p in known], dtype=flat.dtype, device=flat.device)
        message = torch.cat([flat, reached])
        distributed.all_reduce(message)
        parts = message[: len(flat)].split([p.numel() for p in known])
        for parameter, part, reached_by in zip(known, parts, message[len(flat) :].tolist(), strict=True):
            # AdamW leaves alone what no gradient reached, so that has to stay without one.
            parameter.grad = part.view_as(parameter) if reached_by else None


ALONE = Team()


class _Sum(torch.autograd.Function):
    """All-reduce whose gradient stays at home.

    Every worker has the same loss, a function of the sums. Its gradient by the sums reaches each worker's own part
    unchanged, and adding up the parameters' gradients over the workers gives that of the whole batch.
    """

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - autograd's
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - autograd's
        return gradients[0]

"""Data-parallel training: each worker computes its share of every batch, and all have the same parameters after a step.

It uses torch.distributed and works with any launcher. A single worker does not use it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from ptsam_auto.errors import ConfigError

Item = TypeVar("Item")


@dataclass(frozen=True)
class WorkerGroup:
    """Rank of one worker and number of workers in torch.distributed's default process group.

    Args:
        rank: Rank of this worker, from 0.
        size: Number of workers (world size).
    """

    rank: int = 0
    size: int = 1

    def check(self, batch_size: int) -> None:
        """Check that the batch of all workers together can be divided evenly.

        The number of workers then changes the duration of a training, but not its result.

        Raises:
            ConfigError: The batch cannot be divided evenly.
        """
        if batch_size % self.size:
            larger = -(-batch_size // self.size) * self.size
            raise ConfigError(
                f"recipe.batch_size is {batch_size}, over all workers together; {self.size} workers cannot divide that "
                f"evenly.\nUse fewer workers, or a larger batch: --batch-size {larger}"
            )

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this worker's share of the items."""
        return items[self.rank :: self.size]

    def sum(self, values: Tensor) -> Tensor:
        """Sum values over all workers (all-reduce). The gradient flows only to this worker's own values."""
        return values if self.size == 1 else _Sum.apply(values)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all workers, in one message that is as large as the learned parameters."""
        if self.size == 1:
            return
        # The message has the same layout in every worker, because a worker may lack a gradient that another one has.
        params = list(parameters)
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in params])
        has_gradient = torch.tensor([p.grad is not None for p in params], dtype=flat.dtype, device=flat.device)
        message = torch.cat([flat, has_gradient])
        distributed.all_reduce(message)
        gradients = message[: len(flat)].split([p.numel() for p in params])
        for parameter, gradient, workers in zip(params, gradients, message[len(flat) :].tolist(), strict=True):
            # Parameters without a gradient keep grad = None, because AdamW then skips them.
            parameter.grad = gradient.view_as(parameter) if workers else None


SINGLE_WORKER = WorkerGroup()


class _Sum(torch.autograd.Function):
    """All-reduce in the forward pass, identity in the backward pass.

    Every worker has the same loss, which is a function of the sums. The gradient with respect to the sums is passed
    unchanged to each worker's own values. The sum of the parameters' gradients over the workers is then the gradient of
    the whole batch.
    """

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - autograd's
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401, ARG004 - autograd's
        return gradients[0]

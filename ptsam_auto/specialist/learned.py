"""The size of what a model has learned."""

from dataclasses import dataclass

from ptsam_auto.methods.model import Model


@dataclass(frozen=True)
class LearnedSize:
    """The number of learned parameters of a model.

    Args:
        trainable: Number of learned parameters.
        bytes: Size of the learned parameters in bytes.
    """

    trainable: int
    bytes: int


def learned_size(model: Model) -> LearnedSize:
    """Return the number of learned parameters of a model, and their size."""
    parameters = model.trainable().values()
    return LearnedSize(
        trainable=sum(parameter.numel() for parameter in parameters),
        bytes=sum(parameter.nbytes for parameter in parameters),
    )

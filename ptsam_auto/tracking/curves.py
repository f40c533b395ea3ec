"""Learning curves as metrics of MLflow; the same names everywhere."""

from collections.abc import Mapping, Sequence
from typing import Any

# Our names of the columns of a learning curve; "dice" there is a loss.
CURVES = {"loss": "loss/total", "cross_entropy": "loss/cross_entropy", "dice": "loss/dice"}


def curve_metrics(curve: Mapping[str, Sequence[float]], time_ms: int, after: int = 0) -> list[Any]:
    """Return the metrics of a learning curve.

    Args:
        curve: The column "step", and one column per quantity.
        time_ms: Time of the metrics, ms since 1970.
        after: Step after which the curve is wanted.
    """
    from mlflow.entities import Metric

    return [
        Metric(CURVES.get(key, key), value, time_ms, int(step))
        for key, column in curve.items()
        if key != "step"
        for value, step in zip(column, curve["step"], strict=True)
        if step > after
    ]

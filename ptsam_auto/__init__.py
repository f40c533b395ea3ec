"""Prompt-tune the Segment Anything Model into a specialist for your images.

from ptsam_auto import fit, load_specialist

specialist = fit("new_dataset")
specialist.scores.frame()                                        # the scores of each image, as a data frame
mask = load_specialist("new_dataset-specialist").predict(image)  # H W 3 uint8 -> H W bool
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptsam_auto.api import evaluate, fit, predict_folder
    from ptsam_auto.specialist.artifact import Specialist, load_specialist

    __version__: str

__all__ = [
    "Specialist",
    "__version__",
    "evaluate",
    "fit",
    "load_specialist",
    "predict_folder",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import on first use: torch takes seconds, and `ptsam-auto --help` does not need it."""
    if name in ("evaluate", "fit", "predict_folder"):
        from ptsam_auto import api

        return getattr(api, name)
    if name in ("Specialist", "load_specialist"):
        from ptsam_auto.specialist import artifact

        return getattr(artifact, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("ptsam-auto")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

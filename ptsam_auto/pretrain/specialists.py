"""A generalist put to its use: PTSAM from a few images of one set, always with the same settings."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from segment_anything.modeling import Sam

from ptsam_auto.data.dataset import Pair
from ptsam_auto.methods import ptsam
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.training import defaults, loop
from ptsam_auto.training.bank import views_for
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.views import Supply

Progress = Callable[[int, int], None]


# What a search may freeze anew at any time; weights of today and of tomorrow are judged with the same (Sec. 4.1.3).
PAPERS = {"method.decoder_prompts": 8, "method.prompt_std": 0.1}
RATES = {"decoder": 0.05, "encoder": 0.01}


def judging_settings(adapt: str, steps: int | None) -> Settings:
    """What `fit` uses on nano, unasked, but for the paper's prompts and learning rate.

    Args:
        adapt: "decoder" or "encoder" (deep prompts as well).
        steps: fewer or more of them, rounded up to whole epochs; None for the default.
    """
    values = {default.path: default.value for default in defaults.block("nano", adapt)}
    values |= {**PAPERS, "recipe.learning_rate": RATES[adapt]}
    if steps is not None:
        values["recipe.epochs"] = math.ceil(steps / Settings.from_paths(values).recipe.steps_per_epoch)
    return Settings.from_paths(values)


def specialise(
    sam: Sam, sha256: str, pairs: Sequence[Pair], settings: Settings, seed: int, scratch: Path, progress: Progress
) -> tuple[PromptFreeSam, float]:
    """Train prompts on a frozen SAM.

    Args:
        sam: frozen, and left as it is.
        sha256: of its weights, or any name for them.
        pairs: the training images.
        settings: all of them.
        seed: of the prompts' start, order and views.
        scratch: folder for a feature bank that is deleted again.
        progress: called with (steps done, steps in all).

    Returns:
        The specialist, and the CPU seconds it took, encoding included.
    """
    began = time.process_time()
    model = ptsam.build(sam, settings.method, seed)
    recipe = settings.recipe
    with tempfile.TemporaryDirectory(dir=scratch, prefix="bank-") as bank:
        views = views_for(model, sha256, Supply.of(pairs, settings, seed), recipe, Path(bank))
        for report in loop.epochs(loop.start(model, recipe), views, recipe):
            progress(report.step, recipe.steps)
    return model, time.process_time() - began

"""What people look at: overlays of held-out images, the learning curve, and report.html with both."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ptsam_auto.specialist.evaluate import Scores
from ptsam_auto.svg import save_svg

FOUND = (60, 150, 255)  # blue
MISSED = (255, 150, 0)  # orange: false negative, as in the paper's Fig. 6
INVENTED = (230, 30, 30)  # red: false positive, as in the paper's Fig. 6
SIDE = 480  # px, the longest side of a picture in the report


@dataclass(frozen=True)
class Panel:
    """One held-out image of the report.

    Args:
        name: the image's.
        dice: of the tuned specialist, 0 to 1.
        untuned_dice: of the same SAM without learned prompts; None where there is none.
        picture: image and overlay side by side, H 2W 3 uint8.
    """

    name: str
    dice: float
    untuned_dice: float | None
    picture: np.ndarray

    @property
    def source(self) -> str:
        """The picture as a data URI, so that the report is one file."""
        buffer = io.BytesIO()
        Image.fromarray(self.picture).save(buffer, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def overlay(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """The image with its mask: blue where found; against a truth also orange where missed, red where invented.

    Args:
        image: H W 3, uint8.
        predicted: H W, bool.
        truth: H W, bool, or None where it is not known.

    Returns:
        H W 3, uint8.
    """
    layers = [(predicted, FOUND)]
    if truth is not None:
        layers = [(predicted & truth, FOUND), (truth & ~predicted, MISSED), (predicted & ~truth, INVENTED)]
    result = image.astype(np.float32)
    for where, colour in layers:
        strength = 0.35 if colour == FOUND else 0.65
        result[where] = (1 - strength) * result[where] + strength * np.array(colour, np.float32)
    return result.round().astype(np.uint8)


def beside(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Image and overlay side by side, each at most SIDE px long: h 2w 3 uint8."""
    both = np.concatenate([image, overlay(image, predicted, truth)], axis=1)
    picture = Image.fromarray(both)
    picture.thumbnail((2 * SIDE, SIDE))
    return np.asarray(picture)


def learning_curve(curve: Mapping[str, Sequence[float]]) -> str:
    """Loss and its parts over the steps, as SVG text.

    Args:
        curve: a column each of "step", "loss" and, if they are known, its parts.
    """
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for key, label in [("loss", "loss"), ("dice", "Dice part"), ("cross_entropy", "cross-entropy part")]:
        if key in curve:
            axes.plot(curve["step"], curve[key], label=label)
    axes.set(xlabel="step", ylabel="training loss", ylim=(min(0, *curve["loss"]), None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    save_svg(figure, buffer)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def write_report(
    path: Path, title: str, about: dict[str, Any], curve: Mapping[str, Sequence[float]], panels: Sequence[Panel]
) -> None:
    """Write report.html, one self-contained file.

    Args:
        path: of the file.
        title: what the specialist is called.
        about: the contents of specialist.json.
        curve: see `learning_curve`.
        panels: held-out images; shown from the worst to the best.
    """
    template = jinja2.Environment(autoescape=True).from_string(
        (resources.files("ptsam_auto.specialist") / "report.html.j2").read_text()
    )
    tuned = Scores.from_dict(about["scores"]["tuned"])
    untuned = Scores.from_dict(about["scores"]["untuned"]) if about["scores"]["untuned"] else None
    text = template.render(
        title=title,
        about=about,
        tuned=tuned,
        untuned=untuned,
        untuned_dice={image.name: image.dice for image in untuned.images} if untuned else {},
        curve=learning_curve(curve),
        panels=sorted(panels, key=lambda panel: panel.dice),
        colours={"found": FOUND, "missed": MISSED, "invented": INVENTED},
    )
    path.write_text(text)

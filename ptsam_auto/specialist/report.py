"""Writes report.html: overlays of images, the scores, how the members were chosen, and the learning curves."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ptsam_auto.files import write_text
from ptsam_auto.specialist.record import SpecialistRecord, TriedRecord
from ptsam_auto.svg import save_svg

TRUE_POSITIVE = (60, 150, 255)  # Blue.
FALSE_NEGATIVE = (255, 150, 0)  # Orange, as in the paper's Fig. 6.
FALSE_POSITIVE = (230, 30, 30)  # Red, as in the paper's Fig. 6.
# Colours that colour-blind readers tell apart (Okabe and Ito 2008), and that are seen on grey and on pink tissue.
CLASS_COLOURS = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)
PICTURE_SIDE = 480  # Longest side of a picture in the report, px.


@dataclass(frozen=True)
class Panel:
    """One image of the report, with a prediction by a model that was not trained on it.

    Args:
        name: Name of the image.
        dice: Dice of the specialist, 0 to 1.
        untuned_dice: Dice of the untuned SAM, or None.
        picture: Image and overlays side by side, H 2W 3 or H 3W 3, uint8.
    """

    name: str
    dice: float
    untuned_dice: float | None
    picture: np.ndarray

    @property
    def source(self) -> str:
        """Return the picture as a data URI, so that the report is one file."""
        buffer = io.BytesIO()
        Image.fromarray(self.picture).save(buffer, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def overlay(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Return the image with its mask drawn on top.

    The mask is blue, or each class has its colour of CLASS_COLOURS. If `truth` is given, blue is correct, orange is
    missed (false negative), and red is wrong (false positive).

    Args:
        image: Image, H W 3, uint8.
        predicted: Predicted mask, H W, bool or class numbers.
        truth: Annotated mask, H W, bool, or None if it is not known.

    Returns:
        Picture, H W 3, uint8.
    """
    layers = [(predicted, TRUE_POSITIVE)]
    if predicted.dtype != bool:
        layers = [(predicted == number, class_colour(number)) for number in np.unique(predicted) if number]
    elif truth is not None:
        layers = [
            (predicted & truth, TRUE_POSITIVE),
            (truth & ~predicted, FALSE_NEGATIVE),
            (predicted & ~truth, FALSE_POSITIVE),
        ]
    result = image.astype(np.float32)
    for where, colour in layers:
        strength = 0.35 if colour == TRUE_POSITIVE else 0.65 if predicted.dtype == bool else 0.5
        result[where] = (1 - strength) * result[where] + strength * np.array(colour, np.float32)
    return result.round().astype(np.uint8)


def side_by_side(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return image and overlay side by side, each at most PICTURE_SIDE px long: h 2w 3 uint8.

    With several classes these are the image, the annotation and the prediction: h 3w 3.
    """
    parts = [image, overlay(image, predicted, truth)]
    if predicted.dtype != bool:
        parts = [image, overlay(image, truth.astype(np.uint8)), overlay(image, predicted)]
    picture = Image.fromarray(np.concatenate(parts, axis=1))
    picture.thumbnail((len(parts) * PICTURE_SIDE, PICTURE_SIDE))
    return np.asarray(picture)


def class_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class by its number, counted from 1; after the last colour they repeat."""
    return CLASS_COLOURS[(int(number) - 1) % len(CLASS_COLOURS)]


def learning_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return a figure of the loss over the steps, as SVG text: with its parts for one member, or one line per member.

    Args:
        curves: Curve of each member: columns "step" and "loss", and the parts of the loss if they are known.
    """
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    lowest = min(min(curve["loss"]) for curve in curves.values())
    if len(curves) == 1:
        (curve,) = curves.values()
        for key, label in [("loss", "loss"), ("dice", "Dice part"), ("cross_entropy", "cross-entropy part")]:
            if key in curve:
                axes.plot(curve["step"], curve[key], label=label)
    else:
        for name, curve in curves.items():
            axes.plot(curve["step"], curve["loss"], label=name)
    axes.set(xlabel="step", ylabel="training loss", ylim=(min(0, lowest), None))
    axes.legend(frameon=False)
    return _svg(figure)


def members_figure(tried: Sequence[TriedRecord], chosen: Mapping[str, float]) -> str:
    """Return a figure of the cross-fitted Dice of each image, one row per member, as SVG text.

    Args:
        tried: The members that were tried.
        chosen: Weight of each chosen member, by name.
    """
    rows = sorted(tried, key=lambda row: row.dice)
    figure = Figure(figsize=(7, 0.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for position, row in enumerate(rows):
        colour = "#3c96ff" if row.name in chosen else "#8a96a6"
        points = [100 * dice for dice in row.dice_of_images]
        axes.plot(points, [position] * len(points), "o", color=colour, alpha=0.45, markersize=5, markeredgewidth=0)
        axes.plot([100 * row.dice] * 2, [position - 0.3, position + 0.3], color=colour, linewidth=2.5)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set(
        xlabel="Dice of each image by cross-fitting, in percent; the line is the mean", ylim=(-0.6, len(rows) - 0.4)
    )
    return _svg(figure)


def _svg(figure: Figure) -> str:
    """Return a figure as SVG text without an XML header."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    save_svg(figure, buffer)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def write_report(
    path: Path,
    title: str,
    record: SpecialistRecord,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    panels: Sequence[Panel],
) -> None:
    """Write report.html, which needs no other files.

    Args:
        path: Path of the file.
        title: Title of the report.
        record: Contents of specialist.json.
        curves: Learning curve of each member; see `learning_curves`.
        panels: Images with predictions; the worst is shown first.
    """
    template = jinja2.Environment(autoescape=True).from_string(
        (resources.files("ptsam_auto.specialist") / "report.html.j2").read_text(encoding="utf-8")
    )
    main = record.scores.main
    untuned = record.scores.untuned_test if record.scores.test else record.scores.untuned
    blank = {image.name for image in main.images} - {image.name for image in main.measured}
    weights = {member.name: member.weight for member in record.members}
    text = template.render(
        title=title,
        record=record,
        main=main,
        weights=weights,
        blank=len(blank),
        blank_names=blank,
        untuned=untuned,
        untuned_dice={image.name: image.dice for image in untuned.images} if untuned else {},
        curves=learning_curves(curves) if any(curves.values()) else "",
        members_figure=members_figure(record.choice.tried, weights) if record.choice else "",
        panels=sorted(panels, key=lambda panel: panel.dice),
        colours={
            "true_positive": TRUE_POSITIVE,
            "false_negative": FALSE_NEGATIVE,
            "false_positive": FALSE_POSITIVE,
        },
        classes=[
            (name, class_colour(number), dice)
            for number, (name, dice) in enumerate(zip(record.classes, main.of_classes, strict=True), start=1)
        ],
    )
    write_text(path, text)

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

from ptsam_auto.data.dataset import Sample
from ptsam_auto.files import write_text
from ptsam_auto.specialist.record import SpecialistRecord, TriedRecord
from ptsam_auto.svg import embedded

# As in the paper's Fig. 6, but yellow instead of orange, which is the same as red to many colour-blind readers.
TRUE_POSITIVE = (60, 150, 255)  # Blue.
FALSE_NEGATIVE = (240, 228, 66)  # Yellow.
FALSE_POSITIVE = (213, 60, 0)  # Red.
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
class Pictures:
    """Pictures of one image, each h w 3, uint8, at most PICTURE_SIDE px long.

    Args:
        image: The image.
        annotation: The image with the annotated mask.
        prediction: The image with the predicted mask; see `overlay`.
        missed: Fraction of the annotated foreground that is not predicted, or has another class; None without one.
        wrong: Fraction of the predicted foreground that is not annotated, or has another class; None without one.
    """

    image: np.ndarray
    annotation: np.ndarray
    prediction: np.ndarray
    missed: float | None
    wrong: float | None

    @classmethod
    def of(cls, sample: Sample, predicted: np.ndarray) -> "Pictures":
        """Draw the masks of an image.

        Args:
            sample: Image and annotation.
            predicted: Predicted mask, H W, bool or class numbers.
        """
        counted = ~sample.ignored_pixels
        right = np.count_nonzero((predicted == sample.mask) & (predicted > 0) & counted)
        marked, found = (np.count_nonzero((mask > 0) & counted) for mask in (sample.mask, predicted))
        several = predicted.dtype != bool
        return cls(
            image=small(sample.image),
            annotation=small(overlay(sample.image, sample.mask)),
            prediction=small(overlay(sample.image, predicted, None if several else sample.mask)),
            missed=1 - right / marked if marked else None,
            wrong=1 - right / found if found else None,
        )


def small(pixels: np.ndarray, side: int = PICTURE_SIDE) -> np.ndarray:
    """Return a picture, H W 3, uint8, at most `side` px long."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    return np.asarray(picture)


@dataclass(frozen=True)
class Panel:
    """One image of the report, with a prediction by a model that was not trained on it.

    Args:
        name: Name of the image.
        dice: Dice of the specialist, 0 to 1.
        untuned_dice: Dice of the untuned SAM, or None.
        pictures: Its pictures.
    """

    name: str
    dice: float
    untuned_dice: float | None
    pictures: Pictures

    @property
    def side_by_side(self) -> np.ndarray:
        """Return image, annotation and prediction side by side, h 3w 3 uint8."""
        return np.concatenate([self.pictures.image, self.pictures.annotation, self.pictures.prediction], axis=1)

    @property
    def sources(self) -> dict[str, str]:
        """Return the pictures as data URIs, so that the report is one file."""
        own = self.pictures
        pictures = {"image": own.image, "annotation": own.annotation, "prediction": own.prediction}
        return {kind: data_uri(pixels) for kind, pixels in pictures.items()}

    @property
    def what_went_wrong(self) -> str:
        """Return in words what is missed and what is wrong; "" for a blank image."""
        missed, wrong = self.pictures.missed, self.pictures.wrong
        if missed is None:
            return ""
        if wrong is None:
            return "nothing is found"
        return f"{100 * missed:.0f} % of the foreground is missed, {100 * wrong:.0f} % of what is found is wrong"


def data_uri(pixels: np.ndarray) -> str:
    """Return a picture, H W 3, uint8, as JPEG in an address, so that a page is one file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def overlay(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Return the image with its mask drawn on top.

    The mask is blue, or each class has its colour of CLASS_COLOURS. If `truth` is given, blue is correct, yellow is
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


def class_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class by its number, counted from 1; after the last colour they repeat."""
    return CLASS_COLOURS[(int(number) - 1) % len(CLASS_COLOURS)]


def class_palette() -> bytes:
    """Return red, green and blue of each value of a mask of class numbers: 0 is black."""
    return bytes([0, 0, 0] + [part for number in range(1, 256) for part in class_colour(number)])


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
    return embedded(figure)


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
    return embedded(figure)


def methods_paragraph(record: SpecialistRecord) -> str:
    """Return a paragraph for the methods section of a paper."""
    parts = []
    for member in record.members:
        name = member.backbone.name if member.backbone else member.name
        what = {"decoder": "prompts in the mask decoder", "encoder": "prompts in mask decoder and image encoder"}
        how = (
            what.get(member.adapt, "a network trained from scratch")
            if member.method.get("name") == "ptsam"
            else member.name
        )
        if member.method.get("initial_prompts") == "scenes":
            how += " (beginning at prompts learned on rendered scenes)"
        weight = f" (weight {100 * member.weight:.0f} %)" if len(record.members) > 1 else ""
        before = f" after {member.steps_before} on a part of the images" if member.steps_before else ""
        parts.append(f"{name}, {how}, {member.steps} optimiser steps{before}{weight}")
    classes = f", with a prompt set for each of {len(record.classes)} classes" if record.classes else ""
    text = (
        f"Images were segmented with PTSAM (Piater, Barz and Freytag 2025) as implemented in ptsam-auto "
        f"{record.versions.get('ptsam-auto', '')}: {'; '.join(parts)}{classes}. {record.cost.trainable:,} numbers were "
        f"learned from {len(record.data.train)} annotated images; all other weights are those of the frozen network."
    )
    scores = record.scores
    if scores.crossfit and scores.expected:
        images = len(scores.crossfit.images)
        every = images == len(record.data.train)
        how = (
            f"{len(record.data.folds)}-fold cross-fitting on these" if every else f"cross-fitting on {images} of these"
        )
        text += (
            f" In {how} images the mean Dice was "
            f"{100 * scores.crossfit.dice:.1f} %; on new images {100 * scores.expected.dice:.1f} % are expected "
            f"(95 % interval of the mean {100 * scores.expected.low:.1f} to {100 * scores.expected.high:.1f} %)."
        )
    if scores.test:
        text += f" On {len(scores.test.measured)} test images the mean Dice was {100 * scores.test.dice:.1f} %."
    return text


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
    measured = sorted(main.measured, key=lambda image: image.dice)
    text = template.render(
        title=title,
        record=record,
        main=main,
        weights=weights,
        worst=measured[0],
        median=float(np.median([image.dice for image in measured])),
        methods=methods_paragraph(record),
        blank=len(blank),
        blank_names=blank,
        untuned=untuned,
        untuned_dice={image.name: image.dice for image in untuned.images} if untuned else {},
        curves=learning_curves(curves) if any(curves.values()) else "",
        members_figure=members_figure(record.choice.tried, weights) if record.choice else "",
        panels=sorted(panels, key=lambda panel: (panel.name in blank, panel.dice)),
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

"""Writes suggested.html: pictures of the images to annotate, one file that needs no others."""

# H W size of an image, px

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np

from ptsam_auto.files import write_text
from ptsam_auto.specialist.report import TRUE_POSITIVE, data_uri, overlay, small
from ptsam_auto.specialist.suggestion import Suggestion
from ptsam_auto.specialist.uncertainty import LARGEST, Assessment

UNSURE = (255, 150, 0)  # Orange.
SIDE = 320  # Longer side of a picture, px.


@dataclass(frozen=True)
class Card:
    """One image of the page.

    Args:
        suggestion: The image, and why it is suggested.
        pictures: Image, image with mask, and image with uncertainty, as data URIs.
    """

    suggestion: Suggestion
    pictures: tuple[str, str, str]


def card_of(suggestion: Suggestion, image: np.ndarray, assessment: Assessment) -> Card:
    """Return the card of an image, H W 3, uint8, RGB."""
    strength = (assessment.uncertainty / LARGEST)[..., None]
    unsure = np.rint((1 - strength) * image + strength * np.array(UNSURE)).astype(np.uint8)
    shown, masked, doubtful = (data_uri(small(one, SIDE)) for one in (image, overlay(image, assessment.mask), unsure))
    return Card(suggestion, (shown, masked, doubtful))


def write_page(path: Path, cards: Sequence[Card]) -> None:
    """Write the page.

    Raises:
        OSError: The file cannot be written.
    """
    template = jinja2.Environment(autoescape=True).from_string(
        (resources.files("ptsam_auto.specialist") / "suggestion_page.html.j2").read_text(encoding="utf-8")
    )
    write_text(path, template.render(cards=cards, found=TRUE_POSITIVE, unsure=UNSURE))

"""The contact sheet of a folder: a summary, the problems, and the images with their masks drawn in.

The page is one file without scripts and without external resources. It supports light and dark themes, and small and
large screens.
"""

# H W  size of an image, px  h w  size of a thumbnail, px

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import jinja2
import numpy as np
from PIL import Image

from ptsam_auto.data.dataset import Pair
from ptsam_auto.data.folder import Findings
from ptsam_auto.data.inspection import Looked
from ptsam_auto.data.meaning import Meaning
from ptsam_auto.data.pages import attempt
from ptsam_auto.errors import Problem
from ptsam_auto.files import write_text

GENERATOR = '<meta name="generator" content="ptsam-auto check">'  # marks pages that ptsam-auto has written
SIDE = 360  # px, longer side of a thumbnail
MOST = 60  # maximum number of images on the page
FOREGROUND, OUTLINE, IGNORED = (60, 150, 255), (255, 214, 0), (150, 150, 150)
Colour = tuple[int, ...]
VALUES: tuple[Colour, ...] = ((230, 75, 60), (60, 150, 255), (40, 180, 100), (250, 190, 20), (160, 90, 220))


@dataclass(frozen=True)
class Card:
    """One image of the page.

    Args:
        name: Name of the pair.
        drawn: Image with its mask, as a data URI.
        plain: Image alone, as a data URI.
        facts: Further information, a few words each.
        width: w, width of the thumbnail, px.
        height: h, height of the thumbnail, px.
    """

    name: str
    drawn: str
    plain: str
    facts: tuple[str, ...]
    width: int
    height: int


def write_contact_sheet(path: Path, title: str, findings: Findings | None, problems: Sequence[Problem] = ()) -> None:
    """Write the page.

    Args:
        path: Path of the HTML file.
        title: Name of the folder.
        findings: Result of reading the folder; None if nothing could be read.
        problems: Problems of a folder that could not be read.

    Raises:
        OSError: The file cannot be written.
    """
    cards, legend = ([], {}) if findings is None else _cards(findings)
    template = jinja2.Environment(autoescape=True).from_string(
        (resources.files("ptsam_auto.data") / "contact_sheet.html.j2").read_text(encoding="utf-8")
    )
    text = template.render(
        title=title,
        rows=findings.dataset.understanding.rows() if findings else [],
        problems=[*problems, *sorted(findings.problems if findings else (), key=lambda problem: problem.where)],
        advice=findings.advice if findings else "",
        cards=cards,
        images=len(findings.looked) if findings else 0,
        legend=legend,
    )
    write_text(path, text)


def _cards(findings: Findings) -> tuple[list[Card], dict[str, str]]:
    """Return the images of the page, and a legend of the colours."""
    looked = findings.looked
    if len(looked) > MOST:
        looked = tuple(looked[place] for place in np.linspace(0, len(looked) - 1, MOST).round().astype(int))
    pairs = {pair.name: pair for pair in findings.dataset.pairs}
    certain = all(one.meaning(findings.meaning) is not None for one in findings.looked)
    colours = {} if certain else _colours(findings.looked)
    cards = [card for one in looked if (card := _card(one, findings, pairs.get(one.pair.name), colours)) is not None]
    if certain:
        legend = {"foreground": _css(FOREGROUND)}
        ignored = any(pair_ignores(one, findings.meaning) for one in findings.looked)
        return cards, legend | ({"takes no part": _css(IGNORED)} if ignored else {})
    return cards, {value: _css(colour) for value, colour in colours.items()}


def pair_ignores(looked: Looked, meaning: Meaning | None) -> bool:
    """Return whether a page has ignored pixels."""
    own = looked.meaning(meaning)
    return own is not None and any(looked.mask.is_one_of(value, own.ignored) for value in looked.mask.values)


def _card(looked: Looked, findings: Findings, pair: Pair | None, colours: dict[str, Colour]) -> Card | None:
    problems: list[Problem] = []
    folder = findings.dataset.folder
    reading = findings.dataset.understanding.reading
    image = attempt(lambda: looked.entry.image.read(looked.page.image, reading), folder, problems)
    if image is None:  # the file has changed since it was read the first time
        return None
    shrunk = _shrunk(image)
    size = (shrunk.shape[1], shrunk.shape[0])
    meaning = looked.meaning(findings.meaning)
    share = ""
    if meaning is None:
        codes = cv2.resize(looked.mask.codes().astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
        drawn = shrunk
        for place, value in enumerate(looked.mask.values):
            if value != 0:
                drawn = _tinted(drawn, codes == place, colours[_value(value, colours)], outline=False)
    else:
        mask, ignored = meaning.of(looked.mask)
        share = "blank" if not mask.any() else f"{100 * (mask > 0).mean():.1f} % foreground"
        drawn = shrunk
        if ignored is not None:
            drawn = _tinted(drawn, _nearest(ignored, size), IGNORED, outline=False)
        drawn = _tinted(drawn, _nearest(mask, size), FOREGROUND, outline=True)
    facts = [f"{image.shape[1]} x {image.shape[0]} px", share]
    if pair is not None:
        facts += [f"group {pair.group}" if pair.group else "", pair.part]
    return Card(looked.pair.name, _uri(drawn), _uri(shrunk), tuple(fact for fact in facts if fact), *size)


def _shrunk(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def _tinted(image: np.ndarray, where: np.ndarray, colour: Colour, *, outline: bool) -> np.ndarray:
    strength = 0.35 if outline else 0.6
    result = image.astype(np.float32)
    result[where] = (1 - strength) * result[where] + strength * np.array(colour, np.float32)
    picture = result.round().astype(np.uint8)
    if outline:
        contours, _ = cv2.findContours(where.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, OUTLINE, 1)
    return picture


def _colours(looked: Sequence[Looked]) -> dict[str, Colour]:
    """Return a colour for each mask value except 0; all values beyond the number of colours have the last one."""
    values = sorted({str(value) for one in looked for value in one.mask.values if value != 0})
    named = dict(zip(values[: len(VALUES) - 1], VALUES, strict=False))
    return named | ({"others": VALUES[-1]} if len(values) >= len(VALUES) else {})


def _value(value: object, colours: dict[str, Colour]) -> str:
    return str(value) if str(value) in colours else "others"


def _css(colour: Colour) -> str:
    return f"rgb({', '.join(map(str, colour))})"


def _uri(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

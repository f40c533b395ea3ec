"""Writes figures as SVG; the same figure always gives the same bytes."""

import io
from typing import IO

import matplotlib
from matplotlib.figure import Figure

# Colours that a colour-blind reader tells apart, and that can be seen on white (Okabe and Ito 2008, without yellow).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
SALT = "ptsam-auto"  # salt for the ids that matplotlib gives to shapes; without it the ids are random


def save_svg(figure: Figure, to: IO[str]) -> None:
    """Write a figure as SVG to a text stream, without a date."""
    with matplotlib.rc_context({"svg.hashsalt": SALT}):
        figure.savefig(to, format="svg", metadata={"Creator": None, "Date": None})


def embedded(figure: Figure) -> str:
    """Return a figure as SVG text for a page, without an XML header; its text and axes have the colour of the page."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    buffer = io.StringIO()
    save_svg(figure, buffer)
    text = buffer.getvalue()
    # The glyphs of a text have no colour of their own.
    text = text[text.index("<svg") :].replace("<svg ", '<svg fill="currentColor" ', 1)
    return text.replace("#000000", "currentColor").replace("black", "currentColor")

"""Writes figures as SVG; the same figure always gives the same bytes."""

from typing import IO

import matplotlib
from matplotlib.figure import Figure

SALT = "ptsam-auto"  # salt for the ids that matplotlib gives to shapes; without it the ids are random


def save_svg(figure: Figure, to: IO[str]) -> None:
    """Write a figure as SVG to a text stream, without a date."""
    with matplotlib.rc_context({"svg.hashsalt": SALT}):
        figure.savefig(to, format="svg", metadata={"Creator": None, "Date": None})

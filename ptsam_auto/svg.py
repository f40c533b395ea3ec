"""Saves figures as SVG files; the same figure always gives the same bytes."""

from pathlib import Path
from typing import IO

import matplotlib
from matplotlib.figure import Figure

SALT = "ptsam-auto"  # salt for the ids that matplotlib gives to shapes; without it the ids are random


def save_svg(figure: Figure, to: Path | IO[str]) -> None:
    """Write a figure as SVG, without a date."""
    with matplotlib.rc_context({"svg.hashsalt": SALT}):
        figure.savefig(to, format="svg", metadata={"Creator": None, "Date": None})

"""Figures as SVG files that are the same, byte for byte, whenever the same is drawn."""

from pathlib import Path
from typing import IO

import matplotlib
from matplotlib.figure import Figure

SALT = "ptsam-auto"  # of the names that matplotlib gives to shapes; random ones otherwise


def save_svg(figure: Figure, to: Path | IO[str]) -> None:
    """Write a figure as SVG, without a date."""
    with matplotlib.rc_context({"svg.hashsalt": SALT}):
        figure.savefig(to, format="svg", metadata={"Creator": None, "Date": None})

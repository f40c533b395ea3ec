"""Writes measurements.html: numbers and histograms of all objects, one file that needs no others."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.figure import Figure

from ptsam_auto.files import write_text
from ptsam_auto.objects.measures import Row
from ptsam_auto.svg import embedded

MOST_ROWS = 200  # images in the table of the page; all are in images.csv
COLOUR = "#3b7dd8"


def write_summary(path: Path, objects: Sequence[Row], images: Sequence[Row]) -> None:
    """Write the page.

    Args:
        path: The file.
        objects: One row per object, see `measures.rows_of_objects`.
        images: One row per image, see `measures.row_of_image`.

    Raises:
        OSError: The file cannot be written.
    """
    physical = bool(objects) and all("area_um2" in row for row in objects)
    area, unit = ("area_um2", "µm²") if physical else ("area_px", "px")
    diameter, length = ("equivalent_diameter_um", "µm") if physical else ("equivalent_diameter_px", "px")
    whole = [row for row in objects if not row["touches_border"]]
    figures = []
    if whole:
        figures.append(_histogram([row[area] for row in whole], f"area, {unit}", "objects"))
        figures.append(_histogram([row[diameter] for row in whole], f"diameter, {length}", "objects"))
    if len(images) > 1:
        figures.append(_histogram([row["objects"] for row in images], "objects in an image", "images"))
    template = jinja2.Environment(autoescape=True).from_string(
        (resources.files("ptsam_auto.objects") / "summary.html.j2").read_text(encoding="utf-8")
    )
    text = template.render(
        objects=len(objects),
        at_border=len(objects) - len(whole),
        images=images[:MOST_ROWS],
        all_images=len(images),
        median_area=float(np.median([row[area] for row in whole])) if whole else None,
        area=area,
        unit=unit,
        figures=figures,
    )
    write_text(path, text)


def _histogram(values: Sequence[float], of: str, counted: str) -> str:
    """Return a histogram as SVG; text takes the colour of the page."""
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.hist(values, bins="auto" if len(values) < 5000 else 60, color=COLOUR)
    axes.set_xlabel(of)
    axes.set_ylabel(counted)
    axes.locator_params(nbins=6, steps=[1, 2, 5, 10])
    return embedded(figure)

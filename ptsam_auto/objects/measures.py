"""Measures objects: one row an object, and one row an image."""

# H W  rows and columns, px;  C  channels

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from skimage.measure import regionprops_table

from ptsam_auto.objects.outlines import Outline, outlines
from ptsam_auto.objects.pixel_size import PixelSize

SHAPE = {
    "area": "area_px",
    "equivalent_diameter_area": "equivalent_diameter_px",
    "perimeter": "perimeter_px",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "centroid-1": "centroid_x_px",
    "centroid-0": "centroid_y_px",
}
LENGTHS = ("equivalent_diameter", "perimeter")
SUMMED = ("area_px", "area_um2", "equivalent_diameter_px", "equivalent_diameter_um")

CENTRE = 0.5  # of the first pixel; scikit-image counts from there
Row = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """One page with its objects, or some rows of a page with those that end there, see `in_bands`.

    Args:
        name: Name of its results.
        labels: Objects, h W, int32, with numbers from 1 on; 0 is background.
        classes: Names of several classes, in the order of their numbers; () for a single class.
        class_of: Number of the class of each object, in the order of their numbers; () for a single class.
        values: Stored values of the image in these rows, h W C, or None if they are not measured.
        pixel_size: Size of a pixel, or None if it is not known.
        top: First of these rows.
        height: H, height of the page, px. Default: that of `labels`.
        before: Number of objects of the page in other rows, which have the numbers before these.
    """

    name: str
    labels: np.ndarray
    values: np.ndarray | None = None
    pixel_size: PixelSize | None = None
    classes: tuple[str, ...] = ()
    class_of: tuple[int, ...] = ()
    top: int = 0
    height: int | None = None
    before: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and the width of the page, px."""
        return self.labels.shape[0] if self.height is None else self.height, self.labels.shape[1]

    def class_name(self, number: int, default: str) -> str:
        """Return the name of the class of an object, or the default for a single class."""
        return self.classes[self.class_number(number) - 1] if self.classes else default

    def class_number(self, number: int) -> int:
        """Return the number of the class of an object; 1 for a single class."""
        return self.class_of[number - self.before - 1] if self.classes else 1

    @cached_property
    def outlines(self) -> list[Outline]:
        """Return the outline of each object, in the order of their numbers."""
        return [outline.moved(self.top, self.before) for outline in outlines(self.labels)]


def rows_of_objects(page: Page) -> list[Row]:
    """Return one row per object, in the order of their numbers.

    Columns in px, and with a pixel size also in micrometres: area, diameter of a circle of this area, perimeter,
    centroid (x to the right, y down; the upper left corner of the image is 0, as in `outlines`); eccentricity of an
    ellipse with the same second moments (0 is a circle), solidity (share of the convex hull); whether the object
    touches the border of the image, so that it may be cut; mean and sum of the stored values of each channel. With
    several classes the name of the object's class.
    """
    if not page.labels.any():
        return []
    wanted = ("label", "area", "equivalent_diameter_area", "perimeter", "eccentricity", "solidity", "centroid", "bbox")
    found = regionprops_table(page.labels, properties=wanted)
    height, width = page.size
    top, left, bottom, right = (found[f"bbox-{side}"] for side in range(4))
    top, bottom = top + page.top, bottom + page.top
    at_border = (top == 0) | (left == 0) | (bottom == height) | (right == width)
    columns: dict[str, np.ndarray] = {"object": found["label"] + page.before}
    columns |= {ours: found[theirs] for theirs, ours in SHAPE.items()}
    columns["centroid_x_px"] = columns["centroid_x_px"] + CENTRE
    columns["centroid_y_px"] = columns["centroid_y_px"] + (CENTRE + page.top)
    columns["touches_border"] = at_border
    if size := page.pixel_size:
        side = float(np.sqrt(size.area))  # of a square pixel of the same area
        columns["area_um2"] = columns["area_px"] * size.area
        columns |= {f"{name}_um": columns[f"{name}_px"] * side for name in LENGTHS}
        columns["centroid_x_um"] = columns["centroid_x_px"] * size.width
        columns["centroid_y_um"] = columns["centroid_y_px"] * size.height
    if page.values is not None:
        for channel in range(page.values.shape[-1]):
            total = np.bincount(page.labels.ravel(), page.values[..., channel].ravel().astype(np.float64))
            columns[f"sum_channel_{channel + 1}"] = total[found["label"]]
            columns[f"mean_channel_{channel + 1}"] = total[found["label"]] / found["area"]
    return [
        {"image": page.name}
        | ({"class": page.class_name(int(number), "")} if page.classes else {})
        | {name: values[place].item() for name, values in columns.items()}
        for place, number in enumerate(columns["object"])
    ]


def row_of_image(page: Page, objects: list[Row]) -> Row:
    """Return one row about an image: the number of objects, the foreground, and the means of the objects' sizes.

    Args:
        page: The page, or some rows of it.
        objects: One row per object of the whole page, see `rows_of_objects`.
    """
    height, width = page.size
    foreground = sum(each["area_px"] for each in objects)
    row: Row = {
        "image": page.name,
        "width_px": width,
        "height_px": height,
        "objects": len(objects),
        "objects_touching_border": sum(each["touches_border"] for each in objects),
        "foreground_px": foreground,
        "foreground_share": foreground / (height * width),
    }
    for name in page.classes:
        areas = [each["area_px"] for each in objects if each["class"] == name]
        row[f"objects_{name}"] = len(areas)
        row[f"foreground_px_{name}"] = sum(areas)
    if page.pixel_size:
        row |= {"pixel_width_um": page.pixel_size.width, "pixel_height_um": page.pixel_size.height}
        row["foreground_um2"] = foreground * page.pixel_size.area
        row["objects_per_mm2"] = len(objects) / (height * width * page.pixel_size.area) * 1e6
    for name in SUMMED:
        values = [each[name] for each in objects if name in each]
        if values:
            row |= {f"mean_{name}": float(np.mean(values)), f"median_{name}": float(np.median(values))}
    return row

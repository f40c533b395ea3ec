"""Measurements have the values that geometry gives, in pixels and in micrometres."""

import numpy as np
import pytest

from ptsam_auto.objects.measures import Page, row_of_image, rows_of_objects
from ptsam_auto.objects.pixel_size import PixelSize


def rectangles():
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 3:13] = 1
    labels[10:20, 20:25] = 2
    return labels


def test_a_rectangle_in_pixels_and_in_micrometres():
    values = np.zeros((20, 30, 2), np.uint16)
    values[..., 0], values[2:6, 3:13, 1] = 7, 500
    page = Page("a", rectangles(), values, PixelSize(0.5, 0.5))
    first, second = rows_of_objects(page)
    assert (first["image"], first["object"], first["area_px"]) == ("a", 1, 40)
    assert first["area_um2"] == pytest.approx(10)
    assert first["equivalent_diameter_px"] == pytest.approx(2 * np.sqrt(40 / np.pi))
    assert first["equivalent_diameter_um"] == pytest.approx(np.sqrt(40 / np.pi))
    assert (first["centroid_x_px"], first["centroid_y_px"]) == (8.0, 4.0), "the middle of 3 to 13 and of 2 to 6"
    assert (first["centroid_x_um"], first["centroid_y_um"]) == (4.0, 2.0)
    assert first["solidity"] == 1
    assert 0.9 < first["eccentricity"] < 1
    assert (first["sum_channel_1"], first["mean_channel_1"], first["mean_channel_2"]) == (280, 7, 500)
    assert second["mean_channel_2"] == 0
    assert (first["touches_border"], second["touches_border"]) == (False, True)
    image = row_of_image(page, [first, second])
    assert (image["objects"], image["objects_touching_border"], image["foreground_px"]) == (2, 1, 90)
    assert image["foreground_share"] == pytest.approx(0.15)
    assert image["objects_per_mm2"] == pytest.approx(2 / (150e-6))
    assert (image["mean_area_px"], image["median_area_um2"]) == (45, pytest.approx(11.25))


def test_without_a_pixel_size_nothing_is_in_micrometres_and_oblong_pixels_are_measured_along_each_side():
    page = Page("a", rectangles())
    assert not [name for name in rows_of_objects(page)[0] if "_um" in name or "channel" in name]
    (first, _) = rows_of_objects(Page("a", rectangles(), None, PixelSize(0.5, 2)))
    assert (first["centroid_x_um"], first["centroid_y_um"], first["area_um2"]) == (4.0, 8.0, 40)


def test_an_image_without_objects_has_a_row():
    page = Page("empty", np.zeros((4, 5), np.int32), np.zeros((4, 5, 1)), PixelSize(1, 1))
    assert rows_of_objects(page) == []
    assert row_of_image(page, [])["objects"] == 0

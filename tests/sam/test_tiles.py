"""Tiles cover an image evenly, blend without seams, and leave small images alone."""

import numpy as np
import pytest

from ptsam_auto.sam.tiles import OVERLAP, Tiling, ramp


@pytest.mark.parametrize(("height", "width", "count"), [
    (512, 512, 4),
    (520, 704, 4),
    (1024, 1024, 4),
    (256, 256, 1),  # would be enlarged more than twofold
    (300, 300, 4),
    (200, 2000, 2),
    (1, 1, 1),
])  # fmt: skip
def test_an_image_is_covered_with_overlap_by_tiles_of_one_size(height, width, count):
    boxes = Tiling(2).boxes(height, width, 512)
    covered = np.zeros((height, width), int)
    for box in boxes:
        covered[box] += 1
    assert len(boxes) == count
    assert covered.min() >= 1
    side = Tiling(2).tile_side(height, width, 512)
    assert {covered[box].shape for box in boxes} == {(min(side, height), min(side, width))}
    if count > 1:
        assert (covered > 1).any(), "tiles only touch"
        assert side >= min(256, max(height, width))


def test_one_tile_is_the_image():
    assert Tiling().boxes(300, 700, 512) == [(slice(0, 300), slice(0, 700))]


def test_more_tiles_show_smaller_parts():
    assert Tiling(2).tile_side(400, 2000, 512) == 1112
    assert [Tiling(n).tile_side(3000, 2000, 512) for n in (1, 2, 4)] == [3000, 1667, 883]
    assert len(Tiling(4).boxes(3000, 2000, 512)) == 4 * 3


def test_an_absolute_scale_shows_as_many_pixels_of_any_image():
    tiling = Tiling(2, side=285)
    for height, width in ((512, 512), (2048, 3000), (100, 60)):
        boxes = tiling.boxes(height, width, 512)
        extents = {(row.stop - row.start, column.stop - column.start) for row, column in boxes}
        assert extents == {(min(285, height), min(285, width))}
        ((rows, columns),) = extents
        assert tiling.frame(rows, columns, 512) == (round(rows * 512 / 285), round(columns * 512 / 285))
    assert len(tiling.boxes(5000, 5000, 512)) == 22**2


def test_random_tiles_reach_every_corner_and_stay_inside():
    seen = np.zeros((100, 140), bool)
    for seed in range(6000):
        box = Tiling(2).random_box(100, 140, 64, np.random.default_rng(seed))
        assert seen[box].shape == (78, 78)
        seen[box] = True
    assert seen.all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (278, 278)])
def test_the_ramp_never_silences_a_pixel(shape):
    say = ramp(*shape)
    assert say.shape == shape
    assert 0 < say.min() <= say.max() <= 1
    assert say[shape[0] // 2, shape[1] // 2] == pytest.approx(1, abs=OVERLAP)


@pytest.mark.parametrize("length", [767, 768, 769, 1300, 1535])
def test_no_pixel_is_left_out_where_an_image_is_a_little_larger_than_a_tile(length):
    covered = np.zeros((length, 500), bool)
    for box in Tiling(1, side=767).boxes(length, 500, 256):
        covered[box] = True
    assert covered.all()

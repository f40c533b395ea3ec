"""Every turn is undone, so a map that follows the image comes back as it was."""

import numpy as np

from ptsam_auto.sam.turns import ALL_TURNS, UPRIGHT


def test_a_map_of_the_image_itself_comes_back_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    seen = set()
    for turn in ALL_TURNS:
        view = turn.of(image)
        assert view.shape[:2] == turn.shape(5, 8)
        assert np.array_equal(turn.back(view.transpose(2, 0, 1)), image.transpose(2, 0, 1))
        seen.add(view.tobytes() + bytes(view.shape[:2]))
    assert len(seen) == 8, "all of them differ"
    assert [turn.of(image) is image for turn in UPRIGHT] == [True]

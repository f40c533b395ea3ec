"""Every turn is undone, so a map that follows the image comes back as it was."""

import numpy as np

from ptsam_auto.methods.turns import mean_over_turns


def test_a_map_of_the_image_itself_comes_back_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    seen = []

    def brightness(view):
        seen.append(view.tobytes() + bytes(view.shape[:2]))
        return view[..., 0] / np.float32(255)

    np.testing.assert_allclose(mean_over_turns(brightness, image), image[..., 0] / 255, atol=1e-6)
    assert len(set(seen)) == 8, "all of them differ"


def test_what_prefers_one_side_is_averaged():
    image = np.zeros((4, 4, 3), np.uint8)

    def upper_half(view):
        return np.repeat(np.array([1, 1, 0, 0], np.float32)[:, None], 4, axis=1)

    np.testing.assert_allclose(mean_over_turns(upper_half, image), 0.5)

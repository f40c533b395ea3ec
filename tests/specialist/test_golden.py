"""A specialist that somebody made with an earlier version still gives its masks.

golden/ holds specialists of each format that was released, on nano, and what they predicted. Where weights of nano are
replaced, older specialists on it are refused by name, and new golden ones are made.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ptsam_auto.specialist.artifact import load_descriptors, load_specialist
from ptsam_auto.specialist.record import FORMAT

GOLDEN = Path(__file__).with_name("golden")
FOLDERS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
SAME = 0.99  # Dice; another processor adds up in another order


@pytest.fixture(scope="module")
def image():
    return np.asarray(Image.open(GOLDEN / "image.png"))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_specialist_of_a_released_format_gives_the_same_mask(name, image, tmp_path):
    shutil.copytree(GOLDEN / name, tmp_path / name)
    specialist = load_specialist(tmp_path / name, device="cpu", folds=True)
    found, expected = specialist.predict(image), np.asarray(Image.open(GOLDEN / "mask.png"))
    assert found.shape == expected.shape
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > SAME
    assert len(specialist.folds) == 2
    assert load_descriptors(tmp_path / name, specialist.record).shape == (24, 512)


def test_the_current_format_has_a_golden_specialist():
    """Whoever changes the format adds one here, and says in the change log what becomes of older specialists."""
    assert any(name.startswith(f"format-{FORMAT}") for name in FOLDERS)

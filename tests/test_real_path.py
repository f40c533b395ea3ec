"""The real backbones on images worth segmenting: minutes rather than seconds."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ptsam_auto import fit, load_specialist
from ptsam_auto.data.render import write_example
from ptsam_auto.data.subset import listed_names, write_subset
from ptsam_auto.files import file_sha256
from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.checkpoint import Official
from ptsam_auto.sam.network import ARCHITECTURES, build
from tests.toys import write_folder

SHARED = Path(__file__).parents[2] / "shared" / "data"
SHORT = {"recipe.epochs": 8, "recipe.views": 3}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_nano_specialises_on_the_example(tmp_path):
    write_example(tmp_path / "example", count=12)
    scores = fit("example", backbone="nano", settings=SHORT, folds=2, track=False).record.scores
    assert scores.crossfit.dice > scores.untuned.dice
    assert scores.crossfit.dice > 0.65, "Otsu's threshold has 0.44"


@pytest.mark.real_images
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared images are not here")
@pytest.mark.parametrize(("name", "least"), [("nuclei_dsb2018", 0.75), ("membranes_isbi2012", 0.5)])
def test_nano_specialises_on_real_images(tmp_path, name, least):
    write_subset(SHARED / name, tmp_path / "train", names=listed_names(SHARED / name, "train"), first=10)
    write_subset(SHARED / name, tmp_path / "test", names=listed_names(SHARED / name, "test"), first=6)
    scores = fit("train", test="test", backbone="nano", settings=SHORT, folds=2, track=False).record.scores
    assert scores.test.dice > max(least, scores.untuned_test.dice)
    # Ten images are few, and those of a stack are alike, so the interval alone does not always reach the test score.
    assert scores.expected.low < scores.test.dice + 0.1, "the expectation is not far too high"


def test_a_checkpoint_of_the_official_shape_goes_all_the_way(tmp_path, monkeypatch):
    """SAM's own weights cannot be had everywhere; random ones under the official names and shapes can."""
    monkeypatch.setenv("PTSAM_AUTO_CACHE", str(tmp_path))
    torch.manual_seed(0)
    torch.save(build(ARCHITECTURES["vit_b"]).state_dict(), tmp_path / "sam_vit_b_01ec64.pth")
    sha256 = file_sha256(tmp_path / "sam_vit_b_01ec64.pth")
    monkeypatch.setitem(checkpoint.OFFICIAL, "vit_b", Official(checkpoint.OFFICIAL["vit_b"].url, sha256))
    discs, test = write_folder(tmp_path / "two", 2), write_folder(tmp_path / "test", 1, start=10)

    settings = {"recipe.epochs": 1, "recipe.steps_per_epoch": 1, "recipe.views": 1}
    made = fit(discs, test=test, folds=0, settings=settings, track=False)
    about = json.loads(Path("two-specialist/specialist.json").read_text())
    assert about["members"][0]["backbone"] == {"name": "vit_b", "sha256": sha256}
    assert about["cost"]["trainable"] == 2048
    image = np.zeros((30, 40, 3), np.uint8)
    assert np.array_equal(load_specialist("two-specialist").predict(image), made.predict(image))

"""Masks of a folder by two workers on Ray Data: those of one worker, none of them twice, whatever is in the folder."""

import numpy as np
import pytest
from PIL import Image

from ptsam_auto import fit
from ptsam_auto.errors import ClusterError, DatasetError, OutputError
from ptsam_auto.predicting import Loading, predict_files
from ptsam_auto.show import Show
from ptsam_auto.specialist.masks import Destination
from tests.toys import write_folder

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]  # Ray's own warnings


@pytest.fixture
def loading(discs, toy, tmp_path):
    settings = {"recipe.epochs": 2, "recipe.steps_per_epoch": 2, "recipe.views": 2}
    fit(discs, out=tmp_path / "specialist", backbone=toy, settings=settings, track=False)
    return Loading(tmp_path / "specialist")


def masks(folder):
    return {path.name: np.asarray(Image.open(path)) for path in folder.iterdir()}


def test_two_workers_write_what_one_writes_and_carry_on(ray, loading, tmp_path):
    new = write_folder(tmp_path / "new", 7, start=20) / "images"
    (new / "disc23.png").write_text("hello")
    alone, together = Destination(tmp_path / "alone"), Destination(tmp_path / "together", tmp_path / "look")
    for to, workers in ((alone, 1), (together, 2)):
        with pytest.raises(DatasetError) as caught:
            predict_files(loading, [new], to, Show.nothing(), workers)
        assert str(caught.value) == (
            "1 problem:\n"
            f"  {new}/disc23.png  holds text; expected the content of a PNG, JPEG, BMP or TIFF file\n"
            "All other masks are written. Fix or remove these files, then run the command again."
        )
    expected, found = masks(alone.masks), masks(together.masks)
    assert found.keys() == expected.keys() == {f"disc{i}.png" for i in (20, 21, 22, 24, 25, 26)}
    assert all(np.array_equal(found[name], mask) for name, mask in expected.items())
    assert len(list(together.overlays.iterdir())) == 6

    (new / "disc23.png").unlink()
    (together.masks / "disc24.png").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in together.masks.iterdir()}
    predict_files(loading, [new], together, Show.nothing(), 2)
    after = {path.name: path.stat().st_mtime_ns for path in together.masks.iterdir()}
    assert times.items() <= after.items()
    assert after.keys() - times.keys() == {"disc24.png"}


def test_too_little_and_nowhere_to_write_are_said(ray, loading, discs, tmp_path):
    with pytest.raises(ClusterError, match=r"^5 workers want 5 CPU and 0 GPU; Ray has 2 CPU and 0 GPU\."):
        predict_files(loading, [discs / "images"], Destination(tmp_path / "out"), Show.nothing(), 5)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "disc01.png").mkdir()
    (tmp_path / "blocked" / "disc01.png" / "something").touch()
    with pytest.raises(OutputError, match=r"^Cannot write .*disc01\.png: Is a directory"):
        predict_files(loading, [discs / "images"], Destination(tmp_path / "blocked", replace=True), Show.nothing(), 2)

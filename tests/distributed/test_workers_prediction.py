"""Masks of a folder by two workers on Ray Data: those of one worker, none of them twice, whatever is in the folder."""

import numpy as np
import pytest
from PIL import Image

from ptsam_auto import fit
from ptsam_auto.commands.options import PredictOptions
from ptsam_auto.commands.predict import predict
from ptsam_auto.errors import ClusterError, DatasetError, OutputError
from ptsam_auto.terminal import Terminal
from tests.toys import write_folder

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]  # Ray's own warnings


@pytest.fixture
def specialist(discs, toy, tmp_path):
    settings = {"recipe.epochs": 2, "recipe.steps_per_epoch": 2, "recipe.views": 2}
    fit(discs, out=tmp_path / "specialist", backbone=toy, settings=settings, track=False)
    return tmp_path / "specialist"


def masks(folder):
    return {path.name: np.asarray(Image.open(path)) for path in folder.iterdir()}


def test_two_workers_write_what_one_writes_and_carry_on(ray, specialist, tmp_path):
    new = write_folder(tmp_path / "new", 7, start=20) / "images"
    (new / "disc23.png").write_text("hello")
    alone, together, look = (tmp_path / name for name in ("alone", "together", "look"))
    for options in (
        PredictOptions(specialist, [new], alone),
        PredictOptions(specialist, [new], together, look, workers=2),
    ):
        with pytest.raises(DatasetError) as caught:
            predict(options, Terminal.silent())
        assert str(caught.value) == (
            "1 problem:\n"
            f"  {new}/disc23.png  holds text; expected the content of a PNG, JPEG, BMP or TIFF file\n"
            "All other masks are written. Fix or remove these files, then run the command again."
        )
    expected, found = masks(alone), masks(together)
    assert found.keys() == expected.keys() == {f"disc{i}.png" for i in (20, 21, 22, 24, 25, 26)}
    assert all(np.array_equal(found[name], mask) for name, mask in expected.items())
    assert len(list(look.iterdir())) == 6

    (new / "disc23.png").unlink()
    (together / "disc24.png").unlink()
    times = {path.name: path.stat().st_mtime_ns for path in together.iterdir()}
    predict(PredictOptions(specialist, [new], together, look, workers=2), Terminal.silent())
    after = {path.name: path.stat().st_mtime_ns for path in together.iterdir()}
    assert times.items() <= after.items()
    assert after.keys() - times.keys() == {"disc24.png"}


def test_too_little_and_nowhere_to_write_are_said(ray, specialist, discs, tmp_path):
    with pytest.raises(ClusterError, match=r"^5 workers need 5 CPU and 0 GPU; the Ray cluster has 2 CPU and 0 GPU\."):
        predict(PredictOptions(specialist, [discs / "images"], tmp_path / "out", workers=5), Terminal.silent())
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "disc01.png").mkdir()
    (tmp_path / "blocked" / "disc01.png" / "something").touch()
    with pytest.raises(OutputError, match=r"^Cannot write .*disc01\.png: Is a directory"):
        predict(
            PredictOptions(specialist, [discs / "images"], tmp_path / "blocked", force=True, workers=2),
            Terminal.silent(),
        )

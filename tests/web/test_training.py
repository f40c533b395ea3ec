"""Corrected masks become training images, without loss of what was there; a fit is watched, stopped and offered."""

import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto.commands.options import ServeOptions
from ptsam_auto.commands.serve import fit_command
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.images import read_image
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import OutputError
from ptsam_auto.specialist.artifact import read_record
from ptsam_auto.web.fits import FitCommand
from ptsam_auto.web.limits import Limits
from ptsam_auto.web.pairs_folder import PairsFolder
from tests.data.folders import save as save_image
from tests.toys import sample, write_folder
from tests.web.sites import QUICK, client, png

PATIENCE = 240  # seconds


def send(opened, number=1, mask=None, name="a.png", image=None, **asked):
    one = sample(number)
    files = {"image": (name, png(one.image) if image is None else image)}
    files["mask"] = ("mask", png(one.mask) if mask is None else mask)
    return opened.post("/api/training-images", params=asked, files=files)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "corrected"


@pytest.fixture
def opened(folder):
    with client(training=PairsFolder(folder)) as opened:
        yield opened


def masks_in(folder):
    return {pair.name: pair.load().mask for pair in read_folder(folder).pairs}


def test_a_corrected_mask_is_read_by_fit_with_its_image_as_it_was_sent(opened, folder):
    content = png(sample(1).image)
    answer = send(opened)
    assert answer.json() == {"image": "images/a.png", "mask": "masks/a.png", "masks": 1}
    assert (folder / "images" / "a.png").read_bytes() == content
    assert np.array_equal(masks_in(folder)["a"], sample(1).mask)


def test_another_image_of_the_same_name_does_not_replace_the_first(opened, folder):
    send(opened, 1)
    assert send(opened, 2).json()["image"] == "images/a-2.png"
    assert send(opened, 3, name="../../a.png").json()["image"] == "images/a-3.png"
    found = masks_in(folder)
    assert [np.array_equal(found[name], sample(i).mask) for name, i in (("a", 1), ("a-2", 2), ("a-3", 3))] == [True] * 3


def test_a_mask_that_is_corrected_again_is_kept_aside_and_not_taken_for_another_one(opened, folder):
    send(opened, 1)
    first = (folder / "masks" / "a.png").read_bytes()
    corrected = sample(1).mask | sample(2).mask
    assert send(opened, 1, png(corrected)).json()["mask"] == "masks/a.png"
    assert send(opened, 1, png(corrected)).json()["masks"] == 1
    assert np.array_equal(masks_in(folder)["a"], corrected)
    kept = sorted((folder / "masks" / ".replaced").iterdir())
    assert [path.read_bytes() for path in kept] == [first], "the same mask again is no second copy"


def test_a_mask_that_somebody_drew_under_another_name_is_kept_aside_too(folder):
    save_image(folder / "images" / "a.png", sample(1).image)
    theirs = save_image(folder / "masks" / "a_mask.tif", ~sample(1).mask)
    before = theirs.read_bytes()
    with client(training=PairsFolder(folder)) as opened:
        send(opened, 1)
    assert np.array_equal(masks_in(folder)["a"], sample(1).mask)
    assert [path.read_bytes() for path in (folder / "masks" / ".replaced").iterdir()] == [before]


def test_a_page_of_a_stack_is_saved_with_its_own_values(opened, folder):
    stack = np.stack([sample(i).image[..., 0].astype(np.uint16) * 100 for i in range(3)])
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stack, metadata={"axes": "ZYX"}, imagej=True)
    answer = send(opened, 2, name="s.tif", image=buffer.getvalue(), page=2).json()
    assert answer["image"] == "images/s_p002.tif"
    assert np.array_equal(tifffile.imread(folder / answer["image"]), stack[2])
    (folder / "stack.tif").write_bytes(buffer.getvalue())
    assert np.array_equal(read_image(folder / answer["image"]), read_image(folder / "stack.tif", 2))
    (folder / "stack.tif").unlink()
    assert np.array_equal(masks_in(folder)["s_p002"], sample(2).mask)


def test_a_mask_of_another_size_is_refused_and_nothing_is_written(opened, folder):
    answer = send(opened, 1, png(np.ones((4, 5), bool)))
    assert answer.status_code == 422
    assert answer.json()["detail"] == "mask 5 x 4 px, but its image is 64 x 48 px"
    assert not folder.exists()


def test_without_a_folder_the_user_is_told_what_to_add():
    with client() as opened:
        for answer in (send(opened), opened.post("/api/fits"), opened.get("/api/fits/current")):
            assert answer.status_code == 404
            assert answer.json()["detail"].endswith("start the server with --training-images DIR.")


def test_a_folder_that_is_annotated_in_another_way_is_refused(tmp_path):
    save_image(tmp_path / "a.png", sample(1).image)
    save_image(tmp_path / "a_masks.png", sample(1).mask)
    with pytest.raises(OutputError, match="annotated in the cellpose layout, to which no masks can be added"):
        PairsFolder(tmp_path)


def following(opened, *states):
    """Wait until the fit is in one of these states."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        progress = opened.get("/api/fits/current").json()
        if progress["state"] in states:
            return progress
        time.sleep(0.1)
    raise TimeoutError(progress)


@pytest.mark.slow
def test_a_fit_is_watched_and_offered_and_the_old_specialist_stays(tmp_path, toy, made):
    dataset, out = write_folder(tmp_path / "discs", 4), tmp_path / "new"
    out.mkdir()
    (out / "notes.txt").write_text("the user's")
    options = ServeOptions(specialists=[], fit_backbone=toy, settings=QUICK, minutes=1)
    command = fit_command(options, PairsFolder(dataset), out)
    with client(made, training=PairsFolder(dataset), fit=command) as opened:
        assert opened.get("/api/fits/current").json()["state"] == "none"
        started = opened.post("/api/fits")
        assert (started.status_code, started.json()["state"], started.json()["masks"]) == (202, "running", 4)
        assert opened.post("/api/fits").status_code == 409, "one at a time"
        stages = set()
        while (progress := opened.get("/api/fits/current").json())["state"] == "running":
            stages.add(progress["stage"])
            time.sleep(0.05)
        done = following(opened, "done", "failed")
        assert done["state"] == "done", done["lines"]
        assert any("Images: 4 annotated images" in line for line in done["lines"])
        assert stages - {""}, "some stage was seen"
        assert done["specialist"] == "new-2"
        assert [path.name for path in out.iterdir()] == ["notes.txt"]
        assert opened.get("/health").json()["specialists"] == ["made", "new-2"]
        assert opened.post("/api/predict", files={"image": ("a.png", png(sample(9).image))}).status_code == 200
    assert len(read_record(tmp_path / "new-2").data.train) == 4
    assert command.finished() == [tmp_path / "new-2"]


def pretending(folder, program):
    """A command in place of `fit`, which writes into the output folder."""
    start = "import os, sys, time; os.makedirs(sys.argv[1]); "
    return FitCommand(folder / "new", lambda out: [sys.executable, "-S", "-c", start + program, str(out)])


def test_a_new_specialist_never_has_the_name_of_one_that_is_offered(tmp_path, made):
    """Otherwise it could not be offered after minutes of training."""
    command = FitCommand(tmp_path / "made", lambda out: [sys.executable, "-S", "-c", "", str(out)])
    with client(made, training=PairsFolder(tmp_path / "a"), fit=command) as opened:
        assert opened.post("/api/fits").json()["specialist"] == "made-2"


def test_a_disk_that_cannot_be_written_to_is_a_message(opened, folder):
    folder.parent.mkdir(exist_ok=True)
    (folder.parent / "corrected").write_text("a file in place of the folder")
    answer = send(opened)
    assert answer.status_code == 507
    assert "Cannot write to" in answer.json()["detail"]


def test_a_fit_that_fails_says_why_and_leaves_nothing_behind(tmp_path):
    lines = ['{"say": "Reading"}', '{"stage": 1}', "{broken", "Two masks\x1b[31m are missing."]
    program = f"print(*{lines!r}, sep=chr(10)); sys.exit(1)"
    with client(training=PairsFolder(tmp_path / "a"), fit=pretending(tmp_path, program)) as opened:
        opened.post("/api/fits")
        failed = following(opened, "done", "failed")
    assert failed["state"] == "failed"
    assert failed["lines"] == ["Reading", '{"stage": 1}', "{broken", "Two masks\\x1b[31m are missing."]
    assert not (tmp_path / "new").exists()


def test_a_fit_that_is_stopped_ends_with_its_workers_and_leaves_nothing_behind(tmp_path):
    worker = "import subprocess as s; one = s.Popen(['sleep', '300']); print(one.pid, flush=True); one.wait()"
    with client(training=PairsFolder(tmp_path / "a"), fit=pretending(tmp_path, worker)) as opened:
        opened.post("/api/fits")
        while not (lines := opened.get("/api/fits/current").json()["lines"]):
            time.sleep(0.05)
        assert opened.delete("/api/fits/current").json()["state"] == "stopped"
        assert not (tmp_path / "new").exists()
        assert opened.post("/api/fits").status_code == 202, "another one can be started"
    assert not (tmp_path / "new").exists(), "the end of the server stops it"
    assert not Path(f"/proc/{lines[0]}").exists()


def test_masks_that_cover_most_of_an_image_can_be_fitted_to(tmp_path):
    """Without a word about it `fit` would ask whether foreground and background are exchanged."""
    options = ServeOptions(specialists=[])
    pairs = PairsFolder(tmp_path / "full")
    for i in range(2):
        image = save_image(tmp_path / "full" / "images" / f"{i}.png", sample(i).image)
        pairs.write_mask(image, ~sample(i).mask)
    words = fit_command(options, pairs, None).words(Path("out"))
    assert words[words.index("--foreground") + 1] == "255"
    given = ReadingOptions(foreground=("255",), allow_blank=True)
    assert len(read_folder(pairs.folder, given).pairs) == 2
    save_image(image, sample(9).image)
    save_image(tmp_path / "full" / "masks" / "1.png", sample(9).mask)
    assert "--foreground" not in fit_command(options, pairs, None).words(Path("out")), "a mask of somebody else's"


def test_the_api_of_a_fit_is_bound_to_its_limits():
    with client(limits=Limits(upload_bytes=100)) as opened:
        assert send(opened).status_code == 413
        assert json.loads(send(opened).content)["detail"].startswith("The request is larger")


def test_a_saved_image_that_a_camera_turned_is_read_upright_with_its_mask(opened, folder):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(sample(1).image).save(buffer, "JPEG", exif=exif, quality=95)
    upright = np.rot90(sample(1).mask, -1)
    assert send(opened, mask=png(upright), name="a.jpg", image=buffer.getvalue()).status_code == 200
    assert np.array_equal(masks_in(folder)["a"], upright)

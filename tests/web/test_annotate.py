"""Painting from nothing: drafts are not masks, nothing is lost, nothing of the user's is replaced without a copy."""

import base64
import json
import time

import numpy as np
import pytest
import tifffile

from ptsam_auto.commands.annotate import annotate
from ptsam_auto.commands.options import AnnotateOptions
from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.formats import listed
from ptsam_auto.data.images import read_image
from ptsam_auto.errors import DatasetError, OutputError
from ptsam_auto.terminal import Terminal
from ptsam_auto.web.annotation import AnnotationFolder
from ptsam_auto.web.boxes import Boxes
from ptsam_auto.web.uploads import mask_of_runs, runs_of_mask
from tests.data.folders import save as save_image
from tests.toys import sample
from tests.web.sites import client, pixels_of

PIXELS = 10**6


def images(folder, count=4, inside="images"):
    for i in range(count):
        save_image(folder / inside / f"n{i}.png", sample(i).image)
    return folder


def site(folder, made=None, **more):
    annotation = AnnotationFolder(folder, PIXELS)
    return client(made, training=annotation.pairs, annotation=annotation, **more)


def runs(mask):
    return json.dumps(runs_of_mask(mask))


def paint(opened, number, way="mask", mask=None):
    content = runs(sample(number).mask if mask is None else mask)
    return opened.put(f"/api/images/n{number}.png/{way}", content=content)


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("inside", ["images", "."])
def test_masks_land_in_masks_and_nowhere_else_and_fit_reads_them(tmp_path, inside):
    folder = images(tmp_path / "cells", inside=inside)
    before = files_of(folder)
    with site(folder) as opened:
        for i in (0, 2):
            assert paint(opened, i, "draft").status_code == 204
            answer = paint(opened, i)
            assert answer.json() == {"mask": f"masks/n{i}.png", "masks": 1 + i // 2, "fit_started": False}
    assert set(files_of(folder)) - set(before) == {"masks/n0.png", "masks/n2.png"}
    found = {pair.name: pair.load().mask for pair in read_folder(folder).pairs}
    assert set(found) == {"n0", "n2"}
    assert all(np.array_equal(found[f"n{i}"], sample(i).mask) for i in (0, 2))


def test_the_object_in_a_box_is_found_and_nothing_is_saved(tmp_path):
    folder = images(tmp_path / "cells", 2)
    before = files_of(folder)
    with site(folder, boxes=Boxes("cpu", ("nano",))) as opened:
        assert opened.get("/api/about").json()["boxes"] is True
        for number in (0, 1):
            mask = sample(number).mask
            answer = opened.post(f"/api/boxes/n{number}.png", json=box_around(mask))
            found = mask_of_runs(answer.content, PIXELS)
            assert found.shape == mask.shape
            assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.9
        for wrong in (
            {"left": 70, "top": 0, "right": 90, "bottom": 9},
            {"left": 5, "top": 5, "right": 5.2, "bottom": 9},
            {"left": 20, "top": 5, "right": 9, "bottom": 9},
            {"left": -1, "top": 0, "right": 9, "bottom": 9},
            {"left": 0, "top": 0, "right": "1e999", "bottom": 9},
            {"left": 0},
        ):
            assert opened.post("/api/boxes/n0.png", json=wrong).status_code == 422, wrong
        assert opened.post("/api/boxes/other.png", json=box_around(mask)).status_code == 404
    assert files_of(folder) == before
    with site(folder) as opened:
        assert opened.get("/api/about").json()["boxes"] is False
        assert opened.post("/api/boxes/n0.png", json=box_around(mask)).status_code in (404, 405)


def box_around(mask):
    rows, columns = np.nonzero(mask)
    return {"left": int(columns.min()), "top": int(rows.min()), "right": int(columns.max()) + 1,
            "bottom": int(rows.max()) + 1}  # fmt: skip


def test_a_draft_is_there_after_a_restart_and_fit_does_not_take_it_for_a_mask(tmp_path):
    folder = images(tmp_path / "cells")
    half = sample(1).mask & (np.arange(64) < 32)
    with site(folder) as opened:
        paint(opened, 0)
        paint(opened, 1, "draft", half)
    assert [entry.name for entry in listed(folder)[1].entries] == ["n0"]
    with site(folder) as opened:
        states = {image["name"]: image["state"] for image in opened.get("/api/images").json()["images"]}
        assert states == {"n0.png": "done", "n1.png": "draft", "n2.png": "open", "n3.png": "open"}
        again = opened.get("/api/images/n1.png").json()
        assert np.array_equal(mask_of_runs(json.dumps(again["mask"]).encode(), PIXELS), half)
        assert np.array_equal(pixels_of(base64.b64decode(again["image"])), sample(1).image)
        assert opened.delete("/api/images/n1.png/draft").status_code == 204
        assert opened.get("/api/images/n1.png").json()["mask"] is None


def test_a_mask_that_is_painted_again_stays_until_the_new_one_is_done(tmp_path):
    folder = images(tmp_path / "cells")
    save_image(folder / "masks" / "n0_mask.tif", ~sample(0).mask)
    save_image(folder / "masks" / "n1.png", sample(1).mask)
    theirs = (folder / "masks" / "n0_mask.tif").read_bytes()
    with site(folder) as opened:
        shown = opened.get("/api/images/n0.png").json()
        assert shown["state"] == "done"
        assert np.array_equal(mask_of_runs(json.dumps(shown["mask"]).encode(), PIXELS), ~sample(0).mask)
        paint(opened, 0, "draft")
        assert (folder / "masks" / "n0_mask.tif").read_bytes() == theirs
        paint(opened, 0)
    assert not (folder / "masks" / "n0_mask.tif").exists()
    assert [path.read_bytes() for path in (folder / "masks" / ".replaced").iterdir()] == [theirs]
    found = {pair.name: pair.load().mask for pair in read_folder(folder).pairs}
    assert np.array_equal(found["n0"], sample(0).mask)


def test_a_draft_that_was_damaged_is_dropped_and_the_image_opens(tmp_path):
    folder = images(tmp_path / "cells")
    with site(folder) as opened:
        paint(opened, 1, "draft")
        (folder / "masks" / ".drafts" / "n1.png.json").write_text('{"size": [48')
        assert opened.get("/api/images/n1.png").json()["mask"] is None


def test_images_outside_the_folder_cannot_be_asked_for(tmp_path):
    folder = images(tmp_path / "cells")
    save_image(tmp_path / "secret.png", sample(9).image)
    with site(folder) as opened:
        for name in ("..%2F..%2Fsecret.png", "%2e%2e/secret.png", "secret.png", "n0.png%00"):
            assert opened.get(f"/api/images/{name}").status_code == 404, name
            answer = opened.put(f"/api/images/{name}/draft", content=runs(sample(9).mask))
            assert answer.status_code in (404, 405), name
    assert not list(tmp_path.glob("**/*.json"))


def test_a_mask_of_another_size_or_no_mask_at_all_is_refused(tmp_path):
    with site(images(tmp_path / "cells")) as opened:
        answer = paint(opened, 0, mask=np.ones((3, 3), bool))
        assert answer.status_code == 422
        assert answer.json()["detail"] == "mask 3 x 3 px, but its image is 64 x 48 px"
        assert opened.put("/api/images/n0.png/draft", content=b"{").status_code == 422
    assert not (tmp_path / "cells" / "masks" / "n0.png").exists()


def test_what_cannot_be_painted_on_is_named_with_the_reason(tmp_path):
    folder = images(tmp_path / "cells", 2)
    tifffile.imwrite(folder / "images" / "stack.tif", np.zeros((7, 9, 9), np.uint8))
    (folder / "masks").mkdir()
    tifffile.imwrite(folder / "masks" / "stack.tif", np.eye(9, dtype=np.uint8)[None].repeat(7, 0))
    save_image(folder / "images" / "large.png", np.zeros((1001, 1000), np.uint8))
    save_image(folder / "images" / "n0.tif", sample(7).image)
    (folder / "images" / "notes.txt").write_text("hello")
    (folder / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n----")
    with site(folder) as opened:
        about = opened.get("/api/images").json()
    assert [image["name"] for image in about["images"]] == ["n0.png", "n1.png"]
    assert len(about["left_out"]) == 5
    assert "stack.tif: a stack of 7 pages that has a mask already" in about["left_out"]
    assert "n0.tif: would have the same mask as n0.png; rename one" in about["left_out"]


def test_pages_of_a_stack_are_painted_one_by_one_and_fit_finds_them(tmp_path):
    folder = images(tmp_path / "cells", 2)
    stack = np.stack([sample(i).image[..., 0].astype(np.uint16) * 11 for i in range(5)])
    tifffile.imwrite(folder / "images" / "t.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    masks = {2: sample(2).mask, 4: sample(4).mask}
    with site(folder) as opened:
        listed_names = [image["name"] for image in opened.get("/api/images").json()["images"]]
        assert listed_names == ["n0.png", "n1.png", *(f"t_p00{page}.tif" for page in range(5))]
        for page, mask in masks.items():
            shown = opened.get(f"/api/images/t_p00{page}.tif").json()
            assert np.array_equal(
                pixels_of(base64.b64decode(shown["image"]))[..., :3], read_image(folder / "images" / "t.tif", page)
            )
            assert opened.put(f"/api/images/t_p00{page}.tif/draft", content=runs(mask)).status_code == 204
            assert opened.get(f"/api/images/t_p00{page}.tif").json()["state"] == "draft"
            answer = opened.put(f"/api/images/t_p00{page}.tif/mask", content=runs(mask))
            assert answer.json()["mask"] == f"masks/t_p00{page}.png"
        states = {image["name"]: image["state"] for image in opened.get("/api/images").json()["images"]}
    with site(folder) as opened:
        assert {image["name"]: image["state"] for image in opened.get("/api/images").json()["images"]} == states
        painted = json.dumps(opened.get("/api/images/t_p004.tif").json()["mask"]).encode()
        assert np.array_equal(mask_of_runs(painted, PIXELS), masks[4])
    assert [name for name, state in states.items() if state == "done"] == ["t_p002.tif", "t_p004.tif"]
    read = read_folder(folder)
    assert [pair.name for pair in read.pairs] == ["t_p002", "t_p004"], "and not the stack again"
    for pair, (page, mask) in zip(read.pairs, masks.items(), strict=True):
        assert np.array_equal(pair.load().mask, mask)
        assert np.array_equal(tifffile.imread(folder / "images" / f"{pair.name}.tif").squeeze(), stack[page])


def test_a_folder_without_images_or_with_other_annotations_is_a_message(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no images, neither here nor in images/"):
        annotate(AnnotateOptions(dataset=tmp_path / "empty"), Terminal.silent())
    save_image(tmp_path / "other" / "a.png", sample(1).image)
    save_image(tmp_path / "other" / "a_masks.png", sample(1).mask)
    with pytest.raises(OutputError, match="annotated in the cellpose layout"):
        annotate(AnnotateOptions(dataset=tmp_path / "other"), Terminal.silent())


def test_the_specialist_proposes_and_orders_what_to_paint_next(tmp_path, made):
    folder = images(tmp_path / "cells", 5)
    with site(folder, made) as opened:
        paint(opened, 4)
        found = opened.get("/api/proposals/n1.png").json()
        assert (found["width"], found["height"], found["image"]) == (64, 48, None)
        assert opened.get("/api/proposals/n1.png?uncertainty=true").json()["uncertainty"]
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            listing = opened.get("/api/images").json()
            if any(image["rank"] for image in listing["images"]):
                break
            time.sleep(0.1)
    ranks = {image["name"]: image["rank"] for image in listing["images"]}
    shown = [image["name"] for image in listing["images"]]
    assert set(shown[:4]) == {"n0.png", "n1.png", "n2.png", "n3.png"}
    assert [ranks[name] for name in shown[:4]] == [1, 2, 3, 4], "in this order"
    assert shown[-1] == "n4.png", "what is done comes last"


def test_a_fit_starts_after_every_few_masks_and_not_before(tmp_path, monkeypatch):
    started = []
    folder = images(tmp_path / "cells", 5)
    save_image(folder / "masks" / "n4.png", sample(4).mask)
    with site(folder, fit_every=2) as opened:
        opened.site.fits = type("Fits", (), {"is_running": False, "start": started.append, "stop": lambda self: None})()
        assert paint(opened, 0).json()["fit_started"] is True, "two masks are new, of which one was there"
        assert paint(opened, 0, mask=~sample(0).mask).json()["fit_started"] is False, "painted again"
        assert paint(opened, 1).json()["fit_started"] is False
        assert paint(opened, 2).json()["fit_started"] is True
    assert started == [2, 4]

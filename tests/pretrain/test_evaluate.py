import itertools
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pyarrow import parquet

from ptsam_auto.data.dataset import Pair, Sample
from ptsam_auto.errors import ConfigError, DatasetError
from ptsam_auto.metrics.dice import Counts
from ptsam_auto.pretrain import cells, evaluate
from ptsam_auto.pretrain.evaluate import Evaluation, measured
from ptsam_auto.pretrain.judged_sets import read_sets
from ptsam_auto.pretrain.otsu import Otsu, choose_otsu
from ptsam_auto.pretrain.rows import MEASURES, Ledger, Row, write_parquet
from ptsam_auto.pretrain.specialists import judging_settings
from ptsam_auto.pretrain.table import markdown, tables, verdict
from ptsam_auto.pretrain.unet import train_unet
from ptsam_auto.pretrain.zero_shot import filled_box, measure, never_seen
from ptsam_auto.show import Show
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings
from tests.pretrain.scenery import write_indexed_folder
from tests.pretrain.test_command import call
from tests.toys import pairs, sample, toy_sam, write_folder


@pytest.fixture
def judged(tmp_path):
    """Discs to find, and the same discs as instances; a second annotation marks the left half of each image."""
    folder = write_folder(tmp_path / "discs", 6)
    names = [f"disc{number:02d}" for number in range(6)]
    (folder / "splits.json").write_text(json.dumps({"train": names[:3], "val": [], "test": names[3:]}))
    for part in ("instances", "masks_weed"):
        (folder / part).mkdir()
    for name in names:
        mask = cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(folder / "instances" / f"{name}.png"), (mask > 0).astype(np.uint16))
        mask[:, 32:] = 0
        mask[:5, :5] = 255
        cv2.imwrite(str(folder / "masks_weed" / f"{name}.png"), mask)
    return folder


@pytest.fixture
def short(monkeypatch):
    """A feature bank of two views an image, so that a specialist takes no time."""
    settings = cells.judging_settings

    def shortened(adapt, steps):
        found = settings(adapt, steps)
        return replace(found, recipe=replace(found.recipe, steps_per_epoch=2, views=2 * (adapt == "decoder")))

    monkeypatch.setattr(cells, "judging_settings", shortened)


def words(judged, toy, out):
    given = ["evaluate", "--weights", toy, "--data", judged, "--out", out]
    return [*given, "--train-images", 2, "--steps", 1, "--deep", "--deep-steps", 1, "--most", 2]


def test_the_table_has_its_rows_and_nothing_is_measured_twice(tmp_path, judged, toy, short, capsys, monkeypatch):
    mix = write_indexed_folder(tmp_path / "mix", count=10)
    call(*words(judged, toy, tmp_path / "out"), "--data", mix)
    said = capsys.readouterr()
    assert "PTSAM on toy" in said.out
    written = (tmp_path / "out" / "evaluation.md").read_text()
    rows = parquet.read_table(tmp_path / "out" / "evaluation.parquet").to_pylist()
    found = {(row["set"], row["method"], row["seed"]) for row in rows}
    assert {key for key in found if key[1] == "zero-shot"} == {
        (name, "zero-shot", None) for name in ("mix, held out", "scenes, held out", "discs, test")
    }
    specialists = itertools.product(("discs", "discs weed"), cells_of_a_set())
    assert {key for key in found if key[1] != "zero-shot"} == {(name, *rest) for name, rest in specialists}
    assert len(rows) == 3 + 2 * len(cells_of_a_set())
    for line in ("| discs | PTSAM on toy", "| discs weed | Otsu's threshold |", "## Verdict"):
        assert line in written

    def no(*arguments, **more):
        raise AssertionError("measured again")

    for name in ("specialise", "score", "measure"):
        monkeypatch.setattr(cells, name, no)
    monkeypatch.setattr(cells.unet, "train_unet", no)
    call(*words(judged, toy, tmp_path / "out"), "--data", mix)
    assert (tmp_path / "out" / "evaluation.md").read_text() == written
    assert parquet.read_table(tmp_path / "out" / "evaluation.parquet").to_pylist() == rows
    with pytest.raises(AssertionError, match="measured again"):
        call(*words(judged, toy, tmp_path / "out"), "--most", 3)


def cells_of_a_set():
    seeded = itertools.product(("ptsam", "ptsam-deep", "ptsam-random", "unet", "otsu"), (0, 1))
    return [*seeded, ("untuned", None)]


@pytest.mark.slow
def test_side_by_side_gives_the_same_rows(tmp_path, judged, toy):
    asked = Evaluation((toy,), (judged,), tmp_path / "two", train_images=2, seeds=(0,), most=2, steps=1, workers=2)
    together = evaluate.evaluate(asked, "this", Show.nothing())
    alone = evaluate.evaluate(replace(asked, out=tmp_path / "one", workers=1), "this", Show.nothing())
    assert [(row.key, row.set, row.method) for row in together] == [(row.key, row.set, row.method) for row in alone]
    for one, other in zip(together, alone, strict=True):
        if one.method != "unet":  # it follows the clock
            assert one.measures == pytest.approx(other.measures)
    assert len((tmp_path / "two" / "rows.jsonl").read_text().splitlines()) == len(together), "nothing twice"


def test_a_renamed_file_of_weights_is_the_same_generalist(tmp_path, judged, toy, short):
    asked = Evaluation((toy,), (judged,), tmp_path / "out", seeds=(0,), most=1, steps=1, parts=("specialist",))
    first = measured(asked, Show.nothing())
    other = tmp_path / "other.safetensors"
    shutil.copyfile(toy, other)
    again = measured(replace(asked, weights=(str(other),)), Show.nothing())
    assert [row.key for row in again] == [row.key for row in first]
    assert [row.measures for row in again] == [row.measures for row in first]
    assert again[0].weights.startswith("other ")
    unet = next(row for row in first if row.method == "unet")
    assert unet.seconds == first[0].seconds, "a U-Net is given the specialist's time"


def test_a_line_cut_short_is_the_only_one_lost(tmp_path):
    ledger = Ledger(tmp_path)
    for key in "ab":
        ledger.add(row(key))
    text = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(text[:-20])
    cut = Ledger(tmp_path)
    assert list(cut.rows) == ["a"]
    cut.add(row("c"))
    assert list(Ledger(tmp_path).rows) == ["a", "c"]


def row(key="k", method="ptsam", name="cells", dice=0.5, seed=0, folder=None):
    weights = {"ptsam": "nano", "untuned": "nano", "unet": "512 px", "ptsam-random": "small"}.get(method, "")
    about = ["specialist", name, folder or name, method, weights, "ab12"]
    return Row(key, *about, seed, 16, 50, 12.5, {"dice": dice, "iou": dice / 2})


def test_parquet_holds_what_rows_hold(tmp_path):
    prompted = replace(row("z", "zero-shot", seed=None), measures={"box": 0.75, "boxes": 24})
    write_parquet([row("k", seed=1), prompted], tmp_path / "rows.parquet")
    back = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [(one["key"], one["seed"], one["seconds"]) for one in back] == [("k", 1, 12.5), ("z", None, 12.5)]
    for one, original in zip(back, (row("k", seed=1), prompted), strict=True):
        assert {name: one[name] for name in MEASURES if one[name] is not None} == original.measures


def test_the_verdict_says_where_a_control_wins():
    rows = [
        *(row(method="ptsam", dice=dice, seed=seed) for seed, dice in enumerate((0.8, 0.6))),
        *(row(method="unet", dice=dice, seed=seed) for seed, dice in enumerate((0.9, 0.52))),
        row(method="otsu", dice=0.7),
        row(method="ptsam", name="plants", dice=0.5),
        row(method="unet", name="plants", dice=0.3),
        row(method="ptsam", name="plants weed", dice=0.4, folder="plants"),
        row(method="unet", name="plants weed", dice=0.5, folder="plants"),
    ]
    assert verdict(rows) == [
        "cells: U-Net from scratch (512 px) (0.710) beats PTSAM on nano (0.700).",
        "cells: Otsu's threshold (0.700) equals PTSAM on nano (0.700).",
        "plants weed: U-Net from scratch (512 px) (0.500) beats PTSAM on nano (0.400).",
        "PTSAM on nano against U-Net from scratch (512 px): +2.0 points of Dice, the mean over 2 folders; "
        "ahead on 1 of 3 sets.",
        "PTSAM on nano against Otsu's threshold: +0.0 points of Dice, the mean over 1 folder; ahead on 0 of 1 sets.",
    ]
    (table,) = tables(rows)
    assert table.lines[0] == ["cells", "PTSAM on nano", "0.800", "0.600", "0.700", "16", "50", "-", "12"]
    assert verdict(rows[:1]) == []
    assert "PTSAM on nano beats every control on every set." in verdict(rows[5:7])
    assert "| cells | Otsu's threshold | 0.700 |  | 0.700 |" in markdown(rows, "make it")


def test_a_bare_box_that_is_as_good_is_named():
    measures = {"box": 0.6, "filled_box": 0.62}
    prompted = replace(row(method="zero-shot", name="cells, test"), part="zero-shot", weights="nano", measures=measures)
    assert verdict([prompted]) == ["cells, test: the bare box has IoU 0.620, nano finds no more in it (0.600)."]


def test_seed_0_takes_the_first_images_and_choices_are_nested(judged):
    one = read_sets(judged, None)[0]
    assert [pair.name for pair in one.training_images(2, seed=0)] == ["disc00", "disc01"]
    assert len(one.training_images(16, seed=0)) == 3
    for seed in (1, 2, 3):
        assert one.training_images(3, seed)[:2] == one.training_images(2, seed)
    assert len({tuple(pair.name for pair in one.training_images(2, seed)) for seed in range(6)}) > 1


def test_both_annotations_of_a_folder_are_sets(judged):
    plain, weed = read_sets(judged, 2)
    assert (plain.name, weed.name, plain.folder, weed.folder) == ("discs", "discs weed", "discs", "discs")
    assert len(plain.test) == len(weed.test) == 2
    assert weed.test[0].load().mask.sum() != plain.test[0].load().mask.sum()


def test_a_listed_mask_that_is_missing_is_named(judged):
    (judged / "masks" / "disc04.png").unlink()
    with pytest.raises(DatasetError, match=r"masks/disc04\.png +is listed in splits\.json, but not there"):
        read_sets(judged, None)


def test_a_folder_with_problems_is_known_before_anything_is_measured(tmp_path, judged, toy):
    asked = Evaluation((toy,), (judged, tmp_path / "absent"), tmp_path / "out")
    with pytest.raises(DatasetError, match=r"splits\.json +missing"):
        measured(asked, Show.nothing())
    assert not (tmp_path / "out" / "rows.jsonl").exists()


def test_nothing_to_measure_is_said(tmp_path, toy):
    asked = Evaluation((toy,), (), tmp_path / "out", parts=("specialist",))
    with pytest.raises(ConfigError, match=r"^There is nothing to measure: name a folder with splits\.json"):
        measured(asked, Show.nothing())


def test_steps_are_rounded_up_to_epochs():
    values = {default.path: default.value for default in defaults.block("nano", "decoder")}
    values |= {"method.decoder_prompts": 8, "method.prompt_std": 0.1, "recipe.learning_rate": 0.05}
    assert judging_settings("decoder", None) == Settings.from_paths(values), "what fit uses, but for the paper's own"
    assert judging_settings("decoder", 201).recipe.steps == 220
    assert judging_settings("encoder", None).method.encoder_prompts == 8


@pytest.mark.parametrize("bright", [True, False])
def test_otsu_picks_the_side_that_the_training_masks_mark(bright):
    def load(seed):
        one = sample(seed)
        return one if bright else Sample(one.name, 255 - one.image, one.mask)

    found = choose_otsu([Pair(f"{seed}", f"{seed}", lambda seed=seed: load(seed)) for seed in range(3)])
    assert found == Otsu(bright)
    assert Counts.of(found.predict(load(5).image), load(5).mask).dice > 0.95


def test_a_unet_learns_discs_in_the_time_it_is_given():
    ticks = itertools.count()
    made = train_unet(pairs(4), judging_settings("decoder", None), 64, 0, seconds=40, clock=lambda: next(ticks))
    assert made.steps == 40
    unseen = sample(9)
    assert Counts.of(made.predict(unseen.image), unseen.mask).dice > 0.8
    again = train_unet(pairs(4), judging_settings("decoder", None), 64, 0, seconds=0.001)
    assert again.steps == 1


def test_prompts_on_a_set_never_seen(judged):
    (discs,) = cells._prompted(Evaluation(("nano",), (judged,), judged, most=2))[1:]
    assert (discs.name, discs.count) == ("discs, test", 2)
    images = discs.images(64)
    assert 0.7 < filled_box(images) < 0.85, "a disc fills pi / 4 of its box"
    found, seconds = measure(toy_sam(), images)
    assert found["boxes"] == found["clicks"] == 2
    assert found["groups"] >= 1
    assert set(found) <= set(MEASURES)
    assert seconds > 0
    assert never_seen("none", ()).images(64) == []


def test_the_log_has_every_number_and_both_files(tmp_path, judged, monkeypatch, toy):
    logged, files = {}, []

    class Store:
        def __init__(self, name, parameters):
            assert (name, parameters["most"]) == ("evaluate out", 1)

        def log(self, step, values):
            logged.update({(key, step): value for key, value in values.items()})

        def attach(self, path):
            files.append(path.name)

        def close(self):
            files.append("closed")

    monkeypatch.setattr(evaluate, "Tracker", Store)
    (tmp_path / "out").mkdir()
    odd = tmp_path / "toy, tuned @ 2.safetensors"
    shutil.copyfile(toy, odd)
    asked = Evaluation((str(odd),), (judged,), tmp_path / "out", most=1, parts=("zero-shot",))
    rows = evaluate.evaluate(asked, "this", Show.nothing(), track=True)
    assert files == ["evaluation.md", "evaluation.parquet", "closed"]
    assert len(logged) == 2 * 5
    for one in rows:
        name = f"zero-shot/{one.set}/zero-shot/{one.weights}/box".replace(",", "_").replace("@", "_")
        assert logged[name, 0] == one.measures["box"]

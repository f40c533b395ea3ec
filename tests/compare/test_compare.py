"""The comparison: fair splits, the paper's settings, honest tables, and trainings that go on after a death."""

import importlib.util
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from pyarrow import parquet

from ptsam_auto.api import compare
from ptsam_auto.baselines.nnunet import NnunetConfig
from ptsam_auto.commands.compare import trainings_of, warnings_of
from ptsam_auto.commands.options import CompareOptions
from ptsam_auto.compare import paper_figures
from ptsam_auto.compare.entries import ENTRIES, UNTUNED, Conditions, entries_by_name
from ptsam_auto.compare.paper_figures import damaged_masks, write_figures, write_panel
from ptsam_auto.compare.presets import PRESETS
from ptsam_auto.compare.record import Event, Failed, Finished, TrainingKey
from ptsam_auto.compare.results import (
    Result,
    mean_and_std,
    not_significantly_worse,
    progress_table,
    results_of,
    table_2,
)
from ptsam_auto.compare.training import Outcome, Training, train
from ptsam_auto.data.render import write_example
from ptsam_auto.errors import ConfigError, DatasetError, OutputError
from ptsam_auto.experiment import journal
from ptsam_auto.experiment.folds import Fold, NamedDataset
from ptsam_auto.experiment.workspace import Workspace
from ptsam_auto.sam.checkpoint import Backbone, load
from ptsam_auto.terminal import Terminal
from ptsam_auto.training import defaults
from ptsam_auto.training.evidence import DIGEST
from ptsam_auto.training.settings import Settings
from tests.toys import PROMPTS, pairs, toy_sam, write_folder

QUICK = {"recipe.epochs": 2, "recipe.steps_per_epoch": 2, "recipe.views": 2, "method.tiles": 1}


def conditions(family="nano", settings=(), monkeypatch=None):
    """A toy network; its defaults are those of nano unless another family is asked for."""
    backbone = Backbone("toy", "a" * 64, toy_sam())
    if monkeypatch is not None:
        monkeypatch.setattr(Backbone, "family", family)
    return Conditions(backbone, dict(settings), Path("bank"))


def trainings(options, **rest):
    return trainings_of(data(), options, conditions(**rest))


def test_the_papers_preset_is_every_value_of_its_section(monkeypatch):
    weights, values = PRESETS["paper"]
    assert weights == "vit_b"
    shared = conditions("vit_b", values, monkeypatch)
    rates = {"ptsam": 0.05, "ptsam-encoder": 0.01}
    for entry in entries_by_name(("all",)):
        if entry.method is None:
            continue
        settings = entry.trainer(shared).settings
        recipe, method = settings.recipe, settings.method
        assert (recipe.epochs, recipe.steps_per_epoch, recipe.batch_size) == (1000, 20, 2)
        assert (recipe.views, recipe.warmup_steps, recipe.cross_entropy_weight) == (0, 0, 0.2)
        assert (method.name, method.tiles, method.tunes_encoder) == (entry.method, 1, entry.adapt == "encoder")
        assert recipe.learning_rate == rates.get(entry.name, recipe.learning_rate)
        assert settings.augmentation == Settings().augmentation, "one augmentation for all"
        if entry.method == "ptsam":
            assert method.decoder_prompts == 8
            assert method.encoder_prompts == (8 if entry.adapt == "encoder" else 0)
    assert ENTRIES["nnunet"].trainer(shared).config == NnunetConfig(1000, 20, None, 2)


def data():
    return [NamedDataset("discs", tuple(pairs(10)))]


def test_datasets_that_chose_a_methods_defaults_are_named(monkeypatch):
    entries = entries_by_name(("ptsam", "autosam", "ptsam-encoder", "nnunet"))
    assert warnings_of(data(), entries, "nano") == []
    seen = {"data": [{"name": "elsewhere", "images": [pair.digest[:DIGEST] for pair in pairs(1)]}]}
    monkeypatch.setattr(defaults, "evidence", lambda family, adapt, method: seen if adapt == "decoder" else None)
    (warning,) = warnings_of(data(), entries, "nano")
    assert warning == (
        "The defaults of PTSAM, AutoSAM were selected on images of discs. "
        "Their scores on this dataset are too optimistic."
    ), "AutoSAM shares PTSAM's recipe"


def test_training_images_are_nested_and_the_held_out_ones_fixed():
    found = trainings(CompareOptions([], ("ptsam", "samed"), sizes=(2, 4, 99), splits=2))
    assert [each.name for each in found[:4]] == [
        f"discs/0/{end}" for end in ("0/untuned", "2/ptsam", "2/samed", "4/ptsam")
    ]
    assert sorted({each.size for each in found}) == [0, 2, 4, 8], "all there are stands for more than there are"
    for split in range(2):
        of_split = [each for each in found if each.fold.seed == split]
        assert len({each.fold.held_out for each in of_split}) == 1
        by_size = {each.size: each.fold.train for each in of_split}
        assert by_size[4][:2] == by_size[2]
        assert by_size[8][:4] == by_size[4]
        assert not set(by_size[8]) & set(of_split[0].fold.held_out)


@pytest.mark.parametrize(("asked", "message"), [
    ({"methods": ("ptsan",)}, "There is no method ptsan. Did you mean ptsam?"),
    ({"preset": "papers"}, "There is no preset papers. Did you mean paper?"),
    ({"sizes": (0,)}, "--sizes and --splits must be whole numbers, at least 1."),
])  # fmt: skip
def test_what_cannot_be_compared_is_said(asked, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        compare([tmp_path], out=tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()
    assert str(caught.value) == message


def test_a_setting_that_no_method_has_is_said_before_anything_runs():
    with pytest.raises(ConfigError, match=r"^The comparison has 2 problems:\n  ptsam +There is no setting"):
        trainings(CompareOptions([], ("ptsam", "samed")), settings={"recipe.epoch": 3})


def result(entry, *scores, size=16, split=0, **rest):
    dice = {f"image{number}": score for number, score in enumerate(scores)}
    values = {"seconds": 10.0, "peak_bytes": 2**30, "trainable": 2048, "bytes": 8192, **rest}
    return Result("discs", split, size, entry, size, dice, **values)


def test_the_table_of_a_running_comparison_has_what_is_finished_so_far():
    found = [result("ptsam", 0.8), result("ptsam", 0.9, split=1), result("untuned", 0.4, size=0)]
    table = progress_table(found)
    assert [column.header for column in table.columns] == ["dataset", "images", "PTSAM", "untuned SAM"]
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows == [("discs", "none", "", "40.0"), ("discs", "16", "85.0 (2 splits)", "")]


def test_the_best_is_bold_and_what_is_as_good_has_a_star():
    good, close = [0.8 + i / 100 for i in range(8)], [0.8 + i / 100 - (-1) ** i / 200 for i in range(8)]
    found = [result("ptsam", good[0] + 0.002, *good[1:]), result("cellseg1", *close)]
    found += [result("samed", *(g - 0.05 for g in good))]
    found += [replace(one, split=1) for one in found] + [result("untuned", *(0.2,) * 8, size=0)]
    assert table_2(found) == (
        "| dataset | images | PTSAM | CellSeg1 | SAMed | untuned SAM |\n"
        "|---|---|---|---|---|---|\n"
        "| discs | 16 | **83.5 ± 0.0** | 83.5 ± 0.0 \\* | 78.5 ± 0.0 | 20.0 ± 0.0 |"
    )
    assert not not_significantly_worse(found, "ptsam", "samed")
    assert mean_and_std([result("ptsam", 0.5), result("ptsam", 0.7)]) == pytest.approx((0.6, 0.1414), abs=1e-4)


def test_of_a_training_that_was_run_again_the_last_result_counts():
    key = TrainingKey("discs/0/16/ptsam", "discs", 0, 16, "ptsam", 16)
    failed, finished = Failed(key, 0.0, "no"), Finished(key, 0.0, Outcome({"a": 0.5}, 1.0, 2, 1, 4, 1))
    (found,) = results_of([failed, finished])
    assert found.mean == 0.5
    assert results_of([finished, failed]) == []


def test_figures_name_every_method_though_a_dataset_lacks_a_size(tmp_path):
    places = [("few", 16), ("many", 16), ("many", 64)]
    results = [
        Result(dataset, 0, size, entry, size, {"a": 0.5}, 1.0, 1, 10, 40)
        for dataset, size in places
        for entry in ("ptsam", "samed")
    ]
    for path in write_figures(tmp_path, results):
        drawn = path.read_text()  # text is drawn as shapes, with a comment that says what it is
        assert all(drawn.count(f"<!-- {name} -->") == 1 for name in ("PTSAM", "SAMed")), path.name


def test_error_bars_stand_side_by_side_and_a_dataset_has_its_own_sizes_only():
    places = [("few", 16), ("many", 16), ("many", 64)]
    results = [
        Result(dataset, split, size, entry, size, {"a": 0.5 + 0.1 * split}, 1.0, 1, 10, 40)
        for dataset, size in places for entry in ("ptsam", "autosam", "samed") for split in (0, 1)
    ]  # fmt: skip
    few, many = paper_figures._images(results).axes
    assert [[label.get_text() for label in axes.get_xticklabels()] for axes in (few, many)] == [["16"], ["16", "64"]]
    bars = [tuple(bar.get_xdata()) for bar in few.get_lines() if bar.get_linestyle() != "None"]
    assert len(set(bars)) == 3, "each has a place of its own"
    colours = {bar.get_color() for bar in few.get_lines()}
    assert len(colours) == 2, "SAMed has AutoSAM's decoder, so it has its colour"


def test_the_gain_of_each_split_is_drawn_over_their_mean():
    dice = {("autosam", 0): 0.5, ("samed", 0): 0.6, ("autosam", 1): 0.4, ("samed", 1): 0.7, ("samed", 2): 0.9}
    results = [Result("discs", split, 16, entry, 16, {"a": d}, 1.0, 1, 10, 40) for (entry, split), d in dice.items()]
    (axes,) = paper_figures._encoder(results).axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([20])
    assert sorted(axes.get_lines()[0].get_ydata()) == pytest.approx([10, 30]), "a split without both has no gain"


def test_a_damaged_mask_of_the_panel_is_named_and_stops_nothing(tmp_path):
    folder = tmp_path / "masks" / "ptsam"
    folder.mkdir(parents=True)
    held_out = pairs(2)
    for number, pair in enumerate(held_out):
        Image.fromarray(pair.load().mask).save(folder / f"{number}.png")
    whole = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(whole[: len(whole) // 2])
    assert damaged_masks(tmp_path / "masks", ["ptsam", "autosam"], held_out) == [folder / "0.png"]
    assert write_panel(tmp_path / "panel.png", tmp_path / "masks", ["ptsam"], held_out)
    assert (tmp_path / "panel.png").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_comparison_on_toys_from_folders_to_figures(ray, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "discs", 8)
    asked = {"methods": ("ptsam", "autosam", "samed", "unet", "random", "otsu"), "sizes": (2, 4), "splits": 1}
    asked |= {"backbone": toy, "settings": QUICK, "out": "out", "track": False}
    results = compare([folder], **asked)
    assert len(results) == 1 + 2 * 6
    held_out = {tuple(result.dice) for result in results}
    assert len(held_out) == 1, "all are measured on the same images"
    counts = {result.entry: result.trainable for result in results}
    assert counts["ptsam"] == 256 * PROMPTS
    assert counts["autosam"] == 3_645_344
    assert counts["untuned"] == counts["otsu"] == 0
    assert counts["random"] == counts["ptsam"]
    assert all(result.peak_bytes > 10**8 for result in results)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| discs | 2 |" in text
    assert "recipe.epochs = 2" in text
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert figures == {"parameters.svg", "encoder.svg", "images.svg", "panel-discs.png"}
    assert parquet.read_table(tmp_path / "out" / "results.parquet").num_rows == sum(len(r.dice) for r in results)
    assert not (tmp_path / "out" / "bank").exists()

    # As if it had died after ten: what is over is not run again, and the rest ends as it would have.
    path = tmp_path / "out" / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:10]) + lines[10][:20])
    again = compare([folder], **asked)
    scores = [{(r.entry, r.split, r.size): r.dice for r in found} for found in (results, again)]
    assert scores[0] == scores[1]
    assert path.read_text().splitlines()[:10] == [line.rstrip("\n") for line in lines[:10]]

    with pytest.raises(
        OutputError, match=r"^out contains a comparison with other options:\n  sizes: \[2, 4\] in the folder, "
    ):
        compare([folder], **{**asked, "sizes": (2, 3)})


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "steps", "trainable"), [
    (ENTRIES["ptsam"], 2, 2048), (ENTRIES["random"], 2, 2048), (UNTUNED, 0, 0),
], ids=lambda value: getattr(value, "name", None))  # fmt: skip
def test_an_entry_on_a_tiny_vit_is_trained_and_measured(entry, steps, trainable, tiny, tmp_path):
    backbone = load(tiny)
    quick = {"recipe.epochs": 1, "recipe.steps_per_epoch": 2, "recipe.batch_size": 1, "recipe.views": 1}
    prompts = {"method.decoder_prompts": 8} if trainable else {}
    trainer = entry.trainer(Conditions(backbone, quick | prompts, tmp_path / "bank"))
    trainer = pickle.loads(pickle.dumps(trainer))  # as another process receives it
    fold = Fold("discs/0", 0, tuple(pairs(2)), tuple(pairs(2, start=10)))
    training = Training("discs", fold, 2, entry.name, trainer, save_masks=True)
    outcome = train(training, Workspace(backbone, tmp_path, torch.get_num_threads(), "cpu"))
    assert (outcome.steps, outcome.trainable, outcome.bytes) == (steps, trainable, 4 * trainable)
    assert outcome.dice.keys() == {"disc10", "disc11"}
    assert all(0 <= dice <= 1 for dice in outcome.dice.values())
    with Image.open(tmp_path / "masks" / "discs" / entry.name / "0.png") as mask:
        assert mask.size == (64, 48)


def interrupted(trainings, workspace, wants, journal, **options):
    """As when somebody presses Ctrl-C after the untuned SAM."""
    key = TrainingKey(trainings[0].name, "discs", 0, 0, "untuned", 0)
    journal.write(Finished(key, 0.0, Outcome({"disc00": 0.25}, 0.0, 0, 0, 0, 10**9)))
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, nnU-Net's own
@pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="the extra is not installed")
def test_nnunet_takes_part_and_what_fails_does_not_stop_the_others(ray, toy, tmp_path, store, capsys, monkeypatch):
    folder = write_folder(tmp_path / "discs", 5)
    own = {"nnunet.epochs": 1, "nnunet.steps_per_epoch": 1, "nnunet.gpu_memory_gb": 0.5, "nnunet.workers": 1}
    asked = {"methods": ("nnunet", "ptsam"), "sizes": (2,), "splits": 1, "out": "out"}
    asked |= {"backbone": toy, "settings": {**QUICK, **own}}
    with monkeypatch.context() as patch:
        patch.setattr("ptsam_auto.compare.runner.run_trainings", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare([folder], **asked, track=False)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "**2 of 3 trainings are not finished yet.**" in text, "what there is can be looked at"
    assert "25.0" in text
    # Somebody else has put something into nnU-Net's place.
    obstacle = tmp_path / "out" / "trainings" / "discs" / "0" / "2" / "nnunet"
    obstacle.parent.mkdir(parents=True)
    obstacle.touch()
    results = compare([folder], **asked, terminal=Terminal())
    assert {result.entry for result in results} == {"ptsam", "untuned"}
    assert "discs/0/2/nnunet failed: " in capsys.readouterr().err

    results = {result.entry: result for result in compare([folder], **asked)}
    assert results.keys() == {"nnunet", "ptsam", "untuned"}, "what was in the way may have gone"
    assert results["nnunet"].bytes == 4 * results["nnunet"].trainable > 4_000_000
    events = journal.read(tmp_path / "out" / "journal.jsonl", Event)[0]
    assert [event.training.entry for event in events].count("ptsam") == 1
    experiment = store.get_experiment_by_name("ptsam-auto compare")
    runs = store.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert (len(runs), len(children)) == (4, 3), "what is there is not logged again"
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["request"]["methods"] == ["nnunet", "ptsam"]


def test_every_entry_has_settings_on_every_backbone(monkeypatch):
    for family in defaults.families():
        for entry in ENTRIES.values():
            entry.trainer(conditions(family, {"recipe.views": 4, "recipe.epochs": 3}, monkeypatch))


def test_several_classes_are_refused_before_any_training(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_example(tmp_path / "cells", count=2, classes=True)
    with pytest.raises(DatasetError, match=r"several classes \(cell, debris, speck\); expected one"):
        compare([tmp_path / "cells"], backbone=toy, track=False, classes=True)

"""The comparison: fair splits, the paper's settings, honest tables, and trainings that go on after a death."""

import importlib.util
import json
from dataclasses import replace

import pytest
from pyarrow import parquet

from ptsam_auto.compare.entries import ENTRIES, chosen, values_of
from ptsam_auto.compare.figures import write_figures
from ptsam_auto.compare.results import Result, as_good, mean_and_std, results_of, table_2
from ptsam_auto.compare.session import Comparison, alarms_of, bouts_of, compare
from ptsam_auto.errors import ConfigError, OutputError
from ptsam_auto.search.cells import SearchData
from ptsam_auto.show import Show
from ptsam_auto.tracking import journal
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings
from tests.toys import PROMPTS, pairs, write_folder

QUICK = {"recipe.epochs": 2, "recipe.steps_per_epoch": 2, "recipe.views": 2, "method.tiles": 1}


def test_the_papers_preset_is_every_value_of_its_section():
    asked = Comparison(preset="paper")
    assert asked.weights == "vit_b"
    rates = {"ptsam": 0.05, "ptsam-encoder": 0.01}
    for entry in chosen(("all",)):
        if entry.method == "nnunet":
            continue
        settings = Settings.from_paths(values_of(entry, "vit_b", asked.changes))
        recipe, method = settings.recipe, settings.method
        assert (recipe.epochs, recipe.steps_per_epoch, recipe.batch_size) == (1000, 20, 2)
        assert (recipe.views, recipe.warmup_steps, recipe.cross_entropy_weight) == (0, 0, 0.2)
        assert (method.name, method.tiles, method.tunes_encoder) == (entry.method, 1, entry.adapt == "encoder")
        assert recipe.learning_rate == rates.get(entry.name, recipe.learning_rate)
        assert settings.augmentation == Settings().augmentation, "one augmentation for all"
        if entry.method == "ptsam":
            assert method.decoder_prompts == 8
            assert method.encoder_prompts == (8 if entry.adapt == "encoder" else 0)
    nnunet = [bout for bout in bouts_of(data(), asked, "vit_b") if bout.who == "nnunet"]
    assert nnunet[0].values == {"epochs": 1000, "steps_per_epoch": 20, "gpu_memory_gb": None, "workers": 2}


def data():
    return [SearchData("discs", tuple(pairs(10)))]


def test_datasets_that_chose_a_methods_defaults_are_named(monkeypatch):
    asked = Comparison(("ptsam", "autosam", "ptsam-encoder", "nnunet"))
    assert alarms_of(data(), asked, "nano") == []
    seen = {"data": [{"name": "elsewhere", "images": [pair.digest[: defaults.DIGEST] for pair in pairs(1)]}]}
    monkeypatch.setattr(defaults, "evidence", lambda family, adapt, method: seen if adapt == "decoder" else None)
    (alarm,) = alarms_of(data(), asked, "nano")
    assert alarm.startswith("Images of discs chose defaults of PTSAM, AutoSAM: "), "a rival shares PTSAM's recipe"


def test_training_images_are_nested_and_the_held_out_ones_fixed():
    bouts = bouts_of(data(), Comparison(("ptsam", "samed"), sizes=(2, 4, 99), splits=2), "nano")
    assert [bout.name for bout in bouts[:4]] == [
        f"discs/0/{end}" for end in ("0/untuned", "2/ptsam", "2/samed", "4/ptsam")
    ]
    assert sorted({bout.size for bout in bouts}) == [0, 2, 4, 8], "all there are stands for more than there are"
    for split in range(2):
        of_split = [bout for bout in bouts if bout.cell.seed == split]
        assert len({bout.cell.held_out for bout in of_split}) == 1
        by_size = {bout.size: bout.cell.train for bout in of_split}
        assert by_size[4][:2] == by_size[2]
        assert by_size[8][:4] == by_size[4]
        assert not set(by_size[8]) & set(of_split[0].cell.held_out)


@pytest.mark.parametrize(("asked", "message"), [
    ({"methods": ("ptsan",)}, "There is no method ptsan. Did you mean ptsam?"),
    ({"preset": "papers"}, "There is no preset papers. There is: paper."),
    ({"sizes": (0,)}, "Sizes and splits are whole numbers, at least 1."),
])  # fmt: skip
def test_what_cannot_be_compared_is_said(asked, message):
    with pytest.raises(ConfigError) as caught:
        Comparison(**asked)
    assert str(caught.value) == message


def test_a_setting_that_no_method_has_is_said_before_anything_runs():
    with pytest.raises(ConfigError, match=r"^The comparison has 2 problems:\n  ptsam +There is no setting"):
        bouts_of(data(), Comparison(("ptsam", "samed"), settings={"recipe.epoch": 3}), "nano")


def result(entry, *scores, size=16, split=0, **rest):
    dice = {f"image{number}": score for number, score in enumerate(scores)}
    values = {"seconds": 10.0, "peak_bytes": 2**30, "trainable": 2048, "bytes": 8192, **rest}
    return Result("discs", split, size, entry, size, dice, **values)


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
    assert not as_good(found, "ptsam", "samed")
    assert mean_and_std([result("ptsam", 0.5), result("ptsam", 0.7)]) == pytest.approx((0.6, 0.1414), abs=1e-4)


def test_of_a_training_that_was_run_again_the_last_result_counts():
    event = {"bout": "discs/0/16/ptsam", "dataset": "discs", "split": 0, "size": 16, "entry": "ptsam", "train": 16}
    event |= {"seconds": 1.0, "peak_bytes": 1, "trainable": 1, "bytes": 4, "time": 0.0}
    failed = {**event, "event": "failed", "error": "no"}
    (found,) = results_of([failed, {**event, "event": "ended", "dice": {"a": 0.5}}])
    assert found.mean == 0.5
    assert results_of([{**event, "event": "ended", "dice": {"a": 0.5}}, failed]) == []


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_comparison_on_toys_from_folders_to_figures(ray, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "discs", 8)
    asked = Comparison(("ptsam", "autosam", "samed"), sizes=(2, 4), splits=1, backbone=toy, settings=QUICK)
    results = compare([folder], asked, out="out", track=False)
    assert len(results) == 1 + 2 * 3
    held_out = {tuple(result.dice) for result in results}
    assert len(held_out) == 1, "all are measured on the same images"
    counts = {result.entry: result.trainable for result in results}
    assert counts["ptsam"] == 256 * PROMPTS
    assert counts["autosam"] == 3_645_344
    assert counts["untuned"] == 0
    assert all(result.peak_bytes > 10**8 for result in results)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "| discs | 2 |" in text
    assert "recipe.epochs = 2" in text
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert figures == {"parameters.svg", "encoder.svg", "images.svg", "panel-discs.png"}
    assert parquet.read_table(tmp_path / "out" / "results.parquet").num_rows == sum(len(r.dice) for r in results)
    assert not (tmp_path / "out" / "bank").exists()

    # As if it had died after five: what is over is not run again, and the rest ends as it would have.
    path = tmp_path / "out" / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:5]) + lines[5][:20])
    again = compare([folder], asked, out="out", track=False)
    scores = [{(r.entry, r.split, r.size): r.dice for r in found} for found in (results, again)]
    assert scores[0] == scores[1]
    assert path.read_text().splitlines()[:5] == [line.rstrip("\n") for line in lines[:5]]

    with pytest.raises(OutputError, match=r"^out, as another comparison, has 1 problem:\n  sizes  \[2, 4\] there"):
        compare([folder], replace(asked, sizes=(2, 3)), out="out", track=False)


def interrupted(bouts, task, wants, journal, **options):
    """As when somebody presses Ctrl-C after the untuned SAM."""
    done = {"event": "ended", "bout": bouts[0].name, "dataset": "discs", "split": 0, "size": 0, "entry": "untuned"}
    costs = {"seconds": 0.0, "steps": 0, "trainable": 0, "bytes": 0, "peak_bytes": 10**9}
    journal.write({**done, "train": 0, "dice": {"disc00": 0.25}, **costs})
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, nnU-Net's own
@pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="the extra is not installed")
def test_nnunet_takes_part_and_what_fails_does_not_stop_the_others(ray, toy, tmp_path, store, capsys, monkeypatch):
    folder = write_folder(tmp_path / "discs", 5)
    own = {"nnunet.epochs": 1, "nnunet.steps_per_epoch": 1, "nnunet.gpu_memory_gb": 0.5, "nnunet.workers": 1}
    asked = Comparison(("nnunet", "ptsam"), sizes=(2,), splits=1, backbone=toy, settings={**QUICK, **own})
    with monkeypatch.context() as patch:
        patch.setattr("ptsam_auto.compare.run.run_bouts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compare([folder], asked, out="out", track=False)
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "**2 of 3 trainings are still to come.**" in text, "what there is can be looked at"
    assert "25.0" in text
    # Somebody else has put something into nnU-Net's place.
    obstacle = tmp_path / "out" / "bouts" / "discs" / "0" / "2" / "nnunet"
    obstacle.mkdir(parents=True)
    (obstacle / "thesis.txt").touch()
    results = compare([folder], asked, out="out", show=Show())
    assert {result.entry for result in results} == {"ptsam", "untuned"}
    assert "discs/0/2/nnunet failed: " in capsys.readouterr().err

    results = {result.entry: result for result in compare([folder], asked, out="out")}
    assert results.keys() == {"nnunet", "ptsam", "untuned"}, "what was in the way may have gone"
    assert results["nnunet"].bytes == 4 * results["nnunet"].trainable > 4_000_000
    events = journal.read(tmp_path / "out" / "journal.jsonl")[0]
    assert [event["entry"] for event in events].count("ptsam") == 1
    experiment = store.get_experiment_by_name("ptsam-auto compare")
    runs = store.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert (len(runs), len(children)) == (4, 3), "what is there is not logged again"
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["asked"]["methods"] == ["nnunet", "ptsam"]


def test_every_entry_has_settings_on_every_backbone():
    for family in defaults.families():
        for entry in ENTRIES.values():
            if entry.method != "nnunet":
                Settings.from_paths(values_of(entry, family, {"recipe.views": 4, "recipe.epochs": 3}))

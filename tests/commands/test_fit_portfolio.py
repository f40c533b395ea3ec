"""`fit` with nothing but a folder: members of the portfolio are tried, and the best or a mixture is kept."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest

from ptsam_auto import fit, load_specialist
from ptsam_auto.errors import ConfigError
from ptsam_auto.specialist.artifact import load_folds
from ptsam_auto.terminal import Terminal
from tests.toys import sample, write_folder

RECIPE = '"recipe.epochs" = 8, "recipe.steps_per_epoch" = 2, "recipe.views" = 4'


@pytest.fixture(autouse=True)
def lab(tmp_path, monkeypatch, toy):
    """A portfolio of three members on a toy, each a second."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "lab.toml"
    path.write_text("".join(
        f'[[member]]\nname = "{name}"\nbackbone = "{toy}"\nadapt = "decoder"\nsettings = {{ {own}, {RECIPE} }}\n'
        for name, own in [("whole", '"method.tiles" = 1'), ("tiles", '"method.tiles" = 2'),
                          ("slow", '"recipe.learning_rate" = 1e-6')]
    ))  # fmt: skip
    monkeypatch.setenv("PTSAM_AUTO_PORTFOLIO", str(path))
    return path


def chosen(folder, **rest):
    return fit(folder, **{"minutes": 60, "folds": 2, "track": False, **rest})


def test_the_folder_alone_is_enough(discs, tmp_path, capsys):
    made = chosen(discs, terminal=Terminal())
    said = " ".join(capsys.readouterr().err.split())
    choice, record, out = made.record.choice, made.record, tmp_path / "discs-specialist"
    assert [tried.name for tried in choice.tried] == ["whole", "tiles", "slow"]
    assert {member.name for member in record.members} <= {"whole", "tiles", "slow"}
    assert sum(member.weight for member in record.members) == pytest.approx(1)
    assert all(len(tried.dice_of_images) == 6 for tried in choice.tried)
    best = max(tried.dice for tried in choice.tried if tried.share == 1)
    assert record.scores.crossfit.dice >= best - 0.002
    assert (choice.minutes, choice.skipped) == (60, ())
    assert all(member.steps == 16 for member in record.members), "trained with all steps, there is time"
    for tried in choice.tried:
        assert f"{tried.name}: Dice {100 * tried.dice:.1f} by cross-fitting" in said
    assert "Chosen: " in said
    assert "Expected Dice on new images: " in said
    report = (out / "report.html").read_text()
    assert "What was tried, and what was chosen" in report
    assert sorted(path.name for path in out.iterdir()) == [
        "folds.safetensors", "report.html", "specialist.json", "specialist.safetensors"
    ]  # fmt: skip
    loaded, image = load_specialist(out), sample(20).image
    assert np.array_equal(loaded.probability(image), made.probability(image))
    assert len(load_folds(out, loaded)) == 2


def test_own_test_images_have_no_part_in_the_choice(discs, tmp_path):
    test = write_folder(tmp_path / "test", 3, start=10)
    without, with_test = chosen(discs, out="a").record, chosen(discs, out="b", test=test).record
    assert [tried.dice_of_images for tried in with_test.choice.tried] == [
        tried.dice_of_images for tried in without.choice.tried
    ]
    assert [(one.name, one.weight) for one in with_test.members] == [(one.name, one.weight) for one in without.members]
    assert with_test.scores.crossfit == without.scores.crossfit
    assert Path("a/specialist.safetensors").read_bytes() == Path("b/specialist.safetensors").read_bytes()
    assert len(with_test.scores.test.images) == 3


def test_with_no_time_only_the_first_member_is_tried_and_the_others_are_named(discs, capsys):
    made = chosen(discs, minutes=0.001, terminal=Terminal())
    (member,), choice = made.record.members, made.record.choice
    assert member.name == "whole"
    assert [tried.name for tried in choice.tried] == ["whole"]
    assert [name for name, _ in choice.skipped] == ["tiles", "slow"]
    said = " ".join(capsys.readouterr().err.split())
    for name, needed in choice.skipped:
        assert needed.startswith("about ")
        assert f"{name}: not tried, it takes {needed}; a larger --minutes tries it" in said
    text = " ".join(Path("discs-specialist/report.html").read_text().split())
    assert "Not tried within 0.001 minutes: tiles (it takes about " in text


def test_a_member_can_be_insisted_on(discs):
    record = chosen(discs, member="tiles").record
    assert ([one.name for one in record.members], record.choice) == (["tiles"], None)
    assert record.members[0].method["tiles"] == 2
    with pytest.raises(ConfigError) as error:
        chosen(discs, out="other", member="tils")
    assert str(error.value) == "There is no member tils in the portfolio. Did you mean tiles?"
    assert not Path("other").exists(), "a wrong name leaves nothing behind"


def test_without_cross_fitting_the_first_member_is_trained(discs, tmp_path):
    test = write_folder(tmp_path / "test", 3, start=10)
    record = chosen(discs, folds=0, test=test).record
    assert [one.name for one in record.members] == ["whole"]
    assert (record.scores.crossfit, record.scores.expected) == (None, None)
    assert len(record.scores.test.images) == 3


def test_a_fit_that_was_interrupted_with_other_settings_begins_anew(discs, toy, monkeypatch):
    from ptsam_auto.commands import fit as command

    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    settings = {"recipe.epochs": 2, "recipe.steps_per_epoch": 2, "recipe.views": 2}
    own = {"backbone": toy, "seed": 3, "out": "killed"}
    with monkeypatch.context() as patched:
        patched.setattr(command, "_measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            chosen(discs, settings=settings, **own)
    assert Path("killed/in_progress/plan.json").exists()
    other = {**settings, "recipe.epochs": 6, "recipe.learning_rate": 0.2}
    after = chosen(discs, settings=other, **own).record
    anew = chosen(discs, settings=other, **{**own, "out": "anew"}).record
    assert after.scores.crossfit == anew.scores.crossfit
    assert Path("killed/folds.safetensors").read_bytes() == Path("anew/folds.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about SQLAlchemy and others
def test_in_mlflow_the_fit_is_a_parent_run_and_its_members_are_children(discs, store):
    record = chosen(discs, track=True).record
    runs = store.search_runs([store.get_experiment_by_name("ptsam-auto").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert set(children) == {"whole", "tiles", "slow"}
    weights = {member.name: member.weight for member in record.members}
    for tried in record.choice.tried:
        child = children[tried.name]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.metrics["dice/cross_fitted"] == pytest.approx(tried.dice)
        assert child.data.tags["ptsam.chosen"] == str(tried.name in weights)
        if tried.name in weights:
            assert float(child.data.tags["ptsam.weight"]) == weights[tried.name]
            assert len(store.get_metric_history(child.info.run_id, "loss/total")) == 8
    assert parent.data.params["members"] == ", ".join(weights)
    assert parent.data.metrics["dice/expected"] == pytest.approx(record.scores.expected.dice)
    assert mlflow.active_run() is None


def test_the_record_says_how_long_everything_took(discs):
    chosen(discs)
    about = json.loads(Path("discs-specialist/specialist.json").read_text())
    assert about["format"] == 3
    assert all(tried["seconds"] > 0 for tried in about["choice"]["tried"])
    assert about["cost"]["seconds"] >= sum(tried["seconds"] for tried in about["choice"]["tried"])


def test_the_gain_is_over_the_untuned_network_at_its_best_scale_not_at_that_of_the_chosen_member(discs):
    whole, tiles = (chosen(discs, out=name, member=name).record.scores.untuned.dice for name in ("whole", "tiles"))
    assert whole != tiles
    assert chosen(discs, out="both").record.scores.untuned.dice == max(whole, tiles)

"""The command `search`: refuses what it cannot do, goes on after any death, leaves evidence."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyarrow import parquet

from ptsam_auto.api import search
from ptsam_auto.errors import BackboneError, ConfigError, DatasetError, OutputError, SearchError
from ptsam_auto.search.record import Ended, Started, read_search
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.log_search import EXPERIMENT
from tests.search.toys import YAML
from tests.toys import toy_checkpoint, write_folder

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's and MLflow's own


@pytest.fixture
def asked(tmp_path, monkeypatch, toy):
    """A space file and two folders of discs, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(YAML)
    data = [write_folder(tmp_path / "discs", 5), write_folder(tmp_path / "more", 5, start=20)]
    return {"space": "mine.yaml", "data": data, "backbone": toy, "track": False, "at_once": 1}


def journal(folder):
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def scores(found):
    return [
        (trial.number, trial.state, trial.configuration, [rung.folds for rung in trial.rungs]) for trial in found.trials
    ]


COMMAND = (
    "import sys; from ptsam_auto.api import search; search('mine.yaml', ['discs', 'more'],"
    " backbone=sys.argv[1], out='killed', track=False, at_once=1)"
)


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_as_if_it_had_not_been(ray, asked, toy, tmp_path):
    undisturbed = search(**asked, out="undisturbed")
    assert [trial.state for trial in undisturbed.trials].count("running") == 0

    killed = tmp_path / "killed"
    running = subprocess.Popen(
        [sys.executable, "-c", COMMAND, toy], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    give_up = time.monotonic() + 300
    while not (ended := (killed / "journal.jsonl").exists() and any(e["event"] == "finished" for e in journal(killed))):
        assert running.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert ended
    before = journal(killed)
    assert sum(event["event"] in ("finished", "stopped") for event in before) < 4, "too quick to be killed"
    with (killed / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "rung", "tri')  # as a death in the middle of a line leaves it

    found = search(**asked, out="killed", terminal=Terminal())
    after = journal(killed)
    assert after[: len(before)] == before
    assert [e["trial"] for e in after if e["event"] == "started"] == [0, 1, 2, 3], "a trial was begun anew"
    assert scores(found) == scores(undisturbed)
    assert not (killed / "bank").exists()
    assert not (killed / "trials").exists()


@pytest.mark.slow
def test_a_search_leaves_evidence_and_a_dead_server_gets_it_later(ray, asked, store, tmp_path, monkeypatch, capsys):
    """Also every combination: `ablate` is the same machinery."""
    import mlflow

    Path("mine.yaml").write_text(YAML.replace("{log_uniform: [0.001, 0.2]}", "{choice: [0.01, 0.05]}"))
    lab = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(None)
    tracked = {**asked, "track": True, "exhaustive": True, "terminal": Terminal()}
    found = search(**tracked)
    assert found.folder == Path("mine-ablation")
    assert [(trial.number, trial.state) for trial in found.trials] == [(number, "finished") for number in range(6)]
    assert "The logging to MLflow is incomplete (MlflowException: " in capsys.readouterr().err
    table = parquet.read_table("mine-ablation/table.parquet")
    assert table.column("method.decoder_prompts").to_pylist() == [1, 2, 8] * 2
    assert table.column("dice").to_pylist() == [trial.dice for trial in found.trials]
    assert {"dice/discs/0", "dice/more/1", "standard_error", "seconds"} <= set(table.column_names)
    figures = {path.stem for path in Path("mine-ablation/figures").iterdir()}
    assert figures >= {"history", "slice", "contour", "prompt_counts", "cost"}

    monkeypatch.setenv("MLFLOW_TRACKING_URI", lab)
    mlflow.set_tracking_uri(None)
    search(**tracked)
    assert "The search was logged to MLflow. View it with: MLFLOW_TRACKING_URI=sqlite:///" in capsys.readouterr().err
    runs = store.search_runs([store.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert len(runs) == 7
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    logged = {one.path for one in store.list_artifacts(parent.info.run_id)}
    assert logged == {"figures", "mine.yaml", "search.json", "table.parquet"}

    with pytest.raises(OutputError) as error:
        search(**{**tracked, "data": asked["data"][:1]})
    lines = str(error.value).splitlines()
    assert lines[0] == "mine-ablation contains a search with other options:"
    assert lines[1].startswith("  data: ")
    assert lines[-1] == "Choose another --out, or use the same options as before."


def test_a_folder_with_something_else_in_it_is_left_alone(asked):
    Path("thesis").mkdir()
    Path("thesis/chapter1.txt").touch()
    with pytest.raises(OutputError) as error:
        search(**asked, out="thesis")
    assert str(error.value) == (
        "thesis is not empty and does not contain a search.\nChoose another --out, or empty the folder first."
    )


def test_two_searches_in_one_folder_are_refused(asked):
    from filelock import FileLock

    Path("busy").mkdir()
    with FileLock("busy/lock"), pytest.raises(OutputError) as error:
        search(**asked, out="busy")
    assert str(error.value) == "busy is in use by another search.\nWait until it ends, or choose another --out."


def test_the_same_images_in_two_datasets_are_refused(asked, tmp_path):
    again = write_folder(tmp_path / "again", 3, start=4)
    with pytest.raises(DatasetError) as error:
        search(**{**asked, "data": [*asked["data"], again]})
    assert str(error.value) == (
        "1 problem:\n"
        f"  {again}/  1 images are also in {asked['data'][0]}/, such as disc04\n"
        "Correct the list of datasets, then run the command again."
    )


def test_a_search_without_a_single_finished_trial_says_why(asked, monkeypatch):
    from ptsam_auto.search import tuner

    def failed(space, bases, tasks, seed, past, journal, **_):
        journal.write(Started(0, 0.0, {}, {"recipe.epochs": 4}))
        journal.write(Ended(0, 1.0, "failed", "too hot"))

    monkeypatch.setattr(tuner, "run_trials", failed)
    with pytest.raises(SearchError) as error:
        search(**asked)
    assert str(error.value) == "No trial of mine-search finished. The error of the first failed trial: too hot"
    assert read_search(Path("mine-search")).trials[0].state == "failed"


LISTED = """\
# Two backbones and both adaptations, exactly these configurations.
backbone: [{one}, {other}]
adapt: [decoder, encoder]
search:
  method.decoder_prompts: {{choice: [1, 2]}}
  recipe.views: {{choice: [2, 4]}}
fixed: {{recipe.epochs: 2, recipe.steps_per_epoch: 2, method.tiles: 1}}
first:
  - {{backbone: {one}, adapt: decoder, method.decoder_prompts: 1, recipe.views: 4}}
  - {{backbone: {other}, adapt: decoder, method.decoder_prompts: 1, recipe.views: 4}}
  - {{backbone: {other}, adapt: encoder, method.decoder_prompts: 2, recipe.views: 4}}
trials: 3
splits: 1
train_images: 3
stop_early: false
resources: {{cpu: 1}}
"""


@pytest.fixture
def two_backbones(asked, toy, tmp_path):
    """The same question about two backbones."""
    other = str(toy_checkpoint(tmp_path / "other.safetensors", seed=1))
    Path("listed.yaml").write_text(LISTED.format(one=toy, other=other))
    return {**asked, "space": "listed.yaml", "backbone": None}, toy, other


@pytest.mark.slow
def test_configurations_on_several_backbones_are_trained_each_on_its_own(ray, two_backbones):
    options, toy, other = two_backbones
    found = search(**options)
    assert [trial.state for trial in found.trials] == ["finished"] * 3
    assert [found.record.backbone_of(trial.configuration).weights.name for trial in found.trials] == [toy, other, other]
    on_one, on_other, tuned = found.trials
    assert on_one.rungs[-1].folds != on_other.rungs[-1].folds
    # Two folds of 10 views in five files, of which four steps of two images draw eight, and of 1 image held out.
    assert [(trial.views, trial.encoded) for trial in found.trials] == [(2 * 10, 2 * (10 + 1))] * 2 + [(0, 0)]
    assert on_one.encoding > 0
    assert (tuned.settings["recipe.views"], tuned.settings["method.encoder_prompts"]) == (0, 8)
    table = parquet.read_table("listed-search/table.parquet")
    assert table.column("backbone").to_pylist() == [toy, other, other]
    assert table.column("adapt").to_pylist() == ["decoder", "decoder", "encoder"]

    again = search(**options)
    assert again.trials == found.trials
    with pytest.raises(OutputError) as error:
        search(**{**options, "backbone": toy}, out="listed-search")
    assert "  backbone: " in str(error.value)


def test_a_backbone_that_is_not_there_is_said_before_anything_starts(two_backbones):
    options, _, other = two_backbones
    Path(other).unlink()
    with pytest.raises(BackboneError, match=f"{other} is neither a backbone"):
        search(**options)
    assert not Path("listed-search").exists()


def test_one_backbone_under_two_names_is_refused(two_backbones):
    options, toy, other = two_backbones
    Path(other).write_bytes(Path(toy).read_bytes())
    with pytest.raises(ConfigError) as error:
        search(**options)
    assert str(error.value) == f"listed: the backbones {toy} and {other} are the same. Remove one of them."

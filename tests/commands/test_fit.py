"""`fit` from a folder to a specialist: honest, repeatable, never at the cost of finished work."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from ptsam_auto import fit, load_specialist
from ptsam_auto.data.folder import read_folder
from ptsam_auto.errors import ConfigError, DatasetError, OutputError
from ptsam_auto.specialist.artifact import load_folds
from ptsam_auto.specialist.scores import evaluate
from ptsam_auto.training.defaults import Sourced
from ptsam_auto.training.scale import Scale
from tests.toys import PROMPTS, write_folder

QUICK = {"recipe.epochs": 3, "recipe.steps_per_epoch": 2, "recipe.views": 2}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def quick(folder, toy, **rest):
    return fit(folder, **{"backbone": toy, "settings": QUICK, "folds": 2, "track": False, **rest})


def learned(folder):
    return {name: tensor.tobytes() for name, tensor in load_file(folder / "specialist.safetensors").items()}


def test_a_folder_becomes_a_specialist(discs, toy, tmp_path):
    made = quick(discs, toy)
    out = tmp_path / "discs-specialist"
    files = ["folds.safetensors", "report.html", "specialist.json", "specialist.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert (out / "specialist.safetensors").stat().st_size < 1024 * PROMPTS + 800, "a prompt is 1 KB"
    assert (out / "folds.safetensors").stat().st_size < 2 * 1024 * PROMPTS + 6 * 1024 + 1000, "two folds, six images"
    image = np.asarray(Image.open(discs / "images" / "disc00.png"))
    assert np.array_equal(load_specialist(out).predict(image), made.predict(image))

    about = json.loads((out / "specialist.json").read_text())
    assert about["cost"]["trainable"] == 256 * PROMPTS
    (member,) = about["members"]
    assert (member["name"], member["weight"], member["views"], member["steps"]) == ("ptsam", 1.0, 2, 6)
    assert member["settings"]["recipe.epochs"] == {"value": 3, "source": "set by the user"}
    assert member["settings"]["recipe.steps_per_epoch"] == {"value": 2, "source": "set by the user"}
    assert member["settings"]["recipe.batch_size"] == {"value": 2, "source": "paper, Sec. 4.1.3"}
    assert about["choice"] is None, "there was nothing to choose"
    report = (out / "report.html").read_text()
    assert "<svg" in report
    assert "data:image/jpeg;base64," in report
    assert not re.search(r"""(src|href|url)[=(]["']?http""", report), "the report needs the network"


def test_every_image_trains_and_is_measured_by_a_model_that_never_saw_it(discs, toy, tmp_path):
    made = quick(discs, toy, folds=4)
    about, names = made.record, {f"disc0{i}" for i in range(6)}
    assert set(about.data.train) == names
    assert sorted(name for fold in about.data.folds for name in fold) == sorted(names)
    assert len(about.data.folds) == 4
    assert {image.name for image in about.scores.crossfit.images} == names
    assert {image.name for image in about.scores.untuned.images} == names
    assert (about.scores.test, about.data.test) == (None, ())
    assert about.scores.expected.low <= about.scores.crossfit.dice <= about.scores.expected.high

    pairs = {pair.name: pair for pair in read_folder(discs).pairs}
    folds = load_folds(tmp_path / "discs-specialist", made)
    again = {
        score.name: score
        for fold, model in zip(about.data.folds, folds, strict=True)
        for score in evaluate(model.predict, [pairs[name] for name in fold]).images
    }
    assert again == {score.name: score for score in about.scores.crossfit.images}


def test_own_test_images_leave_all_others_for_training(discs, toy, tmp_path):
    test = write_folder(tmp_path / "test", 3, start=10)
    about = quick(discs, toy, test=test).record
    assert (len(about.data.train), about.data.test_folder, len(about.data.test)) == (6, "test", 3)
    assert sorted(image.name for image in about.scores.test.images) == sorted(about.data.test)
    assert about.scores.main == about.scores.test
    again = evaluate(load_specialist(tmp_path / "discs-specialist").predict, read_folder(test).pairs)
    assert again == about.scores.test
    assert len(about.scores.crossfit.images) == 6, "both are measured"
    assert len(about.scores.untuned_test.images) == 3


def test_without_cross_fitting_the_test_images_are_the_only_score(discs, toy, tmp_path):
    test = write_folder(tmp_path / "test", 3, start=10)
    made = quick(discs, toy, test=test, folds=0)
    scores = made.record.scores
    assert (scores.crossfit, scores.expected, scores.untuned, made.record.data.folds) == (None, None, None, ())
    assert len(scores.test.images) == 3
    assert not (tmp_path / "discs-specialist" / "folds.safetensors").exists()
    assert "test images" in (tmp_path / "discs-specialist" / "report.html").read_text()


@pytest.mark.parametrize("folds", [0, 1])
def test_without_cross_fitting_and_test_images_nothing_could_be_measured(discs, toy, folds):
    with pytest.raises(DatasetError) as error:
        quick(discs, toy, folds=folds)
    assert str(error.value) == (
        f"{discs}/ has 1 problem:\n"
        f"  --folds is {folds}, so there is no cross-fitting, and there are no test images\n"
        "Add images, or give a folder of test images: --test DIR"
    )


def test_one_image_and_test_images_are_enough(toy, tmp_path):
    folder, test = write_folder(tmp_path / "one", 1), write_folder(tmp_path / "test", 2, start=10)
    about = quick(folder, toy, test=test).record
    assert (len(about.data.train), about.data.folds, about.scores.crossfit) == (1, (), None)
    assert len(about.scores.test.images) == 2


def with_parts(folder, count, held_out):
    """A folder whose images are divided by it into train/ and test/."""
    write_folder(folder / "train", count)
    write_folder(folder / "test", held_out, start=count)
    return folder


def test_images_that_the_dataset_assigns_to_a_test_part_are_its_test_images(toy, tmp_path):
    about = quick(with_parts(tmp_path / "both", 4, 2), toy).record
    assert (len(about.data.train), about.data.test_folder) == (4, "both")
    assert sorted(image.name for image in about.scores.test.images) == sorted(about.data.test)
    assert len(about.data.test) == 2
    assert not set(about.data.train) & set(about.data.test)
    assert len(about.scores.crossfit.images) == 4


def test_with_a_test_folder_all_parts_of_the_dataset_are_trained_on(toy, tmp_path):
    folder, test = with_parts(tmp_path / "both", 4, 2), write_folder(tmp_path / "other", 2, start=10)
    data = quick(folder, toy, test=test).record.data
    assert (len(data.train), data.test_folder, len(data.test)) == (6, "other", 2)


def test_test_images_that_are_trained_on_are_refused(discs, toy, tmp_path):
    test = write_folder(tmp_path / "test", 3, start=5)
    with pytest.raises(DatasetError) as error:
        quick(discs, toy, test=test)
    assert str(error.value) == (
        f"{test}/ has 1 problem:\n"
        f"  disc05  also disc05 in {discs}/\n"
        "Use test images that are not training images, then run the command again."
    )


def test_one_image_is_too_few(toy, tmp_path):
    folder = write_folder(tmp_path / "one", 1)
    with pytest.raises(DatasetError) as error:
        quick(folder, toy)
    assert str(error.value) == (
        f"{folder}/ has 1 problem:\n"
        "1 image; expected at least 2, because each image is predicted by a model that was trained without it\n"
        "Add images, or give a folder of test images: --test DIR"
    ).replace("\n1 image", "\n  1 image")


def test_tuning_the_encoder(discs, toy):
    made = quick(discs, toy, adapt="encoder", settings={**QUICK, "recipe.views": 0})
    assert made.record.cost.trainable == 256 * 8 + 2 * 8 * 24
    assert made.record.members[0].views == 0


def test_a_bank_under_a_tuned_encoder_is_refused(discs, toy):
    with pytest.raises(ConfigError) as error:
        quick(discs, toy, adapt="encoder")
    assert str(error.value) == (
        "recipe.views is 2, but with a tuned encoder the features change at every step; expected 0."
    )


@pytest.mark.slow
@pytest.mark.parametrize(("method", "adapt", "numbers"), [
    ("cellseg1", "decoder", 23_552),
    ("cellseg1", "encoder", 23_552 + 2 * 2 * 4 * (24 + 24)),
    ("autosam", None, 3_645_344),
    ("samed", None, 4_058_340 + 6_220 + 2 * 2 * 4 * (24 + 24)),
])  # fmt: skip
def test_a_rival_goes_through_the_same_doors(discs, toy, tmp_path, method, adapt, numbers):
    fresh = {"recipe.views": 0} if adapt == "encoder" or method == "samed" else {}
    made = quick(discs, toy, method=method, adapt=adapt, settings={**QUICK, **fresh})
    ours = quick(discs, toy, out="ours")
    (member,), (our,) = made.record.members, ours.record.members
    assert (member.name, member.method["name"], made.record.cost.trainable) == (method, method, numbers)
    assert member.settings["method.name"] == Sourced(method, "the selected method")
    assert made.record.scores.untuned == ours.record.scores.untuned, "the untuned SAM is the same for all"
    shared = {name: value for name, value in our.recipe.items() if name not in ("learning_rate", "views")}
    assert shared.items() <= member.recipe.items(), "the budget is the same for all"
    out = tmp_path / "discs-specialist"
    assert made.record.cost.bytes == 4 * numbers
    assert 0 < (out / "specialist.safetensors").stat().st_size - 4 * numbers < 25_000, "learned numbers, their names"
    image = np.asarray(Image.open(discs / "images" / "disc00.png"))
    assert np.array_equal(load_specialist(out).predict(image), made.predict(image))
    assert f"&middot; {method} &middot;" in (out / "report.html").read_text()


@pytest.mark.parametrize(("wrong", "message"), [
    ({"method": "medsam"}, "There is no method medsam. There are: ptsam, cellseg1, autosam, samed, nnunet."),
    ({"method": "autosam", "adapt": "encoder"},
     "autosam adapts only the decoder, not the encoder. Remove --adapt encoder."),
    ({"method": "samed", "adapt": "decoder"},
     "samed adapts only the encoder, not the decoder. Remove --adapt decoder."),
    ({"settings": {"method.name": "samed"}}, "method.name cannot be set. Choose a method with --method."),
    ({"method": "cellseg1", "settings": {"method.decoder_prompts": 4}},
     "There is no setting method.decoder_prompts. Did you mean method.decoder_rank?"),
])  # fmt: skip
def test_what_a_method_does_not_have_is_refused(discs, toy, wrong, message):
    with pytest.raises(ConfigError) as error:
        quick(discs, toy, **wrong)
    assert str(error.value) == message


def test_the_same_seed_gives_the_same_prompts_whatever_the_files_are_called(discs, toy, tmp_path):
    quick(discs, toy, out="a")
    for part in ("images", "masks"):
        for i, path in enumerate(sorted((discs / part).iterdir(), reverse=True)):
            path.rename(path.with_name(f"z{i}.png"))
    quick(discs, toy, out="b")
    quick(discs, toy, out="c", seed=1)
    assert learned(Path("a")) == learned(Path("b"))
    assert learned(Path("a")) != learned(Path("c"))


def test_a_finished_specialist_is_not_overwritten_without_force(discs, toy, tmp_path):
    quick(discs, toy)
    out = Path("discs-specialist")
    before = (out / "specialist.json").read_bytes()
    with pytest.raises(OutputError) as error:
        quick(discs, toy)
    assert str(error.value) == (
        "discs-specialist already contains a finished specialist.\nChoose another --out, or overwrite it with --force."
    )
    assert (out / "specialist.json").read_bytes() == before
    (discs / "masks" / "disc00.png").write_bytes(b"")
    with pytest.raises(DatasetError):
        quick(discs, toy, force=True)
    assert (out / "specialist.json").read_bytes() == before, "bad input cost the user finished work"
    (discs / "masks" / "disc00.png").unlink()
    quick(discs, toy, force=True)
    assert (out / "specialist.json").read_bytes() != before


def test_a_folder_with_something_else_in_it_is_left_alone(discs, toy, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").touch()
    with pytest.raises(OutputError) as error:
        quick(discs, toy, out="thesis")
    assert str(error.value) == (
        "thesis is not empty and does not contain a specialist.\nChoose another --out, or empty the folder first."
    )


def test_a_place_that_cannot_be_written_to_costs_no_time(discs, toy, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as error:
        quick(discs, toy, out="file/specialist")
    assert str(error.value) == "Cannot write to file/specialist: Not a directory.\nChoose another --out."


def command(folder, toy, out):
    program = (
        "import sys; from ptsam_auto import fit; from ptsam_auto.terminal import Terminal;"
        "fit(sys.argv[1], backbone=sys.argv[2], out=sys.argv[3], folds=2, track=False, terminal=Terminal(),"
        "settings={'recipe.epochs': 40, 'recipe.steps_per_epoch': 2, 'recipe.views': 2})"
    )
    return [sys.executable, "-c", program, str(folder), toy, str(out)]


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_and_ends_with_the_same_prompts(discs, toy, tmp_path):
    subprocess.run(command(discs, toy, "undisturbed"), check=True, capture_output=True)
    kills = 0
    for moment in ("bank", "member-0-1000/fold-0/fold.json", "member-0-1000/fold-1/checkpoint.safetensors",
                   "final-0/checkpoint.safetensors"):  # fmt: skip
        running = subprocess.Popen(command(discs, toy, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        watched = tmp_path / "killed" / "in_progress" / moment
        while running.poll() is None and not (watched.exists() and (watched.is_file() or any(watched.iterdir()))):
            time.sleep(0.002)
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
            kills += 1
        running.wait()
    assert kills == 4, "too quick to be killed"
    last = subprocess.run(command(discs, toy, "killed"), check=True, capture_output=True, text=True)
    assert "Continuing after epoch" in last.stderr
    assert learned(Path("killed")) == learned(Path("undisturbed"))
    assert Path("killed/folds.safetensors").read_bytes() == Path("undisturbed/folds.safetensors").read_bytes()
    assert not (tmp_path / "killed" / "in_progress").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about SQLAlchemy and others
def test_the_run_is_in_mlflow_with_a_model_that_predicts(discs, toy, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/lab.db")
    mlflow.set_tracking_uri(None)
    discs = discs.rename(tmp_path / "discs, v1.0: final")  # MLflow refuses most of these characters in names
    made = quick(discs, toy, track=True, out="v1.0: final")
    runs = mlflow.search_runs(experiment_names=["ptsam-auto"], output_format="list")
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    (child,) = [run for run in runs if run is not parent]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (child.info.run_name, child.data.tags["ptsam.chosen"]) == ("ptsam", "True")
    for run in (parent, child):
        assert (run.data.params["method.name"], run.data.params["recipe.epochs"]) == ("ptsam", "3")
    scores = made.record.scores
    assert parent.data.metrics["dice/cross_fitted"] == pytest.approx(scores.crossfit.dice)
    assert parent.data.metrics["dice/expected"] == pytest.approx(scores.expected.dice)
    assert len(mlflow.MlflowClient().get_metric_history(child.info.run_id, "loss/dice")) == 3
    model = mlflow.pyfunc.load_model("models:/v1_0_ final/1")
    image = np.asarray(Image.open(discs / "images" / "disc00.png"))
    answer = model.predict(image[None])
    assert np.array_equal(answer["mask"][0].astype(bool), made.predict(image))
    assert np.allclose(answer["probability"][0], made.probability(image))
    assert model.input_example.shape == (1, 64, 64, 3)
    (version,) = mlflow.MlflowClient().search_model_versions("name='v1_0_ final'")
    for tags in (version.tags, parent.data.tags):
        assert (tags["ptsam.members"], tags["ptsam.method"]) == ("ptsam", "ptsam")
        assert float(tags["ptsam.expected_dice"]) == pytest.approx(scores.expected.dice, abs=1e-4)
    (used,) = parent.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == (discs.name, made.record.data.fingerprint[:36])
    assert child.info.run_name == "ptsam"
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert parent.info.end_time - parent.info.start_time >= 1000 * made.record.cost.seconds, "it began before it"
    assert parent.info.start_time <= child.info.start_time <= child.info.end_time <= parent.info.end_time
    assert parent.data.metrics["cost/seconds"] == made.record.cost.seconds
    assert f"**{100 * scores.expected.dice:.1f}**" in parent.data.tags["mlflow.note.content"]

    # Inside a run of the user's own script it is a child, and that run goes on.
    with mlflow.start_run() as outer:
        quick(discs, toy, track=True, out="v1.0: final", force=True)
        assert mlflow.active_run().info.run_id == outer.info.run_id
    (inner,) = mlflow.search_runs(
        experiment_names=["Default"],
        filter_string=f"tags.mlflow.parentRunId = '{outer.info.run_id}'",
        output_format="list",
    )
    assert (inner.info.run_name, inner.info.status) == ("v1.0: final", "FINISHED")
    assert len(mlflow.MlflowClient().search_model_versions("name='v1_0_ final'")) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_tracking_server_that_is_down_costs_nothing(discs, toy, tmp_path, monkeypatch, capsys):
    from ptsam_auto.terminal import Terminal

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(None)
    quick(discs, toy, track=True, terminal=Terminal())
    said = capsys.readouterr().err
    assert "MLflow cannot be reached (MlflowException: API request to http://127.0.0.1:9/" in said
    assert "Logging to MLflow failed (MlflowException: API request to http://127.0.0.1:9/" in said
    assert "). The specialist is not affected." in said
    load_specialist(tmp_path / "discs-specialist")


def mosaic(folder):
    """Four of the images as one, twice as high and twice as wide."""
    images = [np.asarray(Image.open(folder / "images" / f"disc0{i}.png")) for i in range(4)]
    return np.concatenate([np.concatenate(images[:2], axis=1), np.concatenate(images[2:], axis=1)])


def test_a_field_larger_than_the_training_images_is_seen_at_their_scale(discs, toy):
    made = quick(discs, toy)
    assert made.record.members[0].scale == Scale(2, 36, 64, 64), "two overlapping tiles along 64 px"
    field = mosaic(discs)
    tiling = made.model.models[0].tiling
    assert len(tiling.boxes(*field.shape[:2], 64)) == 4 * 5, "as large as on the training images, so there are more"
    small = np.asarray(Image.open(discs / "images" / "disc00.png"))[:20, :30]
    assert tiling.frame(20, 30, 64) == (36, 53), "a smaller image is enlarged as much as all, and padded"
    assert made.predict(small).shape == (20, 30)
    again = load_specialist("discs-specialist")
    assert np.array_equal(again.probability(field), made.probability(field))

    relative = quick(discs, toy, out="relative", settings={**QUICK, "method.scale": "relative"})
    assert relative.record.members[0].scale == Scale(2, None, 64, 64)
    assert len(relative.model.models[0].tiling.boxes(*field.shape[:2], 64)) == 4


def test_a_scale_can_be_asked_for_when_loading(discs, toy):
    quick(discs, toy)
    other = load_specialist("discs-specialist", tile=32)
    assert other.model.models[0].tiling.side == 32
    assert other.identity != load_specialist("discs-specialist").identity, "its masks are others"


def test_two_fits_into_one_folder_are_kept_apart(discs, toy, tmp_path):
    from filelock import FileLock

    (tmp_path / "out" / "in_progress").mkdir(parents=True)
    with FileLock(tmp_path / "out" / "in_progress" / "lock"), pytest.raises(OutputError) as error:
        quick(discs, toy, out="out")
    assert str(error.value) == "out is in use by another fit.\nWait until it ends, or choose another --out."


def test_a_users_own_folder_called_in_progress_is_not_deleted(discs, toy, tmp_path):
    notes = tmp_path / "project" / "in_progress" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    with pytest.raises(OutputError) as error:
        quick(discs, toy, out="project")
    assert str(error.value) == (
        "project/in_progress is not empty and does not contain a fit.\nChoose another --out, or empty the folder first."
    )
    assert notes.read_text() == "mine"


def test_from_python_no_database_appears_unasked(discs, toy, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(None)
    quick(discs, toy, track=None)
    assert not list(tmp_path.glob("*.db"))


def test_how_to_look_at_runs_fits_the_store():
    from ptsam_auto.tracking.store import how_to_browse

    assert how_to_browse("https://mlflow.lab.example:5000") == "https://mlflow.lab.example:5000"
    assert how_to_browse("sqlite:///mlflow.db") == "ptsam-auto ui"
    assert how_to_browse("sqlite:////lab/a.db") == "MLFLOW_TRACKING_URI=sqlite:////lab/a.db ptsam-auto ui"


def test_help_in_python_shows_every_option():
    import inspect

    shown = inspect.signature(fit).parameters
    assert shown["backbone"].default == "auto"
    assert {"dataset", "out", "workers", "track", "terminal"} <= shown.keys()
    with pytest.raises(TypeError, match="bakbone"):
        fit("discs", bakbone="nano")


def test_a_script_gets_json_and_nothing_else(discs, toy, tmp_path, capsys):
    from ptsam_auto.commands.fit import fit as run
    from ptsam_auto.commands.options import FitOptions
    from ptsam_auto.terminal import Terminal

    options = FitOptions(discs, backbone=toy, settings=QUICK, folds=2, track=False, quiet=True, json=True)
    made = run(options, Terminal())
    printed = capsys.readouterr()
    assert printed.err == ""
    result = json.loads(printed.out)
    assert Path(result["report"]).exists()
    assert result["expected_dice"] == made.record.scores.expected.dice
    assert result["expected_dice_interval"][0] < result["expected_dice"] < result["expected_dice_interval"][1]
    assert result["members"] == [{"name": "ptsam", "weight": 1.0}]
    assert result["test_dice"] is None


def test_a_specialist_shows_itself_in_one_line(discs, toy):
    shown = repr(quick(discs, toy))
    assert re.fullmatch(
        r"Specialist\(6 images of discs; ptsam 100 %; expected Dice [\d.]+ \([\d.]+ to [\d.]+\)\)", shown
    )


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 3)])
def test_a_member_is_trained_by_as_many_workers_as_divide_its_batch(toy, batch, workers):
    """The members of the portfolio have different batches, and four workers were asked for."""
    from types import SimpleNamespace

    from ptsam_auto.commands.fit import _distributed
    from ptsam_auto.methods.ptsam import PTSAMConfig
    from ptsam_auto.sam import checkpoint
    from ptsam_auto.training.recipe import Recipe
    from ptsam_auto.training.settings import Settings
    from ptsam_auto.training.trainer import SamTrainer

    trainer = SamTrainer(checkpoint.load(toy), Settings(PTSAMConfig(), Recipe(batch_size=batch)))
    made = _distributed(SimpleNamespace(workers=4, storage=None, address=None), trainer)
    assert getattr(made, "workers", 1) == workers

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
from ptsam_auto.specialist.scores import evaluate
from ptsam_auto.training.defaults import Sourced
from ptsam_auto.training.scale import Scale
from tests.toys import PROMPTS, write_folder

QUICK = {"recipe.epochs": 3, "recipe.steps_per_epoch": 2, "recipe.views": 2}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def quick(folder, toy, **rest):
    return fit(folder, **{"backbone": toy, "settings": QUICK, "track": False, **rest})


def learned(folder):
    return {name: tensor.tobytes() for name, tensor in load_file(folder / "specialist.safetensors").items()}


def test_a_folder_becomes_a_specialist(discs, toy, tmp_path):
    made = quick(discs, toy)
    out = tmp_path / "discs-specialist"
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "specialist.json", "specialist.safetensors"]
    assert (out / "specialist.safetensors").stat().st_size < 1024 * PROMPTS + 800, "a prompt is 1 KB"
    image = np.asarray(Image.open(discs / "images" / "disc00.png"))
    assert np.array_equal(load_specialist(out).predict(image), made.predict(image))

    about = json.loads((out / "specialist.json").read_text())
    assert about["cost"]["trainable"] == 256 * PROMPTS
    assert about["cost"]["views"] == 2
    assert about["settings"]["recipe.epochs"] == {"value": 3, "source": "set by the user"}
    assert about["settings"]["recipe.steps_per_epoch"] == {"value": 2, "source": "set by the user"}
    assert about["settings"]["recipe.batch_size"] == {"value": 2, "source": "paper, Sec. 4.1.3"}
    report = (out / "report.html").read_text()
    assert "<svg" in report
    assert "data:image/jpeg;base64," in report
    assert not re.search(r"""(src|href|url)[=(]["']?http""", report), "the report needs the network"


def test_it_measures_on_images_it_never_trained_on(discs, toy, tmp_path):
    about = quick(discs, toy).record
    train, held_out = set(about.data.train), set(about.data.held_out)
    assert (len(train), len(held_out)) == (5, 1)
    assert not train & held_out
    assert {image.name for image in about.scores.tuned.images} == held_out
    assert {image.name for image in about.scores.untuned.images} == held_out
    pairs = [pair for pair in read_folder(discs).pairs if pair.name in held_out]
    again = evaluate(load_specialist(tmp_path / "discs-specialist").predict, pairs)
    assert again == about.scores.tuned


def test_own_test_images_leave_all_others_for_training(discs, toy, tmp_path):
    test = write_folder(tmp_path / "test", 3, start=10)
    data = quick(discs, toy, test=test).record.data
    assert (len(data.train), data.held_out_folder, len(data.held_out)) == (6, "test", 3)


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
        "1 image; expected at least 2, because one is held out as a test image\n"
        "Add images, or give a folder of test images: --test DIR"
    ).replace("\n1 image", "\n  1 image")


def test_tuning_the_encoder(discs, toy):
    made = quick(discs, toy, adapt="encoder", settings={**QUICK, "recipe.views": 0})
    assert made.record.cost.trainable == 256 * 8 + 2 * 8 * 24
    assert made.record.cost.views == 0


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
    assert (made.record.method["name"], made.record.cost.trainable) == (method, numbers)
    assert made.record.settings["method.name"] == Sourced(method, "the selected method")
    assert made.record.scores.untuned == ours.record.scores.untuned, "the untuned SAM is the same for all"
    shared = {name: value for name, value in ours.record.recipe.items() if name not in ("learning_rate", "views")}
    assert shared.items() <= made.record.recipe.items(), "the budget is the same for all"
    out = tmp_path / "discs-specialist"
    assert made.record.cost.bytes == 4 * numbers
    assert 0 < (out / "specialist.safetensors").stat().st_size - 4 * numbers < 25_000, "learned numbers, their names"
    image = np.asarray(Image.open(discs / "images" / "disc00.png"))
    assert np.array_equal(load_specialist(out).predict(image), made.predict(image))
    assert f"method {method}" in (out / "report.html").read_text()


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
        "fit(sys.argv[1], backbone=sys.argv[2], out=sys.argv[3], track=False, terminal=Terminal(),"
        "settings={'recipe.epochs': 40, 'recipe.steps_per_epoch': 2, 'recipe.views': 2})"
    )
    return [sys.executable, "-c", program, str(folder), toy, str(out)]


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_and_ends_with_the_same_prompts(discs, toy, tmp_path):
    subprocess.run(command(discs, toy, "undisturbed"), check=True, capture_output=True)
    kills = 0
    for moment in ("bank", "checkpoint.safetensors"):
        running = subprocess.Popen(command(discs, toy, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        watched = tmp_path / "killed" / "in_progress" / moment
        while running.poll() is None and not (watched.exists() and (watched.is_file() or any(watched.iterdir()))):
            time.sleep(0.002)
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
            kills += 1
        running.wait()
    assert kills == 2, "too quick to be killed"
    last = subprocess.run(command(discs, toy, "killed"), check=True, capture_output=True, text=True)
    assert "Continuing after epoch" in last.stderr
    assert learned(Path("killed")) == learned(Path("undisturbed"))
    assert not (tmp_path / "killed" / "in_progress").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about SQLAlchemy and others
def test_the_run_is_in_mlflow_with_a_model_that_predicts(discs, toy, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/lab.db")
    mlflow.set_tracking_uri(None)
    discs = discs.rename(tmp_path / "discs, v1.0: final")  # MLflow refuses most of these characters in names
    made = quick(discs, toy, track=True)
    runs = mlflow.search_runs(experiment_names=["ptsam-auto"], output_format="list")
    assert len(runs) == 1
    data = runs[0].data
    assert (data.params["method.name"], data.params["recipe.epochs"]) == ("ptsam", "3")
    assert data.metrics["tuned_dice"] == pytest.approx(made.record.scores.tuned.dice)
    assert len(mlflow.MlflowClient().get_metric_history(runs[0].info.run_id, "loss")) == 3
    model = mlflow.pyfunc.load_model("models:/discs_ v1_0_ final-specialist/1")
    image = np.asarray(Image.open(discs / "images" / "disc00.png"))
    assert np.array_equal(model.predict(image[None])[0].astype(bool), made.predict(image))


@pytest.mark.filterwarnings("ignore")
def test_a_tracking_server_that_is_down_costs_nothing(discs, toy, tmp_path, monkeypatch, capsys):
    from ptsam_auto.terminal import Terminal

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(None)
    quick(discs, toy, track=True, terminal=Terminal())
    assert "Logging to MLflow failed (MlflowException). The specialist is not affected." in capsys.readouterr().err
    load_specialist(tmp_path / "discs-specialist")


def mosaic(folder):
    """Four of the images as one, twice as high and twice as wide."""
    images = [np.asarray(Image.open(folder / "images" / f"disc0{i}.png")) for i in range(4)]
    return np.concatenate([np.concatenate(images[:2], axis=1), np.concatenate(images[2:], axis=1)])


def test_a_field_larger_than_the_training_images_is_seen_at_their_scale(discs, toy):
    made = quick(discs, toy)
    assert made.record.scale == Scale(2, 36, 64, 64), "two overlapping tiles along 64 px"
    field = mosaic(discs)
    tiling = made.model.tiling
    assert len(tiling.boxes(*field.shape[:2], 64)) == 4 * 5, "as large as on the training images, so there are more"
    small = np.asarray(Image.open(discs / "images" / "disc00.png"))[:20, :30]
    assert tiling.frame(20, 30, 64) == (36, 53), "a smaller image is enlarged as much as all, and padded"
    assert made.predict(small).shape == (20, 30)
    again = load_specialist("discs-specialist")
    assert np.array_equal(again.probability(field), made.probability(field))

    relative = quick(discs, toy, out="relative", settings={**QUICK, "method.scale": "relative"})
    assert relative.record.scale == Scale(2, None, 64, 64)
    assert len(relative.model.tiling.boxes(*field.shape[:2], 64)) == 4


def test_a_scale_can_be_asked_for_when_loading(discs, toy):
    quick(discs, toy)
    other = load_specialist("discs-specialist", tile=32)
    assert other.model.tiling.side == 32
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
    assert how_to_browse("sqlite:///mlflow.db") == "mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1"


def test_help_in_python_shows_every_option():
    import inspect

    shown = inspect.signature(fit).parameters
    assert shown["backbone"].default == "auto"
    assert {"dataset", "out", "workers", "track", "terminal"} <= shown.keys()
    with pytest.raises(TypeError, match="bakbone"):
        fit("discs", bakbone="nano")

import json
import subprocess
import sys

import pytest
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nano.__main__ import app
from nano.learner import random_weights
from nano.run import export_run, starting_weights
from ptsam_auto.errors import BackboneError, ConfigError
from tests.nano.scenery import write_indexed_folder, write_split_folder
from tests.toys import TOY

pytestmark = pytest.mark.slow  # a part of the whole suite; the edit-test loop stays under a minute


def call(*words):
    return typer.main.get_command(app).main([str(word) for word in words], standalone_mode=False)


def test_a_run_from_the_command_line_to_its_export(tmp_path, capsys):
    save_file(random_weights(TOY, 0), tmp_path / "toy.safetensors")
    data = [write_indexed_folder(tmp_path / "mix"), write_split_folder(tmp_path / "cells")]
    words = ["run", "--out", tmp_path / "run", "--weights", tmp_path / "toy.safetensors"]
    words += ["--data", data[0], "--data", data[1]]
    words += ["--stage", "64:1:3:1e-3", "--stage", "128:1:2:1e-3", "--checkpoint-every", 2, "--probe-every", 3]
    words += ["--export-every", 3, "--workers", 0]
    call(*words)
    output = capsys.readouterr().out
    assert "5 steps; 85% scenes, the rest from: mix 18, cells 3." in output
    assert "Step 3, held out, 128 px: IoU from a box" in output
    assert (tmp_path / "run" / "exports" / "step-000003.safetensors").is_file()
    with safe_open(tmp_path / "run" / "nano.safetensors", "pt") as file:
        about = json.loads(file.metadata()["pretraining"])
        assert about.items() >= {"steps": "5", "images": "5", "data": "mix, cells", "scenes": "0.85"}.items()
        assert file.get_tensor("image_encoder.pos_embed").shape == (1, 8, 8, 24)
    call(*words)
    assert "Continues after step 5." in capsys.readouterr().out
    call("export", tmp_path / "run", tmp_path / "again.safetensors")
    assert capsys.readouterr().out.strip() == export_run(tmp_path / "run", tmp_path / "twice.safetensors")
    call("export", tmp_path / "run", tmp_path / "full.safetensors", "--full")
    half, full = load_file(tmp_path / "again.safetensors"), load_file(tmp_path / "full.safetensors")
    assert {tensor.dtype for tensor in full.values()} == {torch.float32}
    assert all(tensor.half().equal(half[name]) for name, tensor in full.items())
    assert full.keys() == half.keys()


def test_help_does_not_wait_for_torch():
    program = "import sys; from nano.__main__ import main; sys.argv = ['x', 'run', '--help']\n"
    program += "try: main()\nexcept SystemExit: print({'torch', 'cv2', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")


def test_our_errors_are_one_message(tmp_path):
    words = [sys.executable, "-m", "nano", "run", "--out", str(tmp_path), "--stage", "tall"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "A stage is SIZE:BATCH:STEPS:PEAK, such as 256:8:2500:4e-4; found 'tall'.\n"


def test_a_run_without_images_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^There is nothing to train on: name a folder with --data"):
        call("run", "--out", tmp_path, "--scenes", 0)


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    (tmp_path / "thesis.safetensors").write_text("no")
    for path in (tmp_path / "thesis.safetensors", tmp_path / "absent.safetensors"):
        with pytest.raises(BackboneError) as caught:
            starting_weights(str(path), 0)
        expected = f"{path} holds no weights of a SAM; expected nano, scratch or a .safetensors file."
        assert str(caught.value) == expected


def test_a_folder_without_a_run_has_nothing_to_export(tmp_path):
    with pytest.raises(ConfigError) as caught:
        export_run(tmp_path, tmp_path / "x.safetensors")
    assert str(caught.value) == f"{tmp_path} holds no pretraining run; expected state.json in it."

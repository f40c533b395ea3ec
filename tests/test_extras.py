"""Somebody who only fits and predicts installs neither MLflow nor Ray nor Optuna."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ptsam_auto.extras import MODULES
from tests.toys import write_folder

WITHOUT = """
import sys
for name in ("mlflow", "ray", "optuna", "nnunetv2", "onnx", "onnxruntime", "onnxscript", "fastapi", "uvicorn"):
    sys.modules[name] = None
from ptsam_auto.cli import main
main()
"""


def run(*words, cwd):
    call = [sys.executable, "-c", WITHOUT, *map(str, words)]
    return subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=False)


def test_fit_and_predict_need_no_extra(toy, tmp_path):
    write_folder(tmp_path / "discs", 4)
    few = ["--set", "recipe.epochs=1", "--set", "recipe.steps_per_epoch=2"]
    fitted = run("fit", "discs", "--backbone", toy, *few, "--folds", 2, cwd=tmp_path)
    assert fitted.returncode == 0, fitted.stderr
    assert "MLflow" not in fitted.stderr + fitted.stdout
    predicted = run("predict", "discs-specialist", "discs/images", "--measure", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert len(list((tmp_path / "images-masks").glob("*.png"))) == 4


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["search", "decoder", "--data", "."], "search needs ray and optuna, which are not installed."),
        (["compare", "."], "compare needs ray and optuna, which are not installed."),
        (["fit", ".", "--workers", "2"], "fit --workers needs ray and optuna, which are not installed."),
        (["fit", ".", "--track"], "logging to MLflow needs mlflow, which is not installed."),
        (["annotate", "."], "the page needs fastapi and uvicorn, which are not installed."),
        (["serve", "."], "the page needs fastapi and uvicorn, which are not installed."),
        (["predict", ".", ".", "--workers", "2"], "predict --workers needs ray and optuna, which are not installed."),
    ],
)
def test_a_missing_extra_is_one_line_before_any_work(tmp_path, words, what):
    done = run(*words, cwd=tmp_path)
    extra = "track" if "mlflow" in what else "serve" if "fastapi" in what else "tune"
    assert (done.returncode, done.stderr) == (1, f"{what} Install it: pip install 'ptsam-auto[{extra}]'\n")


def test_every_extra_that_is_named_can_be_installed():
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    assert set(MODULES) <= set(extras)
    assert extras["all"] == [f"ptsam-auto[{','.join(MODULES)}]"], "all of them"

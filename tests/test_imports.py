"""Who may import whom: the layout is a promise, and the core runs without MLflow and Ray."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages


def test_the_layout_holds():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_training_and_predicting_load_neither_mlflow_nor_ray():
    program = (
        "import sys, ptsam_auto.training.bank, ptsam_auto.specialist.artifact, ptsam_auto.commands.fit;"
        "print([name for name in ('mlflow', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_wheel_holds_the_package_and_nothing_that_made_nano():
    root = Path(__file__).parents[1]
    asked = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    found = find_packages(str(root), **asked)
    assert "ptsam_auto.sam" in found
    assert {name.partition(".")[0] for name in found} == {"ptsam_auto"}
    assert "nano" in find_packages(str(root)), "or this test would find nothing anywhere"

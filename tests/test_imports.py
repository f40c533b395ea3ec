"""Who may import whom: the layout is a promise, and the core runs without MLflow and Ray."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_layout_holds():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_training_and_predicting_load_neither_mlflow_nor_ray():
    program = (
        "import sys, ptsam_auto.training.bank, ptsam_auto.specialist.artifact, ptsam_auto.pipeline;"
        "print([name for name in ('mlflow', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""Trials that several workers train together: the same scores, and a stopped one gives its places back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptsam_auto.search.record import read_search
from tests.toys import write_folder

YAML = """\
# The later trial learns too fast for a toy, and is stopped.
adapt: encoder
search:
  recipe.learning_rate: {choice: [0.000001, 0.02]}
first:
  - {recipe.learning_rate: 0.000001}
  - {recipe.learning_rate: 0.02}
fixed: {recipe.epochs: 4, recipe.steps_per_epoch: 8, method.encoder_prompts: 2, method.tiles: 1}
trials: 2
splits: 1
train_images: 4
stop_early: {first: 0.5, factor: 2}
"""


@pytest.mark.slow
def test_two_workers_a_trial_score_what_one_does(toy, tmp_path):
    write_folder(tmp_path / "discs", 8)
    # As if the machine were busy: a trial's group has no time to leave before the next trial comes.
    busy = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "0"}
    found = {}
    for workers in (1, 2):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(busy if workers > 1 else {})}
        resources = f"backbone: {toy}\nresources: {{cpu: 1, workers: {workers}}}\n"
        (tmp_path / f"by{workers}.yaml").write_text(YAML + resources)
        call = [Path(sys.executable).parent / "ptsam-auto", "search", f"by{workers}.yaml", "--data", "discs"]
        # A place that is not given back would keep the next trial waiting for ever.
        done = subprocess.run(
            [*call, "--no-track", "--at-once", "1"], env=environment, cwd=tmp_path, timeout=400, check=False
        )
        assert done.returncode == 0
        found[workers] = read_search(tmp_path / f"by{workers}-search").trials
    assert [trial.state for trial in found[2]] == [trial.state for trial in found[1]]
    assert "stopped" in {trial.state for trial in found[2]}
    for one, two in zip(found[1], found[2], strict=True):
        for before, after in zip(one.rungs, two.rungs, strict=True):
            assert after.loss == pytest.approx(before.loss, rel=1e-3)
            assert after.folds == pytest.approx(before.folds, abs=0.02)

"""Folds run in other processes as they do in this one, and nothing is left behind when something goes wrong."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import psutil
import pytest

from ptsam_auto.errors import ConfigError, PtsamError
from ptsam_auto.experiment.cross_fit import CrossFitting
from ptsam_auto.experiment.fold_runner import IN_THIS_PROCESS, InOtherProcesses
from ptsam_auto.experiment.held_out import HeldOut
from ptsam_auto.experiment.processes import Processes
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.scale import scale_of
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer
from tests.toys import pairs

FOLDS = ((0, 3), (1, 4), (2,))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runner():
    processes = Processes(2, 1)
    yield InOtherProcesses(processes.each, 2, 1)
    processes.close()


def cross_fitting(toy, folder, name="toy"):
    backbone = checkpoint.load(toy)
    recipe = Recipe(epochs=2, steps_per_epoch=2, batch_size=2, views=2)
    settings = Settings(method=PTSAMConfig(decoder_prompts=2), recipe=recipe)
    trainer = SamTrainer(backbone, settings, bank=folder / "bank", scale=scale_of(1, "absolute", pairs(5), 64))
    held_out = partial(HeldOut, folder / "bank", backbone.sha256)
    return CrossFitting(name, trainer, tuple(pairs(5)), FOLDS, 0, folder / name, "cpu", held_out)


def test_other_processes_give_what_this_one_gives_and_show_what_they_do(toy, tmp_path, runner, monkeypatch):
    here = cross_fitting(toy, tmp_path / "here")
    IN_THIS_PROCESS.run([here], lambda note: None)
    notes = []
    several = [cross_fitting(toy, tmp_path / "there", name) for name in ("one", "other")]
    monkeypatch.setattr("ptsam_auto.experiment.fold_runner.POLL_SECONDS", 0.01)
    runner.run(several, notes.append)
    for there in several:
        assert not there.missing
        assert there.result().scores == here.result().scores
        for image in range(5):
            np.testing.assert_allclose(there.result().probability(image), here.result().probability(image), atol=2e-3)
    assert any("one: " in note for note in notes)
    runner.run(several, notes.append)  # Nothing is missing, so nothing is started.


class _Refuses:
    def train(self, images, seed, folder, device, terminal=None):
        raise ConfigError("The learning rate is too high.")


def test_a_setting_that_fails_in_another_process_is_reported_in_its_words(tmp_path, runner):
    held_out = partial(HeldOut, tmp_path, "")
    refused = CrossFitting("bad", _Refuses(), tuple(pairs(5)), FOLDS, 0, tmp_path, "cpu", held_out)
    with pytest.raises(PtsamError, match="The learning rate is too high"):
        runner.run([refused], lambda note: None)
    assert refused.missing == [0, 1, 2]


def _is_killed(item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_reported_with_what_to_do(runner):
    with pytest.raises(PtsamError, match=r"memory was full(?s:.*)run the command again"):
        runner.each(_is_killed, 2)


STARTS_WORK = """
import os, sys, time
from pathlib import Path
from ptsam_auto.experiment.processes import Processes

def work(item):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

Processes(2, 1).each(work, 2)
"""


def test_the_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    started = subprocess.Popen([sys.executable, "-c", STARTS_WORK.replace("sys.argv[1]", repr(str(tmp_path)))])
    while len(pids := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert started.poll() is None
        time.sleep(0.1)
    started.kill()
    started.wait()
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)

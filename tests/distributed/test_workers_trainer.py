"""Several workers on Ray Train: the same prompts as one, whoever dies on the way."""

import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from ptsam_auto import fit
from ptsam_auto.distributed.workers_trainer import WorkersTrainer
from ptsam_auto.errors import ClusterError, ConfigError, PtsamError
from ptsam_auto.sam import checkpoint
from ptsam_auto.terminal import Terminal
from ptsam_auto.training.settings import Settings
from ptsam_auto.training.trainer import SamTrainer
from tests.search.test_tuner import dies_once
from tests.toys import pairs, write_folder

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]  # Ray's own warnings
ROOT = Path(__file__).parents[2]
QUICK = {"recipe.epochs": 4, "recipe.steps_per_epoch": 2, "recipe.batch_size": 2, "recipe.learning_rate": 0.01}
DEEP = {**QUICK, "method.encoder_prompts": 2, "recipe.views": 0}


def trainer(toy, bank, values=DEEP, workers=2):
    return WorkersTrainer(SamTrainer(checkpoint.load(toy), Settings.from_paths(values), bank), workers)


def run(trainer, folder, of=None, terminal=None):
    folder.mkdir(exist_ok=True)
    trained = trainer.train(of or pairs(4), 0, folder, "cpu", terminal)
    return trained.model.trainable(), trained.curve


def alone(toy, tmp_path, values=DEEP):
    return run(trainer(toy, tmp_path / "alone-bank", values).trainer, tmp_path / "alone")


class Seen(Terminal):
    """Keeps what is shown."""

    def __init__(self):
        super().__init__(Console(quiet=True), Console(quiet=True))
        self.updates = []

    @contextmanager
    def bar(self, stage):
        yield lambda *update: self.updates.append(update)


def same(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=1e-4)


def test_a_killed_worker_is_replaced_and_the_prompts_are_one_workers(no_ray, toy, tmp_path):
    marker = tmp_path / "marker"
    marker.mkdir()
    load_with = dies_once(marker, after=9)
    doomed = [type(pair)(pair.name, pair.digest, load_with(pair)) for pair in pairs(4)]
    seen = Seen()
    found, curve = run(trainer(toy, tmp_path / "bank"), tmp_path / "run", doomed, seen)
    assert (marker / "killed").exists()
    expected, whole = alone(toy, tmp_path)
    same(found, expected)
    assert curve["step"] == [2, 4, 6, 8]
    assert curve["loss"] == pytest.approx(whole["loss"], rel=1e-3)
    assert seen.updates[-1][:2] == (4, 4)


class KillsItsReader:
    """An image that kills the first worker that receives it, before the worker can begin."""

    def __init__(self, load, marker):
        self.load, self.marker = load, marker

    def __call__(self):
        return self.load()

    def __setstate__(self, state):
        self.__dict__.update(state)
        started = any(frame.name == "run_train_fn" for frame in traceback.extract_stack())  # not Ray's controller
        if started and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_before_it_begins_is_replaced(no_ray, toy, tmp_path):
    """Ray Train takes this for an error of its own, which it does not try again."""
    marker = tmp_path / "killed"
    doomed = [type(pair)(pair.name, pair.digest, KillsItsReader(pair.load, marker)) for pair in pairs(4)]
    found, _ = run(trainer(toy, tmp_path / "bank"), tmp_path / "run", doomed)
    assert marker.exists()
    same(found, alone(toy, tmp_path)[0])


def test_with_a_frozen_encoder_the_workers_fill_one_bank(ray, toy, tmp_path):
    values = {**QUICK, "recipe.views": 2}
    seen = Seen()
    found, _ = run(trainer(toy, tmp_path / "bank", values), tmp_path / "run", terminal=seen)
    same(found, alone(toy, tmp_path, values)[0])
    assert (0, 4, "0 of 4 images encoded") in seen.updates, "nothing is seen before the first epoch"
    assert len(list((tmp_path / "bank").glob("*.arrow"))) == 4


def test_what_the_training_itself_says_is_not_tried_again(ray, toy, tmp_path):
    with pytest.raises(PtsamError, match=r"^The loss is nan at step"):
        run(trainer(toy, tmp_path / "bank", {**DEEP, "recipe.learning_rate": 1e30}), tmp_path / "run")


def test_too_few_cores_are_said_at_once(ray, toy, tmp_path):
    began = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        run(trainer(toy, tmp_path / "bank", {**DEEP, "recipe.batch_size": 6}, workers=6), tmp_path / "run")
    assert str(caught.value) == (
        "6 workers need 6 CPU and 0 GPU; the Ray cluster has 2 CPU and 0 GPU.\n"
        "Use fewer workers, or connect to a larger cluster: --address."
    )
    assert time.monotonic() - began < 30, "it waits for what never comes"


def test_a_batch_that_workers_cannot_share_is_refused_before_ray_starts(discs, toy, tmp_path):
    with pytest.raises(ConfigError, match=r"^recipe.batch_size is 2, over all workers together; 3 workers cannot"):
        fit(discs, out=tmp_path / "out", backbone=toy, workers=3, track=False)


KILLED = "from tests.distributed.test_workers_trainer import fitted; import sys; fitted(2, *sys.argv[1:])"


def fitted(workers, folder, test, backbone, out):
    values = {"recipe.epochs": 8, "recipe.steps_per_epoch": 2, "recipe.learning_rate": 0.01}
    fit(folder, out=out, backbone=backbone, adapt="encoder", settings=values, workers=workers, test=test, folds=0,
        track=False)  # fmt: skip


def test_the_driver_killed_the_same_call_goes_on(toy, tmp_path):
    given = str(write_folder(tmp_path / "discs", 5)), str(write_folder(tmp_path / "test", 1, start=20)), toy
    call = [sys.executable, "-c", KILLED, *given, str(tmp_path / "two")]
    driver = subprocess.Popen(call, start_new_session=True, cwd=ROOT)
    told = tmp_path / "two" / "in_progress" / "final-0" / "reports.jsonl"
    deadline = time.monotonic() + 300  # an idle machine needs 20 s
    while not (told.exists() and len(told.read_text().splitlines()) >= 3):
        assert driver.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    subprocess.run(call, check=True, timeout=300, cwd=ROOT)
    fitted(1, *given, tmp_path / "one")
    first, second = (load_file(tmp_path / name / "specialist.safetensors") for name in ("one", "two"))
    same(second, first)
    assert not (tmp_path / "two" / "in_progress").exists()

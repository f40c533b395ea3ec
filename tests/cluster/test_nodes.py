"""A search over several Ray nodes, each a process of its own on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ptsam_auto.search.record import read_search
from tests.toys import write_folder

BIN = Path(sys.executable).parent
# A command after these words sees no processes but its own.
ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
SLURM = Path(__file__).parents[2] / "cluster" / "slurm.sh"
YAML = """\
# Trials that last long enough to be interrupted.
search:
  recipe.learning_rate: {choice: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]}
fixed: {recipe.epochs: 6, recipe.steps_per_epoch: 20, recipe.views: 2, method.tiles: 1}
trials: 6
splits: 2
train_images: 3
stop_early: false
resources: {cpu: 1}
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def setting(tmp_path, toy):
    """What a search needs: a space, images, a backbone, and an environment of its own."""
    (tmp_path / "space.yaml").write_text(YAML + f"backbone: {toy}\n")
    write_folder(tmp_path / "discs", 6)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "RAY_TMPDIR": "/tmp"}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
    return tmp_path, environment


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(what, seconds=90):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def end(process):
    """With all its children, which are in sessions of their own."""
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


def test_a_search_over_two_nodes_survives_the_loss_of_one(setting):
    folder, environment = setting
    address = f"127.0.0.1:{free_port()}"
    start = ["ray", "start", "--num-cpus=1", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    head_start = [*start, "--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false"]
    head = subprocess.Popen([BIN / "ray", *head_start[1:]], **quiet)
    nodes = [head]
    try:
        status = [BIN / "ray", "health-check", f"--address={address}"]
        wait_for(lambda: subprocess.run(status, check=False, **quiet).returncode == 0)
        nodes.append(subprocess.Popen([BIN / "ray", *start[1:], f"--address={address}"], **quiet))
        search = [BIN / "ptsam-auto", "search", "space.yaml", "--data", "discs", "--out", "found", "--no-track"]
        # Two trials at once are more than one node has room for.
        call = [*search, "--address", address, "--at-once", "2"]
        wait_for(lambda: joined(address, environment) == 2)
        running = subprocess.Popen(call, env=environment, cwd=folder)
        journal = folder / "found" / "journal.jsonl"
        wait_for(lambda: journal.exists() and journal.read_text().count('"started"') >= 3)
        end(nodes.pop())
        assert running.wait(timeout=240) == 0
    finally:
        for node in nodes:
            end(node)
    trials = read_search(folder / "found").trials
    assert [trial.state for trial in trials] == ["finished"] * 6


def joined(address, environment):
    program = (
        "import ray, sys, logging; ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)"
    )
    program += "; print(sum(node['Alive'] for node in ray.nodes()))"
    done = subprocess.run(
        [sys.executable, "-c", program, address], env=environment, capture_output=True, text=True, check=False
    )
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def test_the_slurm_script_runs_a_search(setting):
    """On one node: Slurm's own commands are stood in for, everything from `ray symmetric-run` on is real.

    symmetric-run ends every Ray that it sees, also those of the tests that run beside this one, so that it gets
    processes of its own to see.
    """
    if subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("This machine does not allow a namespace of processes")
    folder, environment = setting
    (folder / "space.yaml").write_text((folder / "space.yaml").read_text().replace("trials: 6", "trials: 2"))
    commands = folder / "slurm"
    commands.mkdir()
    for name, script in (("scontrol", "echo 127.0.0.1"), ("srun", 'exec "$@"')):
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    job = free_port() % 20000
    environment |= {"PATH": f"{commands}:{environment['PATH']}", "SLURM_JOB_ID": str(job)}
    environment |= {"SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1"}
    done = subprocess.run(
        [*ALONE, "bash", "-c", f"bash {SLURM} space.yaml found discs && ps -eo comm"],
        env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [trial.state for trial in read_search(folder / "found").trials] == ["finished"] * 2
    running = done.stdout.rpartition("COMMAND\n")[2].split()
    assert "ps" in running
    assert not {"gcs_server", "raylet"} & set(running), "the script's Ray is left running"

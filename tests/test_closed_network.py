"""The main job needs no network: it runs where there is none, without looking for one and without waiting for one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.namespaces import runs
from tests.toys import write_folder

# A new network has a loopback that is down; `ip` is not on every machine.
UP = (
    "import fcntl, os, socket, struct, sys;"
    "one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
    "fcntl.ioctl(one, 0x8914, struct.pack('16sh', b'lo', 0x1 | 0x40));"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
COMMAND = "from ptsam_auto.cli import main; main()"
FEW = ["--set", "recipe.epochs=1", "--set", "recipe.steps_per_epoch=2", "--set", "recipe.views=2"]


@pytest.fixture
def closed(tmp_path):
    """Run Python where no other machine can be reached; returns standard error and what was looked for."""
    if not runs("unshare", "-rn", sys.executable, "-c", UP, "/bin/true"):
        pytest.skip("no namespaces for networks here")
    calls = tmp_path / "calls.txt"

    def closed(*words):
        calls.write_text("")
        root = Path(__file__).parents[1]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "RAY_"))}
        environment |= {
            "PTSAM_AUTO_TEST_CALLS": str(calls),
            "PTSAM_AUTO_TEST_HOST": socket.gethostname(),
            "PYTHONPATH": f"{root / 'tests' / 'closed_network'}:{root}",
            "PTSAM_AUTO_CACHE": str(tmp_path / "cache"),
        }
        done = subprocess.run(
            ["unshare", "-rn", sys.executable, "-c", UP, sys.executable, "-c", *words],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr, calls.read_text()

    return closed


def test_the_guard_sees_who_looks_for_another_machine(closed):
    for program in (
        "import urllib.request; urllib.request.urlopen('http://example.org', timeout=1)",
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', \"import socket;"
        "socket.create_connection(('192.0.2.1', 80), timeout=1)\"])",
    ):
        _, _, calls = closed(program)
        assert "example.org" in calls or "192.0.2.1" in calls


def test_fit_needs_no_network(closed, tmp_path, toy):
    """With a backbone as small as a test needs; the next test has the one that comes with the package."""
    write_folder(tmp_path / "discs", 4)
    code, err, calls = closed(
        COMMAND, "fit", "discs", "--out", "made", "--backbone", toy, "--folds", "2", "--no-track", *FEW
    )
    assert (code, calls) == (0, ""), err
    assert (tmp_path / "made" / "specialist.json").exists()


@pytest.mark.slow
def test_the_whole_main_job_with_mlflow_needs_no_network(closed, tmp_path):
    assert closed(COMMAND, "example", "example")[::2] == (0, "")
    assert closed(COMMAND, "subset", "example", "small", "--first", "4")[::2] == (0, "")
    code, err, calls = closed(COMMAND, "fit", "small", "--out", "made", "--backbone", "nano", "--folds", "2", *FEW)
    assert (code, calls) == (0, ""), err
    assert "The run was logged to MLflow." in err
    for words in (["evaluate", "made", "small"], ["predict", "made", "small/images"], ["check", "small"]):
        code, err, calls = closed(COMMAND, *words)
        assert (code, calls) == (0, ""), err


@pytest.mark.slow
def test_auto_without_a_network_takes_nano_and_says_so_at_once(closed):
    program = (
        "from ptsam_auto.sam.checkpoint import choose; said = [];"
        "print(choose('auto', say=said.append).name, said[0], file=__import__('sys').stderr)"
    )
    code, err, calls = closed(program)
    assert code == 0, err
    assert err.startswith(
        "nano Backbone: nano, the included small SAM, because ViT-B is not available (cannot download"
    )
    assert "dl.fbaipublicfiles.com" in calls

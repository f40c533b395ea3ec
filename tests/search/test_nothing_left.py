"""After a search with many trials there are no processes, files or shared memory that it has left behind."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.namespaces import runs
from tests.search.toys import YAML
from tests.toys import write_folder

TRIALS = int(os.environ.get("PTSAM_AUTO_TRIALS", "12"))
# It is process 1 of a namespace, so all that lives there afterwards was left behind by the search.
PROGRAM = """
import json, os, pathlib, subprocess, sys, time
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
done = subprocess.run(sys.argv[1:])
for _ in range(100):  # Ray's processes notice within seconds that the search has ended.
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    left = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    if not left:
        break
    time.sleep(0.1)
words = [pathlib.Path("/proc", name, "cmdline").read_text().replace(chr(0), " ")[:200] for name in left]
print(json.dumps({"code": done.returncode, "processes": words, "memory": os.listdir("/dev/shm")}))
"""
IN_A_NAMESPACE = ["unshare", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]


@pytest.mark.slow
@pytest.mark.skipif(
    not runs(*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"), reason="no namespaces for processes here"
)
def test_a_search_of_many_trials_leaves_nothing_behind(toy, tmp_path):
    write_folder(tmp_path / "discs", 5)
    space = YAML.replace("trials: 4", f"trials: {TRIALS}").replace("recipe.epochs: 4", "recipe.epochs: 1")
    (tmp_path / "toy.yaml").write_text(space + f"backbone: {toy}\n")
    command = [Path(sys.executable).with_name("ptsam-auto"), "search", "toy.yaml", "--data", "discs", "--no-track"]
    with tempfile.TemporaryDirectory(prefix="pt-") as folder:
        done = subprocess.run(
            [*IN_A_NAMESPACE, sys.executable, "-c", PROGRAM, *command, "--out", "search"],
            cwd=tmp_path, env={**os.environ, "TMPDIR": folder, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == {"code": 0, "processes": [], "memory": []}, done.stderr
        assert os.listdir(folder) == []  # noqa: PTH208
    kept = {path.name for path in (tmp_path / "search").iterdir()}
    assert kept == {"search.json", "journal.jsonl", "table.parquet", "figures", "lock"}
    assert not list((tmp_path / "search").rglob("*.part"))

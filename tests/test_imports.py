"""Who may import whom: the layout is a promise, and the core runs without MLflow and Ray."""

import ast
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
        "print([name for name in ('mlflow', 'ray', 'torchvision', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", "a command takes seconds longer to start"


@pytest.mark.slow
def test_the_whole_of_segment_anything_is_there_for_who_asks_for_it():
    program = (
        "import ptsam_auto.sam.network, sys, segment_anything;"
        "assert 'segment_anything.predictor' not in sys.modules;"
        "from segment_anything import SamPredictor, sam_model_registry;"
        "print(segment_anything.modeling.Sam is ptsam_auto.sam.network.Sam, *sam_model_registry)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True default vit_h vit_l vit_b\n"


def test_the_wheel_holds_the_package_and_nothing_that_made_nano():
    root = Path(__file__).parents[1]
    asked = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    found = find_packages(str(root), **asked)
    assert "ptsam_auto.sam" in found
    assert {name.partition(".")[0] for name in found} == {"ptsam_auto"}
    assert "nano" in find_packages(str(root)), "or this test would find nothing anywhere"


def test_the_wheel_holds_every_file_that_the_package_reads():
    root = Path(__file__).parents[1]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["ptsam_auto"]
    package = root / "ptsam_auto"
    taken = {path for pattern in patterns for path in package.glob(pattern)}
    there = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert package / "web" / "static" / "index.html" in there
    assert sorted(there - taken) == []


UNSAFE = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}  # modules that execute what they read
UNSAFE_METHODS = {"read_pickle", "unsafe_load", "full_load", "load_module"}
UNSAFE_CALLS = {"eval", "exec", "yaml.load", "joblib.load"}  # net.eval() is another thing
ALLOWED = {("baselines/nnunet.py", "torch.load")}  # what nnU-Net's own training has written a moment ago


def unsafe(tree):
    """Yield what could execute code in a file that somebody was sent."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in modules if name.partition(".")[0] in UNSAFE)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in UNSAFE_CALLS or called.rpartition(".")[2] in UNSAFE_METHODS:
            yield called
        if called == "torch.load" and options.get("weights_only") != "True":
            yield called
        if options.get("allow_pickle") == "True" or options.get("shell") == "True":
            yield called


def test_nothing_in_the_package_executes_what_it_reads():
    """THREATS.md promises it."""
    root = Path(__file__).parents[1] / "ptsam_auto"
    found = {
        (path.relative_to(root).as_posix(), what)
        for path in root.rglob("*.py")
        for what in unsafe(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == ALLOWED


def test_the_walk_finds_what_it_looks_for():
    program = "import pickle\ntorch.load(p)\nyaml.load(t)\nnp.load(p, allow_pickle=True)\nrun(c, shell=True)\neval(t)\n"
    assert len(list(unsafe(ast.parse(program)))) == 6

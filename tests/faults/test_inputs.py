"""A short part of the input campaign: hostile files are read or refused; nothing else may happen.

The long one is `python -m tests.faults.inputs`; its table stands in docs/results/faults.md.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptsam_auto.errors import DatasetError
from tests.faults import inputs

EXAMPLES = int(os.environ.get("PTSAM_AUTO_EXAMPLES", "15"))
NATIVE = ("pictures with something wrong", "bombs, and files that are no pictures", "OME-Zarr", "checkpoints of SAM")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTSAM_AUTO_INPUTS", str(tmp_path_factory.mktemp("inputs")))
        yield


@pytest.mark.parametrize("name", [name for name in inputs.KINDS if name not in NATIVE])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_what_is_wrong_in_a_file_is_a_message(name, rng):
    assert inputs.outcome(inputs.KINDS[name], rng) in ("read", "refused")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
@pytest.mark.parametrize("kinds", ["pictures", "OME-Zarr"])
def test_pictures_with_something_wrong_neither_crash_nor_fill_the_memory(kinds):
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.inputs", "--inputs", "24", "--only", kinds],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| **all** | {24 if kinds == 'OME-Zarr' else 48} |" in done.stdout


def test_the_campaign_sees_a_crash_and_an_error_that_is_not_ours():
    """Or it would find nothing anywhere."""

    def crashes(folder, rng):
        raise KeyError("a traceback")

    with pytest.raises(KeyError):
        inputs.outcome(crashes, random.Random(0))


def test_what_was_found_stays_found(tmp_path):
    """Each of these was a traceback, or hung, before."""
    header = b"II*\0\x08\0\0\0"  # A TIFF without pages, in place of an old mask.
    (tmp_path / "header.tif").write_bytes(header)
    with pytest.raises(DatasetError):
        inputs.open_picture(tmp_path / "header.tif")

"""Benchmarks that need a machine of their own at least run, at toy size."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_gpu_benchmark_runs_at_toy_size_and_finds_our_code_correct():
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--architectures", "toy", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if "│" in line]
    differences = {}
    for name, *_, difference in rows:
        differences.setdefault(name.strip(), []).append(float(difference))
    assert set(differences) == {
        "published, float32",
        "published, bfloat16",
        "ours, float32",
        "ours, bfloat16",
        "separate steps",
        "one step",
        "one step, TF32",
    }
    assert max(differences["ours, float32"] + differences["one step"]) < 1e-4
    assert 1e-4 < max(differences["ours, bfloat16"]) < 0.05


def test_the_rows_of_the_speed_table_can_be_measured_and_find_our_code_correct(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu
    import speed
    import torch

    sam = gpu.randomised(gpu.TOY, torch.device("cpu"))
    rows = [speed.deep_row("toy", sam, 1), speed.decoder_row("toy", sam, 1), speed.sets_row("toy", sam, 1)]
    assert max(row.difference for row in rows) < 1e-4
    step = rows[1]
    rows += [speed.floor_row("toy", sam, step.ours, 1), speed.start_up(1)]
    for row in rows:
        assert min(row.theirs, row.ours) > 0
        assert len(row.cells()) == 6

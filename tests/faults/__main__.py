"""`python -m tests.faults` runs the fault campaign and prints its table; see campaign.py and docs/results/faults.md."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Disturb the commands; count the lost.")
    parser.add_argument("--short", action="store_true", help="a few faults of each kind, as in the suite")
    parser.add_argument("--every", type=int, default=40, help="of the operations on files, disturb every N-th")
    parser.add_argument("--only", default="", help="only this command: fit, predict, search or compare")
    parser.add_argument("--ray", type=int, default=0, metavar="N", help="kill N of each command on Ray instead")
    parser.add_argument("--disks", action="store_true", help="fill real disks under fit and predict instead")
    options = parser.parse_args()
    from tests.faults.injector import compiler, restart_with_shim

    if compiler() is None:
        sys.exit("There is no C compiler (cc), which the faults at the n-th operation need.")
    restart_with_shim()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    import albumentations  # noqa: F401 - imported once, not in each child
    import cv2
    import matplotlib.figure  # noqa: F401
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    from ptsam_auto import cli  # noqa: F401
    from ptsam_auto.commands import fit, predict  # noqa: F401

    if not options.short:
        from ptsam_auto.commands import compare, search  # noqa: F401
        from ptsam_auto.search import trial_figures, trial_table  # noqa: F401
    from tests.faults.campaign import long, on_disks, on_ray, short

    with tempfile.TemporaryDirectory(prefix="ptsam-faults-") as name:
        os.environ["PTSAM_AUTO_DEFAULTS"] = str(Path(name) / "none.toml")
        os.environ["PTSAM_AUTO_CACHE"] = str(Path(name) / "cache")
        began = time.process_time(), time.monotonic()
        folder = Path(name) / "lab"
        folder.mkdir()
        if options.short:
            campaign = short(folder)
        elif options.disks:
            campaign = on_disks(folder, say)
        elif options.ray:
            campaign = on_ray(folder, options.ray, options.only, say)
        else:
            campaign = long(folder, options.every, options.only, say)
        spent = os.times()
        print(campaign.table())
        print(
            f"\n{time.monotonic() - began[1]:.0f} s, {spent.children_user + spent.children_system:.0f} s of CPU time."
        )
        for what in campaign.lost:
            print(f"LOST {what}")
        sys.exit(1 if campaign.lost else 0)


if __name__ == "__main__":
    main()

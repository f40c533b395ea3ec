"""Runs a command on a disk that is really full, and again when there is room, in a mount namespace of its own.

    unshare --map-root-user --mount python -m tests.faults.small_disk COMMAND KILOBYTES

It prints what the command said with KILOBYTES left, what it said with enough, and whether the result is that of a disk
that was never full.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.scenes import FIT, SCENES, Scene, lab
from tests.namespaces import runs

ROOT = Path(__file__).parents[2]
IN_A_NAMESPACE = ["unshare", "--map-root-user", "--mount"]
ENOUGH = 500 * 1024  # KB
LONGEST = 300  # seconds


@dataclass(frozen=True)
class OnSmallDisk:
    """What happened.

    Args:
        code: Exit code with little room.
        said: What the command said.
        code_again: Exit code of the same command when there was enough room.
        said_again: What it said then.
        same: Whether its result is that of an undisturbed one.
    """

    code: int
    said: str
    code_again: int
    said_again: str
    same: bool


def is_allowed() -> bool:
    """Return whether this machine lets us mount a disk of our own."""
    return runs(*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt")


def on_small_disk(scene: Scene, kilobytes: int) -> OnSmallDisk:
    """Run a scene on a disk with a number of KB left, in a process of its own."""
    command = [*IN_A_NAMESPACE, sys.executable, "-m", "tests.faults.small_disk", scene.name, str(kilobytes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return OnSmallDisk(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    scene = next(each for each in SCENES if each.name == sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="ptsam-disk-") as name:
        disk = Path(name)
        _mount(disk, ENOUGH)
        try:
            print(json.dumps(asdict(_tried(scene, disk, int(sys.argv[2])))))
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)


def _tried(scene: Scene, disk: Path, kilobytes: int) -> OnSmallDisk:
    folder = disk / "lab"
    folder.mkdir()
    lab(folder)
    if scene is not FIT:
        _call(FIT, folder)
        (folder / "specialist").rename(folder / "ready")
    _call(scene, folder)
    undisturbed = scene.result(folder)
    scene.clear(folder)
    used = shutil.disk_usage(disk).used // 1024
    _mount(disk, used + kilobytes, "remount,")
    code, said = _call(scene, folder)
    _mount(disk, ENOUGH, "remount,")
    code_again, said_again = _call(scene, folder)
    return OnSmallDisk(code, said, code_again, said_again, code_again == 0 and scene.result(folder) == undisturbed)


def _mount(disk: Path, kilobytes: int, how: str = "") -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={kilobytes}k", "tmpfs", disk], check=True)


def _call(scene: Scene, folder: Path) -> tuple[int, str]:
    command = [sys.executable, "-c", "from ptsam_auto.start import main; main()", scene.name, *scene.words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST
    )
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    main()

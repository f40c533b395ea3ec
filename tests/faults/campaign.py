"""Disturbs the commands in every way, runs them again, and counts what was lost.

A fault is survived if the disturbed command ends without a traceback (or was killed), and the same command afterwards
ends with the result of an undisturbed one, or says what to do. Otherwise it is lost.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil

from tests.faults.injector import SHIM, Ended, Fault, end, run, start
from tests.faults.scenes import FIT, PREDICT, SCENES, Scene, lab
from tests.faults.small_disk import is_allowed, on_small_disk

SAYS_WHAT_TO_DO = (
    "Restore it",
    "Run fit again",
    "run fit again",
    "Choose another",
    "Copy the",
    "Free some",
    "Check the",
)
LONGEST_ON_RAY = 240  # seconds
# Names of the processes that are killed; () is the command itself.
OF_RAY: dict[str, tuple[str, ...]] = {
    "the command": (),
    "a worker of Ray": ("ray::Imp", "ray::_", "ray::RayTrain", "ray::Train", "ray::Map"),
    "Ray's node": ("raylet",),
}
# Options with which a command runs on Ray.
ON_RAY = {
    "fit": ("--workers", "2"),
    "predict": ("--workers", "2"),
    "search": ("--at-once", "1"),
    "compare": ("--at-once", "1"),
}
KILOBYTES = (4, 16, 40, 100, 250)  # that are left on a disk
SAYS_WHAT_TO_DO += ("overwrite it with --force", "To make one, run", "It is saved by fit if")


@dataclass
class Row:
    """A line of the table.

    Args:
        fault: What was done.
        command: Command to which it was done.
        times: How often.
        lost: What was lost, in words; [] if nothing.
        refused: How often the same command said what to do instead of continuing.
    """

    fault: str
    command: str
    times: int = 0
    lost: list[str] = field(default_factory=list)
    refused: int = 0


class Campaign:
    """The lab, the undisturbed results, and the table."""

    def __init__(self, folder: Path, every: int = 1, seed: int = 0, say: Callable[[str], None] = print) -> None:
        self.folder, self.every, self.say = lab(folder), every, say
        self.random = random.Random(seed)
        self.rows: dict[tuple[str, str], Row] = {}
        self.expected: dict[str, object] = {}
        self.operations: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def prepare(self, scenes: tuple[Scene, ...] = SCENES, times: int = 2) -> None:
        """Run every command undisturbed, by default twice: its results must be the same."""
        for scene in (FIT, *scenes):
            if scene.name in self.expected:
                continue
            results = []
            for _ in range(times):
                scene.clear(self.folder)
                began = time.monotonic()
                done = run(scene.command(self.folder), self.folder)
                self.seconds[scene.name] = time.monotonic() - began
                if done.code != 0:
                    raise RuntimeError(f"{scene.name} does not run: {done.said}")
                results.append(scene.result(self.folder))
            if results[0] != results[-1]:
                raise RuntimeError(f"{scene.name} has another result when it runs again: {_difference(*results)}")
            self.expected[scene.name], self.operations[scene.name] = results[-1], done.operations
            if scene is FIT and not (self.folder / "ready").exists():
                shutil.copytree(self.folder / "specialist", self.folder / "ready")
            self.say(f"{scene.name}: {done.operations} operations, {self.seconds[scene.name]:.1f} s")

    def row(self, fault: str, scene: Scene) -> Row:
        return self.rows.setdefault((fault, scene.name), Row(fault, scene.name))

    def judge(self, row: Row, scene: Scene, first: Ended | None, what: str, *, may_refuse: bool = False) -> None:
        """Run the command again, and say what was lost."""
        row.times += 1
        problems = []
        if first is not None and first.has_traceback:
            problems.append("a traceback: " + " | ".join(first.said.strip().splitlines()[-6:]))
        if first is not None and first.timed_out:
            problems.append("it hangs")
        again = run(scene.command(self.folder), self.folder)
        finished = bool(scene.finished) and scene.finished in again.said
        if again.has_traceback or again.timed_out:
            problems.append("then a traceback: " + " | ".join(again.said.strip().splitlines()[-6:]))
        elif again.code != 0 and not finished:
            if may_refuse and any(advice in again.said for advice in SAYS_WHAT_TO_DO):
                row.refused += 1
            else:
                problems.append(f"then: {again.said.strip()[-400:]}")
        else:
            try:
                same = scene.result(self.folder) == self.expected[scene.name]
            except Exception as error:
                same = False
                problems.append(f"then no result ({error!r})")
            if not same and may_refuse and "is damaged, so" in again.said:
                row.refused += 1
            elif not same:
                problems.append("then another result")
        if again.code == 0:
            left = [
                str(path.relative_to(self.folder))
                for name in scene.out
                for path in (self.folder / name).rglob("*.part")
            ]
            problems += [f"left behind: {left[:3]}"] * bool(left)
        if problems:
            row.lost.append(f"{what}: {'; '.join(problems)}")
            self.say(f"LOST {scene.name}, {row.fault}, {what}: {'; '.join(problems)}")

    # At the n-th operation

    def at_every_operation(self, scene: Scene, fault: Fault, name: str) -> None:
        row = self.row(name, scene)
        first = self.random.randrange(self.every)
        for number in range(first, self.operations[scene.name], self.every):
            scene.clear(self.folder)
            done = run(scene.command(self.folder), self.folder, fault, number)
            self.judge(row, scene, done, f"operation {number}")

    # At any moment

    def killed(self, scene: Scene, times: int) -> None:
        row = self.row("SIGKILL at a random moment", scene)
        for _ in range(times):
            scene.clear(self.folder)
            after = self.random.uniform(0, self.seconds[scene.name])
            done = run(scene.command(self.folder), self.folder, signals=((after, signal.SIGKILL),))
            self.judge(row, scene, done, f"after {after:.2f} s")

    def killed_again_and_again(self, scene: Scene, times: int) -> None:
        row = self.row("SIGKILL at five random moments, one after another", scene)
        for _ in range(times):
            scene.clear(self.folder)
            for _ in range(5):
                after = self.random.uniform(0, 0.7 * self.seconds[scene.name])
                done = run(scene.command(self.folder), self.folder, signals=((after, signal.SIGKILL),))
            self.judge(row, scene, done, "five times")

    def interrupted(self, scene: Scene, times: int, twice: bool) -> None:
        row = self.row("Ctrl-C twice" if twice else "Ctrl-C", scene)
        for _ in range(times):
            scene.clear(self.folder)
            after = self.random.uniform(0.02, 0.9 * self.seconds[scene.name])
            signals = ((after, signal.SIGINT), *(((after + self.random.uniform(0, 0.1), signal.SIGINT),) * twice))
            done = run(scene.command(self.folder), self.folder, signals=signals)
            self.judge(row, scene, done, f"after {after:.2f} s")

    # Damage

    def damaged(self, scene: Scene, per_file: int = 1) -> None:
        """Kill a command half-way, damage one of its files, go on. Half of what is possible is done."""
        possible = list(self._damages(scene, per_file))
        for number, path, damage in self.random.sample(possible, len(possible) // 2):
            row = self.row(f"a file of an unfinished command {damage.__name__}", scene)
            scene.clear(self.folder)
            run(scene.command(self.folder), self.folder, Fault.KILL, number)
            file = self.folder / path
            if not file.exists():  # Its name is another one each time.
                continue
            damage(file, self.random)
            self.judge(row, scene, None, f"{path} after operation {number}", may_refuse=True)

    def _damages(
        self, scene: Scene, per_file: int
    ) -> Iterator[tuple[int, Path, Callable[[Path, random.Random], None]]]:
        for number in sorted({int(part * self.operations[scene.name]) for part in (0.45, 0.9)}):
            scene.clear(self.folder)
            run(scene.command(self.folder), self.folder, Fault.KILL, number)
            files = sorted(
                path.relative_to(self.folder)
                for name in scene.out
                for path in (self.folder / name).rglob("*")
                if path.is_file() and not path.name.endswith((".lock", ".part")) and path.name != "lock"
            )
            kinds: dict[tuple[str, str], int] = {}
            for path in files:  # Of many files of one kind, a few are enough.
                kind = (path.parts[-2][:6], path.suffix)
                kinds[kind] = kinds.get(kind, 0) + 1
                if kinds[kind] <= per_file:
                    for damage in (truncated, zeroed, bit_flipped, removed):
                        yield number, path, damage

    def damaged_specialist(self, flips: int) -> None:
        """Damage a finished specialist; predict must notice, or give the same masks."""
        whole = self.folder / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(self.folder / "ready", whole)
        for name in ("specialist.json", "specialist.safetensors", "folds.safetensors"):
            for damage in (truncated, zeroed, removed, *([bit_flipped] * flips)):
                row = self.row(f"a file of the specialist {damage.__name__}", PREDICT)
                PREDICT.clear(self.folder)
                damage(self.folder / "ready" / name, self.random)
                self.judge(row, PREDICT, None, name, may_refuse=True)
                shutil.copy(whole / name, self.folder / "ready" / name)
        shutil.rmtree(whole)

    # Several at once, and the surroundings

    def two_at_once(self, scene: Scene, times: int) -> None:
        row = self.row("the same command twice at once", scene)
        for _ in range(times):
            scene.clear(self.folder)
            first = start(scene.command(self.folder), self.folder)
            time.sleep(self.random.uniform(0, 0.5 * self.seconds[scene.name]))
            second = start(scene.command(self.folder), self.folder)
            ended = [end(first), end(second)]
            locked = [one for one in ended if "is in use by another" in one.said]
            problems = [one.said for one in ended if one.has_traceback or (one.code and one not in locked)]
            self.judge(row, scene, next((one for one in ended if one.has_traceback), None), "two")
            if problems and not any("finished specialist" in problem for problem in problems):
                row.lost.append(f"one of two failed: {problems[0][-400:]}")
                self.say(row.lost[-1])

    def with_clock(self, scene: Scene, times: int) -> None:
        row = self.row("the clock jumps by ten years, forth and back", scene)
        years = 10 * 365 * 86400
        for number in range(times):
            scene.clear(self.folder)
            forth = number % 2 == 0
            after = self.random.uniform(0, self.seconds[scene.name])
            done = run(
                shifted(scene.command(self.folder), years if forth else -years),
                self.folder,
                signals=((after, signal.SIGKILL),),
            )
            self.judge(row, scene, done, f"after {after:.2f} s")

    def unwritable(self, scene: Scene) -> None:
        """A folder that cannot be written: a link to a disk for reading only (/proc)."""
        row = self.row("the output folder cannot be written", scene)
        scene.clear(self.folder)
        for name in scene.out:
            (self.folder / name).symlink_to("/proc/self/nowhere" if name == scene.out[0] else "/proc/self")
        done = run(scene.command(self.folder), self.folder)
        for name in scene.out:
            (self.folder / name).unlink(missing_ok=True)
        if done.code != 1:
            row.lost.append(f"exit code {done.code}: {done.said[-400:]}")
        self.judge(row, scene, done, "/proc")

    def on_small_disks(self, scene: Scene) -> None:
        """Run it on disks that are really full, with some KB left, and again when there is room."""
        row = self.row("a disk that is really full", scene)
        for kilobytes in KILOBYTES if is_allowed() else ():
            found = on_small_disk(scene, kilobytes)
            row.times += 1
            problems = ["a traceback: " + found.said[-500:]] * ("Traceback" in found.said)
            problems += [f"exit code {found.code}: {found.said[-500:]}"] * (found.code not in (0, 1))
            finished = bool(scene.finished) and scene.finished in found.said_again
            problems += [f"then: {found.said_again[-500:]}"] * (not found.same and not finished)
            if problems:
                row.lost.append(f"{kilobytes} KB left: {'; '.join(problems)}")
                self.say(f"LOST {scene.name}, {row.fault}, {row.lost[-1]}")

    def killed_on_ray(self, scene: Scene, times: int) -> None:
        """Kill the command itself, or one of Ray's processes that works for it, where it runs on Ray."""
        root = Path(__file__).parents[2]
        environment = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", SHIM)}
        environment |= {"PYTHONPATH": str(root)}
        program = "from ptsam_auto.start import main; main()"
        command = [sys.executable, "-c", program, scene.name, *scene.words, *ON_RAY[scene.name]]

        def call(after: float | None = None, names: tuple[str, ...] = ()) -> tuple[int, str, float]:
            """Run it, and after some seconds kill it or one of Ray's processes of these names."""
            began = time.monotonic()
            with tempfile.TemporaryFile("w+") as said:
                process = subprocess.Popen(
                    command, cwd=self.folder, env=environment, stdout=said, stderr=said, start_new_session=True
                )
                if after is not None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(after)
                    if names:
                        _kill_of_ray(process.pid, names)
                    else:
                        process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LONGEST_ON_RAY)
                hangs = process.poll() is None
                process.kill()
                process.wait()
                said.seek(0)
                return process.returncode, said.read() + " (it hangs)" * hangs, time.monotonic() - began

        scene.clear(self.folder)
        code, said, seconds = call()
        if code != 0:
            raise RuntimeError(f"{scene.name} does not run on Ray: {said}")
        expected = scene.result(self.folder)
        # Several workers add the gradients of a fit in another order than one.
        if scene is not FIT and expected != self.expected[scene.name]:
            raise RuntimeError(f"{scene.name} on Ray has another result than in one process: {said}")
        self.say(f"{scene.name} on Ray: {seconds:.0f} s")
        for what, names in OF_RAY.items():
            row = self.row(f"SIGKILL of {what}, on Ray", scene)
            for _ in range(times):
                scene.clear(self.folder)
                after = self.random.uniform(0.4, 0.9) * seconds
                code, said, _ = call(after, names)
                row.times += 1
                has_traceback = "Traceback (most recent" in said
                problems = ["a traceback or a hang: " + said[-500:]] * (has_traceback or "(it hangs)" in said)
                code, said, _ = call()
                finished = bool(scene.finished) and scene.finished in said
                if (code != 0 and not finished) or scene.result(self.folder) != expected:
                    problems.append(f"then {code}: {said[-500:]}")
                if problems:
                    row.lost.append(f"after {after:.0f} s: {'; '.join(problems)}")
                    self.say(f"LOST {scene.name}, {row.fault}, {row.lost[-1]}")

    def table(self) -> str:
        """Return the table in Markdown."""
        lines = ["| fault | command | times injected | survived | lost |", "|---|---|---|---|---|"]
        for row in self.rows.values():
            survived = row.times - len(row.lost)
            refused = f" ({row.refused} with a message that says what to do)" if row.refused else ""
            lines.append(f"| {row.fault} | `{row.command}` | {row.times} | {survived}{refused} | {len(row.lost)} |")
        times, lost = sum(row.times for row in self.rows.values()), sum(len(row.lost) for row in self.rows.values())
        lines.append(f"| **all** | | **{times}** | **{times - lost}** | **{lost}** |")
        return "\n".join(lines)

    @property
    def lost(self) -> list[str]:
        return [f"{row.command}, {row.fault}, {what}" for row in self.rows.values() for what in row.lost]


def _difference(first: object, second: object) -> str:
    if isinstance(first, dict) and isinstance(second, dict):
        return ", ".join(str(key) for key in {**first, **second} if first.get(key) != second.get(key))
    return f"{first!r:.300} and {second!r:.300}"


def _kill_of_ray(process: int, names: tuple[str, ...]) -> None:
    """Kill the first of Ray's processes for a command that has one of these names, if there is one at this moment."""
    with contextlib.suppress(psutil.Error):
        for one in psutil.Process(process).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if one.name().startswith(names):
                    one.kill()
                    return


def truncated(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(rng.randrange(max(1, path.stat().st_size)))


def zeroed(path: Path, rng: random.Random) -> None:
    """As after a power failure."""
    path.write_bytes(bytes(path.stat().st_size))


def bit_flipped(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def removed(path: Path, rng: random.Random) -> None:
    path.unlink()


def shifted(work: Callable[[], None], seconds: float) -> Callable[[], None]:
    """Return the function with a clock that is wrong."""

    def run() -> None:
        now = time.time
        time.time = lambda: now() + seconds

        class Wrong(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.fromtimestamp(now() + seconds, tz)

        for module in list(sys.modules.values()):
            if (
                getattr(module, "__name__", "").startswith("ptsam_auto")
                and getattr(module, "datetime", None) is datetime
            ):
                module.datetime = Wrong
        work()

    return run


AT_OPERATIONS = (
    (Fault.KILL, "killed before the n-th write, fsync or rename"),
    (Fault.TEAR, "killed within the n-th write"),
    (Fault.FULL, "disk full from the n-th write on"),
    (Fault.BROKEN, "input/output error at the n-th operation"),
)


def short(folder: Path, say: Callable[[str], None] = lambda text: None) -> Campaign:
    """Return a campaign of a few faults of each kind on fit and predict."""
    campaign = Campaign(folder, say=say)
    campaign.prepare((FIT, PREDICT), times=1)
    for scene in (FIT, PREDICT):
        campaign.every = campaign.operations[scene.name]  # One of them, by chance.
        for fault, name in AT_OPERATIONS:
            campaign.at_every_operation(scene, fault, name)
    return campaign


def on_ray(folder: Path, times: int, only: str, say: Callable[[str], None]) -> Campaign:
    """Return a campaign of commands that run on Ray."""
    from tests.faults import serial

    serial.use()
    campaign = Campaign(folder, say=say)
    scenes = tuple(scene for scene in SCENES if only in scene.name)
    campaign.prepare(scenes)
    for scene in scenes:
        campaign.killed_on_ray(scene, times)
    return campaign


def on_disks(folder: Path, say: Callable[[str], None]) -> Campaign:
    """Return a campaign of disks that are really full."""
    campaign = Campaign(folder, say=say)
    for scene in (FIT, PREDICT):
        campaign.on_small_disks(scene)
    return campaign


def long(folder: Path, every: int, only: str, say: Callable[[str], None]) -> Campaign:
    """Return the whole campaign."""
    campaign = Campaign(folder, every, say=say)
    from tests.faults import serial

    serial.use()
    scenes = tuple(scene for scene in SCENES if only in scene.name)
    campaign.prepare(scenes)
    for scene in scenes:
        for fault, name in AT_OPERATIONS:
            campaign.at_every_operation(scene, fault, name)
        campaign.killed(scene, 8)
        campaign.killed_again_and_again(scene, 1)
        campaign.interrupted(scene, 4, twice=False)
        campaign.interrupted(scene, 3, twice=True)
        campaign.damaged(scene)
        campaign.two_at_once(scene, 2)
        campaign.with_clock(scene, 2)
        campaign.unwritable(scene)
    if PREDICT in scenes:
        campaign.damaged_specialist(10)
    return campaign

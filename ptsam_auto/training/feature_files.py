"""Features on disk: Arrow files named by content, each made once however many processes want it."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

PATIENCE = 0.1  # seconds between two looks at a file that another process is making


def fill(paths: Sequence[Path], make: Callable[[int], pa.RecordBatch], made: Callable[[], None] = lambda: None) -> int:
    """Make every file that is missing; of several processes that ask for the same ones, each makes a part.

    A file appears only when complete. The lock on one that is being made goes with its process, so a killed one
    leaves nothing to clean up.

    Args:
        paths: in one existing folder.
        make: the contents of file number i.
        made: called after each file that was missing, whoever made it.

    Returns:
        How many files this process made.
    """
    ours, waiting = 0, [i for i, path in enumerate(paths) if not path.exists()]
    while waiting:
        busy = []
        for i in waiting:
            try:
                with FileLock(paths[i].with_suffix(".lock"), timeout=0):
                    if not paths[i].exists():
                        _write(paths[i], make(i))
                        ours += 1
                made()
            except Timeout:
                busy.append(i)
        if len(busy) == len(waiting):
            time.sleep(PATIENCE)
        waiting = busy
    return ours


def read(path: Path) -> pa.RecordBatch:
    """A file's contents, mapped rather than read: many readers share one copy in memory."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)


def packed(mask: np.ndarray) -> bytes:
    """A bool mask, a bit a pixel."""
    return np.packbits(mask).tobytes()


def unpacked(bits: pa.BinaryScalar, height: int, width: int) -> np.ndarray:
    """The inverse of `packed`: H W, bool."""
    values = np.unpackbits(np.frombuffer(bits.as_buffer(), np.uint8), count=height * width)
    return values.reshape(height, width).astype(bool)


def _write(path: Path, batch: pa.RecordBatch) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    with pa.ipc.new_file(str(unfinished), batch.schema) as file:
        file.write_batch(batch)
    unfinished.replace(path)

"""Arrow files with features. Each file is created only once, also when several processes need it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from ptsam_auto.files import replacing

POLL_SECONDS = 0.1  # time between two checks of a file that another process is creating


def fill(paths: Sequence[Path], make: Callable[[int], pa.RecordBatch], made: Callable[[], None] = lambda: None) -> int:
    """Create all missing files. Several processes can call this at the same time and divide the work.

    A file appears only when it is complete. The lock on a file is released when its process ends, so a killed process
    leaves nothing to clean up.

    Args:
        paths: Paths of the files, in one existing folder.
        make: Function that returns the contents of file number i.
        made: Function that is called after each missing file was created, by this or another process.

    Returns:
        Number of files that this process created.
    """
    created, missing = 0, [i for i, path in enumerate(paths) if not path.exists()]
    while missing:
        busy = []
        for i in missing:
            try:
                with FileLock(paths[i].with_suffix(".lock"), timeout=0):
                    if not paths[i].exists():
                        _write(paths[i], make(i))
                        created += 1
                made()
            except Timeout:
                busy.append(i)
        if len(busy) == len(missing):
            time.sleep(POLL_SECONDS)
        missing = busy
    return created


def read(path: Path) -> pa.RecordBatch:
    """Open a file as a memory map, so that all processes share one copy in memory."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)


def packed(mask: np.ndarray) -> bytes:
    """Pack a bool mask to one bit per pixel."""
    return np.packbits(mask).tobytes()


def unpacked(bits: pa.BinaryScalar, height: int, width: int) -> np.ndarray:
    """Return the mask that `packed` has packed, H W, bool."""
    values = np.unpackbits(np.frombuffer(bits.as_buffer(), np.uint8), count=height * width)
    return values.reshape(height, width).astype(bool)


def _write(path: Path, batch: pa.RecordBatch) -> None:
    with replacing(path) as unfinished, pa.ipc.new_file(str(unfinished), batch.schema) as file:
        file.write_batch(batch)

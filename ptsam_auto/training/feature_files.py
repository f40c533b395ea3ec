"""Arrow files with features. Each file is created only once, also when several processes need it.

A file holds a checksum of its contents, which each process checks once. A damaged file is said and made again.
"""

import logging
import time
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from ptsam_auto.files import replacing

POLL_SECONDS = 0.1  # time between two checks of a file that another process is creating
CLASS_NUMBERS = b"c"  # at the end of a mask of class numbers; it makes it longer than any mask of bits
CHECKSUM = b"crc32"  # key of the checksum in the metadata of a file

logger = logging.getLogger(__name__)


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
    created, missing = 0, absent(paths)
    while missing:
        busy = []
        for i in missing:
            try:
                with FileLock(paths[i].with_suffix(".lock"), timeout=0):
                    if absent([paths[i]]):
                        if paths[i].exists():
                            logger.warning("%s is damaged; it is made again.", paths[i])
                        _write(paths[i], make(i))
                        created += 1
                made()
            except Timeout:
                busy.append(i)
        if len(busy) == len(missing):
            time.sleep(POLL_SECONDS)
        missing = busy
    return created


def absent(paths: Sequence[Path]) -> list[int]:
    """Return the numbers of the files that do not exist or are damaged."""
    missing = []
    for i, path in enumerate(paths):
        try:
            about = path.stat()
        except FileNotFoundError:
            missing.append(i)
        else:
            if not _is_intact(path, about.st_size, about.st_mtime_ns):
                missing.append(i)
    return missing


def read(path: Path) -> pa.RecordBatch:
    """Open a file as a memory map, so that all processes share one copy in memory."""
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)


def packed(mask: np.ndarray) -> bytes:
    """Pack a bool mask to one bit per pixel, or class numbers (uint8) to one byte per pixel and one at the end."""
    return np.packbits(mask).tobytes() if mask.dtype == bool else mask.tobytes() + CLASS_NUMBERS


def unpacked(bits: pa.BinaryScalar, height: int, width: int) -> np.ndarray:
    """Return the mask that `packed` has packed, H W, bool or class numbers."""
    stored = np.frombuffer(bits.as_buffer(), np.uint8)
    if len(stored) == height * width + len(CLASS_NUMBERS):
        return stored[: height * width].reshape(height, width)
    return np.unpackbits(stored, count=height * width).reshape(height, width).astype(bool)


@cache
def _is_intact(path: Path, size: int, changed: int) -> bool:  # noqa: ARG001 - another file of this name is checked anew
    try:
        batch = read(path)
        return (batch.schema.metadata or {}).get(CHECKSUM) == _checksum(batch)
    except (pa.ArrowException, OSError):
        return False


def _checksum(batch: pa.RecordBatch) -> bytes:
    """Return a checksum of the values of all columns."""
    found = 0
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None:
                found = zlib.crc32(buffer, found)
    return b"%08x" % found


def _write(path: Path, batch: pa.RecordBatch) -> None:
    batch = batch.replace_schema_metadata({**(batch.schema.metadata or {}), CHECKSUM: _checksum(batch)})
    with replacing(path) as unfinished, pa.ipc.new_file(str(unfinished), batch.schema) as file:
        file.write_batch(batch)

"""Writes and reads PNG files by rows, and reads their texts without their pixels, so that size does not matter."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ptsam_auto.files import replacing

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE = (bytes([8, kind, 0, 0, 0]) for kind in (0, 3))  # depth, colour type, compression, filter, interlace
NO_FILTER = 0  # at the start of each row
WRITER = "this program"  # for messages
LONGEST_TEXT = 10_000  # bytes of a chunk that is read


def write_rows(
    path: Path,
    width: int,
    height: int,
    rows: Iterable[np.ndarray],
    texts: Mapping[str, str],
    palette: bytes | None = None,
) -> None:
    """Write an 8-bit PNG atomically, grey or with a palette.

    Args:
        path: The file.
        width: Width of the image, px.
        height: Height of the image, px.
        rows: Parts of the image from top to bottom, each h width, uint8.
        texts: Texts of the metadata, in Latin-1; they stand before the pixels.
        palette: Red, green and blue of each value, or None for grey.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(SIGNATURE)
        file.write(_chunk(b"IHDR", struct.pack(">II", width, height) + (PALETTE if palette else GREY)))
        if palette:
            file.write(_chunk(b"PLTE", palette))
        for key, value in texts.items():
            file.write(_chunk(b"tEXt", f"{key}\0{value}".encode("latin-1")))
        compressor = zlib.compressobj()
        for part in rows:
            filtered = np.pad(part, ((0, 0), (1, 0)), constant_values=NO_FILTER)
            file.write(_chunk(b"IDAT", compressor.compress(filtered.tobytes())))
        file.write(_chunk(b"IDAT", compressor.flush()))
        file.write(_chunk(b"IEND", b""))


def size_of(path: Path) -> tuple[int, int]:
    """Return the height and the width, px, of a PNG.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a PNG.
    """
    with path.open("rb") as file:
        start = file.read(len(SIGNATURE) + 16)
    if len(start) < len(SIGNATURE) + 16 or not start.startswith(SIGNATURE):
        raise ValueError(f"{path} is not a PNG")
    width, height = struct.unpack(">II", start[-8:])
    return height, width


def read_rows(path: Path, at_once: int) -> Iterator[np.ndarray]:
    """Yield the pixels of a PNG that `write_rows` has written, each h width, uint8: grey values or those of a palette.

    Args:
        path: The file.
        at_once: h, number of rows; there are fewer at the end.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or another program has written it in another way.
    """
    height, width = size_of(path)
    waiting, done = bytearray(), 0
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        decompressor = zlib.decompressobj()
        for kind, content in _chunks(file, path):
            if kind == b"IHDR" and content[8:] not in (GREY, PALETTE):
                raise ValueError(f"{path} is not a mask of {WRITER}")
            if kind != b"IDAT":
                continue
            # A chunk can be a thousand times as large when it is unpacked.
            while content:
                waiting += decompressor.decompress(content, at_once * (width + 1))
                content = decompressor.unconsumed_tail
                whole = len(waiting) // (width + 1)
                if whole >= at_once or done + whole == height:
                    rows = np.frombuffer(bytes(waiting[: whole * (width + 1)]), np.uint8).reshape(whole, width + 1)
                    del waiting[: whole * (width + 1)]
                    if rows[:, 0].any():
                        raise ValueError(f"{path} is not a mask of {WRITER}")
                    yield from (rows[first : first + at_once, 1:] for first in range(0, whole, at_once))
                    done += whole
    if done != height:
        raise ValueError(f"{path} is cut short")


def _chunks(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the content of each chunk from the current place of a PNG to its end.

    Raises:
        ValueError: A chunk is damaged or cut.
    """
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        content, check = file.read(length), file.read(4)
        if check != struct.pack(">I", zlib.crc32(kind + content)):
            raise ValueError(f"{path} is damaged")
        yield kind, content


def write_picture(path: Path, picture: Image.Image, texts: Mapping[str, str]) -> None:
    """Write a picture as PNG with texts, atomically.

    Raises:
        OSError: The file cannot be written.
    """
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    with replacing(path) as unfinished:
        picture.save(unfinished, format="PNG", pnginfo=info)


def read_texts(path: Path) -> dict[str, str]:
    """Return the texts (tEXt) of a PNG that stand before its pixels.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a PNG, or damaged before its pixels.
    """
    texts: dict[str, str] = {}
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            raise ValueError(f"{path} is not a PNG")
        while True:
            head = file.read(8)
            if len(head) < 8:
                raise ValueError(f"{path} is cut short")
            length, kind = struct.unpack(">I4s", head)
            if kind in (b"IDAT", b"IEND"):
                return texts
            if kind != b"tEXt" or length > LONGEST_TEXT:
                file.seek(length + 4, 1)
                continue
            content = file.read(length)
            if file.read(4) != struct.pack(">I", zlib.crc32(kind + content)):
                raise ValueError(f"{path} is damaged")
            key, _, value = content.decode("latin-1").partition("\0")
            texts[key] = value


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

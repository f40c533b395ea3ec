"""Writes a PNG, also row by row, and reads its texts without its pixels, so that its size does not matter."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ptsam_auto.files import replacing

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE = (bytes([8, kind, 0, 0, 0]) for kind in (0, 3))  # depth, colour type, compression, filter, interlace
NO_FILTER = 0  # at the start of each row
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

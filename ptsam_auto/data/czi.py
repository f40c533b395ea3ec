"""Zeiss CZI files: the sub-blocks of pixels that they hold, and a page put together from them.

Written from Zeiss' description of the format (ZISRAW 1.0), since the packages that read it have another licence than
ours or no release for every Python that we support. The tests read files that Zeiss' own libCZI wrote: uncompressed and
Zstandard, grey 16-bit and colour, stacks, mosaics and scenes. JPEG and JPEG XR are decoded by imagecodecs and were not
tested with files of a microscope.
"""

# H W  px, rows and columns of a page;  S  samples of a pixel: 1, or red, green and blue

import struct
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np

from ptsam_auto.data.raster import check_size, unreadable

SEGMENT = struct.Struct("<16sqq")  # name, allocated bytes, used bytes
HEADER = struct.Struct("<ii8x16s16siqqiq")  # version, identifiers, file part, positions of directory and metadata
ENTRY = struct.Struct("<2siqiiB5xi")  # schema, pixel type, position, file part, compression, pyramid, dimensions
DIMENSION = struct.Struct("<4siifi")  # letter, start, size, coordinate, stored size
SUBBLOCK = struct.Struct("<iiq")  # bytes of metadata, attachment and pixels
DIRECTORY_BYTES, SUBBLOCK_BYTES = 128, 256  # fixed parts of a directory and of a sub-block
MOST_ENTRIES = 10_000_000
PIXEL_TYPES = {
    **{0: ("<u1", 1), 1: ("<u2", 1), 2: ("<f4", 1), 12: ("<i4", 1), 13: ("<f8", 1)},
    **{3: ("<u1", 3), 4: ("<u2", 3), 8: ("<f4", 3), 9: ("<u1", 4)},
}
"""Type of a sample, and samples of a pixel, by Zeiss' number; several are stored as blue, green, red (and alpha)."""
RAW, JPEG, JPEG_XR, ZSTD, ZSTD_WITH_HEADER = 0, 1, 4, 5, 6
PLANAR = "XYM"  # axes within a page: columns, rows, tiles of a mosaic


@dataclass(frozen=True)
class Block:
    """A sub-block: a rectangle of one page.

    Args:
        place: the index along every other axis, by Zeiss' letter ("S" is a scene).
        tile: number within a mosaic; a later tile covers an earlier one.
        top: px, from the origin of the stage.
        left: px.
        height: px.
        width: px.
        pixel_type: Zeiss' number.
        compression: Zeiss' number.
        position: byte of the file where its segment begins.
    """

    place: Mapping[str, int]
    tile: int
    top: int
    left: int
    height: int
    width: int
    pixel_type: int
    compression: int
    position: int


@dataclass(frozen=True)
class CziFile:
    """The pages of a CZI file at full resolution.

    Args:
        path: of the file.
        axes: tifffile's letters; scenes, which Zeiss calls S, are "I". Ends with "YXS".
        shape: sizes of the axes.
        blocks: by their indices along the axes before Y.
        origins: px, top and left of a page, by the scene.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    blocks: Mapping[tuple[int, ...], tuple[Block, ...]]
    origins: Mapping[int, tuple[int, int]]

    @classmethod
    def of(cls, path: Path) -> "CziFile":
        """Read the directory of sub-blocks.

        Raises:
            DatasetError: the file goes on in another, its scenes differ in size, or its pixels are of a kind that is
                not read.
            ValueError: it is damaged or no CZI file.
        """
        with path.open("rb") as file:
            blocks = _directory(file, path)
        kinds = {block.pixel_type for block in blocks}
        samples = {PIXEL_TYPES[kind][1] for kind in kinds if kind in PIXEL_TYPES}
        if not kinds <= set(PIXEL_TYPES) or len(samples) != 1:
            raise unreadable(path, "has pixels of an unusual kind; export it as OME-TIFF in ZEN or Fiji")
        scenes: dict[int, list[Block]] = defaultdict(list)
        for block in blocks:
            scenes[block.place.get("S", 0)].append(block)
        origins = {scene: (min(b.top for b in own), min(b.left for b in own)) for scene, own in scenes.items()}
        sizes = {
            (
                max(b.top + b.height for b in own) - origins[scene][0],
                max(b.left + b.width for b in own) - origins[scene][1],
            )
            for scene, own in scenes.items()
        }
        if len(sizes) > 1:
            what = f"holds {len(scenes)} scenes of different sizes; export each as OME-TIFF in ZEN or Fiji"
            raise unreadable(path, what)
        ((height, width),) = sizes
        check_size(path, height, width)
        indices: dict[str, dict[int, int]] = {}
        for letter in sorted({letter for block in blocks for letter in block.place}, key=_rank):
            values = sorted({block.place.get(letter, 0) for block in blocks})
            indices[letter] = {value: index for index, value in enumerate(values)}
        placed: dict[tuple[int, ...], list[Block]] = defaultdict(list)
        for block in sorted(blocks, key=lambda block: block.tile):
            placed[tuple(known[block.place.get(letter, 0)] for letter, known in indices.items())].append(block)
        axes = "".join(indices).replace("S", "I") if "I" not in indices else "".join(indices).replace("S", "Q")
        shape = (*(len(known) for known in indices.values()), height, width, min(samples.pop(), 3))
        return cls(path, f"{axes}YXS", shape, {key: tuple(own) for key, own in placed.items()}, origins)

    def plane(self, place: tuple[int, ...]) -> np.ndarray:
        """Return a plane, H W S, the tiles of a mosaic put together; pixels that no tile covers are 0.

        Args:
            place: an index along each axis before Y.

        Raises:
            ValueError: a sub-block is damaged.
        """
        dtype = np.result_type(*(PIXEL_TYPES[b.pixel_type][0] for own in self.blocks.values() for b in own[:1]))
        out = np.zeros(self.shape[-3:], dtype)
        with self.path.open("rb") as file:
            for block in self.blocks.get(place, ()):
                origin = self.origins[block.place.get("S", 0)]
                top, left = block.top - origin[0], block.left - origin[1]
                out[top : top + block.height, left : left + block.width] = _pixels(file, block)
        return out


def _rank(letter: str) -> tuple[int, str]:
    """Scenes first, then all others, time, planes and channels last."""
    return ("TZC".find(letter), "" if letter == "S" else letter)


def _directory(file: BinaryIO, path: Path) -> list[Block]:
    if not _segment(file, 0).startswith(b"ZISRAWFILE"):
        raise ValueError("no CZI file")
    *_, part, directory, _metadata, _pending, _attachments = HEADER.unpack(file.read(HEADER.size))
    if part:
        raise unreadable(path, "one part of a CZI file in several; export it as OME-TIFF in ZEN or Fiji")
    if _segment(file, directory) != b"ZISRAWDIRECTORY":
        raise ValueError("no directory")
    (count,) = struct.unpack("<i", file.read(4))
    if not 0 < count <= MOST_ENTRIES:
        raise ValueError(f"{count} sub-blocks")
    file.seek(DIRECTORY_BYTES - 4, 1)
    entries = [_entry(file, path) for _ in range(count)]
    blocks = [block for block in entries if block is not None]
    if not blocks:
        raise unreadable(path, "has pixels of an unusual kind; export it as OME-TIFF in ZEN or Fiji")
    return blocks


def _segment(file: BinaryIO, position: int) -> bytes:
    """Go to a segment's content, and return its name."""
    file.seek(position)
    name, _, _ = SEGMENT.unpack(file.read(SEGMENT.size))
    return bytes(name.rstrip(b"\0"))


def _entry(file: BinaryIO, path: Path) -> Block | None:
    """Return the sub-block that an entry of the directory describes; None for a smaller copy of others."""
    schema, pixel_type, position, part, compression, pyramid, count = ENTRY.unpack(file.read(ENTRY.size))
    if schema != b"DV":
        raise ValueError(f"an entry {schema!r}")
    if part:
        raise unreadable(path, "one part of a CZI file in several; export it as OME-TIFF in ZEN or Fiji")
    place: dict[str, int] = {}
    starts, sizes, whole = {"M": 0}, {"M": 1}, True
    for _ in range(count):
        raw, start, size, _, stored = DIMENSION.unpack(file.read(DIMENSION.size))
        letter = raw.rstrip(b"\0").decode("ascii")
        if letter in PLANAR:
            starts[letter], sizes[letter] = start, size
            whole = whole and stored in (0, size)
        elif size > 1:
            raise ValueError(f"a sub-block of {size} pages")
        else:
            place[letter] = start
    if pyramid or not whole:
        return None
    if min(sizes["Y"], sizes["X"]) < 1:
        raise ValueError("an empty sub-block")
    top, left, height, width = starts["Y"], starts["X"], sizes["Y"], sizes["X"]
    return Block(place, starts["M"], top, left, height, width, pixel_type, compression, position)


def _pixels(file: BinaryIO, block: Block) -> np.ndarray:
    """Decode a sub-block: H W S, several samples as red, green and blue."""
    if _segment(file, block.position) != b"ZISRAWSUBBLOCK":
        raise ValueError("no sub-block where one is expected")
    start = file.tell()
    metadata, _attachment, size = SUBBLOCK.unpack(file.read(SUBBLOCK.size))
    *_, dimensions = ENTRY.unpack(file.read(ENTRY.size))
    fixed = max(SUBBLOCK_BYTES, SUBBLOCK.size + ENTRY.size + dimensions * DIMENSION.size)
    file.seek(start + fixed + metadata)
    stored = file.read(size)
    name, samples = PIXEL_TYPES[block.pixel_type]
    dtype, shape = np.dtype(name), (block.height, block.width, samples)
    if block.compression in (JPEG, JPEG_XR):
        decode = imagecodecs.jpeg_decode if block.compression == JPEG else imagecodecs.jpegxr_decode
        return np.asarray(decode(stored)).reshape(shape)[..., :3]
    if block.compression == ZSTD:
        stored = bytes(imagecodecs.zstd_decode(stored))
    elif block.compression == ZSTD_WITH_HEADER:
        stored = _unpacked(stored)
    elif block.compression != RAW:
        raise ValueError(f"compression {block.compression}")
    values = np.frombuffer(stored, dtype, count=block.height * block.width * samples).reshape(shape)
    return values[..., 2::-1] if samples > 1 else values


def _unpacked(stored: bytes) -> bytes:
    """Zstandard behind a short header, which may say that low bytes are stored before high bytes."""
    header, apart = stored[0], False
    if header == 3 and stored[1] == 1:
        apart = bool(stored[2] & 1)
    elif header != 1:
        raise ValueError(f"a Zstandard header of {header} bytes")
    data = bytes(imagecodecs.zstd_decode(stored[header:]))
    return np.frombuffer(data, np.uint8).reshape(2, -1).T.tobytes() if apart else data

"""`python -m tests.faults.inputs`: files of every kind with something wrong in them are read, or refused.

Each kind writes a hostile file and opens it as the commands do. The outcome is "read" or "refused", which is an error
of ours with a message. Anything else (another error, a crash, more memory than the limit, more than some seconds) is a
fault. Inputs are opened in child processes with a limit of memory, because native code is involved.
"""

import argparse
import contextlib
import copy
import io
import json
import math
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from ptsam_auto.errors import PtsamError
from tests.toys import sample, toy_checkpoint

MOST_MEMORY = 2_000_000_000  # bytes beyond what the process has after its imports
LONGEST, HANGS = 30, 240  # seconds of CPU time, and of time, of one input
ODD = [
    *(None, True, False, 0, -1, 1, 2, 7, 1e308, 3e9, -(2**31), 2**31, 2**63, 10**40, 0.5, 1e-300),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "2", "../../etc/passwd", "C:\\a.png", "\x00", "\x1b[31m"),
    *("\ud800", "9" * 30, "nano", "ptsam", [], {}, [[]], [{}], [1, 2], {"a": 1}, ["x"], {"name": "ptsam"}, [0] * 1000),
]

Kind = Callable[[Path, random.Random], None]


# Bytes


def with_faults(content: bytes, rng: random.Random) -> bytes:
    """Return a file with one to three things wrong in it."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        if not content:
            return bytes(content)
        kind, at = rng.randrange(9), rng.randrange(len(content))
        early = rng.randrange(min(len(content), 300))
        if kind == 0:
            del content[at:]
        elif kind == 1:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            content[early] = rng.choice((0, 1, 255, 127, 128, rng.randrange(256)))
        elif kind == 3:
            number = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**16 - 1, 100_000))
            content[early : early + 4] = struct.pack(rng.choice("<>") + "I", number)
        elif kind == 4:
            content[at : at + rng.randint(1, 64)] = b""
        elif kind == 5:
            content[at:at] = bytes(content[at : at + rng.randint(1, 64)])
        elif kind == 6:
            size = min(len(content) - at, rng.randint(1, 1000))
            content[at : at + size] = bytes(size)
        elif kind == 7:
            content[at:at] = rng.randbytes(rng.randint(1, 64))
        else:
            content += rng.randbytes(rng.randint(1, 2000))
    return bytes(content)


# Pictures


@cache
def pictures() -> dict[str, bytes]:
    """Return sound files of every kind, by their names."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (20, 30), np.uint8)
    colour = rng.integers(0, 255, (20, 30, 3), np.uint8)
    found: dict[str, bytes] = {}

    def pillow(name: str, image: Image.Image, **how: object) -> None:
        stream = io.BytesIO()
        image.save(stream, **how)
        found[name] = stream.getvalue()

    def tiff(name: str, values: np.ndarray, **how: object) -> None:
        stream = io.BytesIO()
        tifffile.imwrite(stream, values, **how)
        found[name] = stream.getvalue()

    one = Image.fromarray(grey)
    pillow("1-bit.png", one.convert("1"), format="PNG")
    pillow("grey.png", one, format="PNG")
    pillow("16-bit.png", Image.fromarray(grey.astype(np.uint16) * 200), format="PNG")
    pillow("colour.png", Image.fromarray(colour), format="PNG")
    pillow("alpha.png", Image.fromarray(np.dstack([colour, grey])), format="PNG")
    pillow("grey-alpha.png", Image.fromarray(colour).convert("LA"), format="PNG")
    pillow("palette.png", Image.fromarray(colour).convert("P"), format="PNG")
    pillow("palette-transparent.png", Image.fromarray(colour).convert("P"), format="PNG", transparency=3)
    pillow("moving.png", one, format="PNG", save_all=True, append_images=[one.rotate(90), one.rotate(180)])
    pillow("grey.jpg", one, format="JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow("turned.jpg", Image.fromarray(colour), format="JPEG", exif=exif)
    pillow("progressive.jpg", Image.fromarray(colour), format="JPEG", progressive=True)
    pillow("cmyk.jpg", Image.fromarray(colour).convert("CMYK"), format="JPEG")
    pillow("grey.bmp", one, format="BMP")
    pillow("1-bit.bmp", one.convert("1"), format="BMP")
    pillow("moving.gif", one, format="GIF", save_all=True, append_images=[one.rotate(90)])
    pillow("plain.webp", Image.fromarray(colour), format="WEBP")
    pillow("lossless.webp", Image.fromarray(colour), format="WEBP", lossless=True)
    pillow("moving.webp", Image.fromarray(colour), format="WEBP", save_all=True, append_images=[one.convert("RGB")])
    pillow("colour.jp2", Image.fromarray(colour), format="JPEG2000")
    pillow("one-pixel.png", Image.fromarray(grey[:1, :1]), format="PNG")
    pillow("line.png", Image.fromarray(np.zeros((1, 30_000), np.uint8)), format="PNG")
    kinds = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "?")
    for kind in kinds:
        tiff(f"{kind.replace('?', 'bool')}.tif", grey.astype(kind))
    for compression in ("zlib", "lzw", "packbits", "jpeg", "lzma", "zstd", "deflate"):
        tiff(f"{compression}.tif", grey, compression=compression)
    tiff("predicted.tif", grey, compression="lzw", predictor=True)
    tiff("tiled.tif", colour, tile=(16, 16))
    tiff("big.tif", grey, bigtiff=True)
    tiff("big-endian.tif", grey.astype(np.uint16), byteorder=">")
    tiff("planar.tif", colour.transpose(2, 0, 1), planarconfig="separate", photometric="rgb")
    tiff("stack.tif", np.stack([grey] * 3))
    tiff("imagej.tif", np.stack([grey] * 3)[:, None], imagej=True, metadata={"axes": "ZCYX"})
    tiff("ome.tif", np.stack([grey] * 4).reshape(2, 2, 20, 30), ome=True, metadata={"axes": "TCYX"})
    tiff("nan.tif", np.where(grey > 99, np.nan, grey).astype(np.float32))
    tiff("infinite.tif", np.where(grey > 99, np.inf, grey).astype(np.float32))
    tiff("palette.tif", grey, colormap=rng.integers(0, 65535, (3, 256), np.uint16), photometric="palette")
    tiff("white-is-zero.tif", grey, photometric="miniswhite")
    pillow("cmyk.tif", Image.fromarray(colour).convert("CMYK"), format="TIFF")
    pillow("1-bit.tif", one.convert("1"), format="TIFF", compression="group4")
    return found


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@cache
def bombs() -> dict[str, bytes]:
    """Return small files that stand for gigabytes, and files that are no pictures."""
    start = b"\x89PNG\r\n\x1a\n"

    def png(width: int, height: int, rows: bytes, further: bytes = b"") -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        return start + _chunk(b"IHDR", head) + further + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")

    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000)))
    profile = _chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(200_000_000)))
    found = {
        "large.png": png(100_000, 100_000, b""),
        "huge.png": png(2**31 - 1, 2**31 - 1, b""),
        "zero.png": png(0, 0, b""),
        "text.png": png(4, 4, bytes(20), text),
        "profile.png": png(4, 4, bytes(20), profile),
        "nothing.png": b"",
        "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\nshowpage\n",
        "text-file.png": b"hello",
        "page.png": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "archive.tif": b"PK\x03\x04" + bytes(100),
        "pickle.png": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        "header.tif": b"II*\0\x08\0\0\0",
        "loop.tif": b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8),
    }
    for name, width, height, samples in (("wide.tif", 2**31 - 1, 1, 1), ("large.tif", 100_000, 100_000, 1)):
        entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
        entries += [(273, 4, 1, 8), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, 10)]
        directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        found[name] = b"II*\0\x08\0\0\0" + directory + bytes(4)
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((12_000, 12_001), np.uint8), compression="zlib")
    found["deflated.tif"] = stream.getvalue()
    return found


def open_picture(path: Path) -> None:
    """Open a picture as `predict`, `check` and `fit` do."""
    from ptsam_auto.data.images import read_mask
    from ptsam_auto.data.new_images import find_new_images
    from ptsam_auto.data.reading import READ_AS_STORED
    from ptsam_auto.specialist.masks import _read_metadata

    _read_metadata(path)
    refused = None
    try:
        new = find_new_images([path])
        for source in new.sources:
            for page in range(min(3, len(source.names))):
                image = source.image.read(page, READ_AS_STORED)
                assert image.ndim == 3, image.shape
                assert image.shape[2] == 3, image.shape
                assert image.dtype == np.uint8, image.dtype
    except PtsamError as error:
        refused = error
    mask = read_mask(path)
    assert mask.dtype == np.bool_
    if refused is not None:
        raise refused


def picture(folder: Path, rng: random.Random) -> None:
    name, content = rng.choice(list(pictures().items()))
    if rng.random() < 0.1:
        name = f"a{Path(rng.choice(list(pictures()))).suffix}"  # Another suffix than its content has.
    path = folder / name
    path.write_bytes(with_faults(content, rng) if rng.random() < 0.97 else content)
    open_picture(path)


def bomb(folder: Path, rng: random.Random) -> None:
    name, content = rng.choice(list(bombs().items()))
    (folder / name).write_bytes(content)
    open_picture(folder / name)


def ome_zarr(folder: Path, rng: random.Random) -> None:
    """An OME-Zarr image one of whose files is damaged, says something else, or is gone."""
    from tests.data.test_ome_zarr import write

    values = sample(rng.randrange(9)).image
    axes = rng.choice(("yxc", "cyx", "yx"))
    picture = {"yxc": values, "cyx": values.transpose(2, 0, 1), "yx": values[..., 0]}[axes]
    path = write(folder / "a.zarr", np.ascontiguousarray(picture), axes, rng.choice(("0.4", "0.5")))
    file = rng.choice(sorted(one for one in path.rglob("*") if one.is_file()))
    if rng.random() < 0.1:
        file.unlink()
    elif file.name.startswith(".z") or file.suffix == ".json":
        file.write_bytes(as_text(with_something_replaced(json.loads(file.read_text()), rng), rng))
    else:
        file.write_bytes(with_faults(file.read_bytes(), rng))
    open_picture(path)


# JSON, TOML, YAML


def places(content: object, place: tuple = ()) -> Iterator[tuple]:
    yield place
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items)[:12]:
        yield from places(value, (*place, key))


def with_something_replaced(content: object, rng: random.Random) -> object:
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 2)):
        place = rng.choice(list(places(content)))
        if not place:
            continue
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        what = rng.randrange(4)
        if what == 0 and isinstance(inner, dict):
            del inner[place[-1]]
        elif what == 1 and isinstance(inner, dict):
            inner[rng.choice(("a", "name", "__class__", "\x00"))] = rng.choice(ODD)
        elif what == 2 and type(inner[place[-1]]) in (int, float):
            inner[place[-1]] = rng.choice((-1, 0, 1, 10**12, -1e308, 1e308, 0.5, 2**31, math.nan, inner[place[-1]] + 1))
        else:
            inner[place[-1]] = rng.choice(ODD)
    return content


def as_text(content: object, rng: random.Random) -> bytes:
    """Return JSON with something wrong in its values or in its bytes."""
    if rng.random() < 0.8:
        return json.dumps(with_something_replaced(content, rng)).encode()
    text = json.dumps(content).encode()
    if rng.random() < 0.1:
        return text.replace(b"0", b"[" * 50_000 + b"]" * 50_000, 1)
    return with_faults(text, rng)


@cache
def _ready() -> Path:
    """Return a folder with a specialist, a search, a comparison and a checkpoint."""
    from ptsam_auto.experiment.journal import Journal
    from ptsam_auto.files import write_text
    from ptsam_auto.methods.mixture import Mixture
    from ptsam_auto.methods.ptsam import PTSAMConfig, build
    from ptsam_auto.records import to_json
    from ptsam_auto.sam import checkpoint
    from ptsam_auto.search.record import Ended, Measured, Started
    from ptsam_auto.specialist.artifact import Specialist, save
    from tests.search.toys import ended
    from tests.search.toys import record as search_record
    from tests.specialist.records import member, record

    folder = Path(os.environ["PTSAM_AUTO_INPUTS"]) / "ready"
    if folder.exists():
        return folder
    making = folder.with_name("making")
    making.mkdir()
    backbone = checkpoint.load(str(toy_checkpoint(making.parent / "toy.safetensors")))
    config = PTSAMConfig(decoder_prompts=3, prompt_std=0.3)
    model = Mixture([build(backbone.sam, config, seed=5)], [1.0])
    (making / "specialist").mkdir()
    tensors = [{name: tensor + fold for name, tensor in model.trainable().items()} for fold in (1.0, 2.0)]
    save(
        making / "specialist",
        Specialist(model, record(member(backbone, config))),
        tensors,
        np.ones((2, 512), np.float16),
    )
    (making / "search").mkdir()
    write_text(making / "search" / "search.json", to_json(search_record(), indent=2))
    with Journal(making / "search" / "journal.jsonl") as journal:
        for number, dice in enumerate((0.7, 0.6, 0.5)):
            trial = ended(number, (dice, dice + 0.01))
            journal.write(Started(number, 0.0, trial.configuration, trial.settings))
            journal.write(Measured(number, 0.0, trial.rungs[0], 1024, 8))
            journal.write(Ended(number, 0.0, "finished"))
    making.rename(folder)
    return folder


def _copy(what: str, folder: Path) -> Path:
    shutil.copytree(_ready() / what, folder / what)
    return folder / what


def _use(specialist: Path) -> None:
    """Load and use a specialist as `predict`, `evaluate` and `suggest` do."""
    from ptsam_auto.specialist.artifact import load_descriptors, load_specialist

    loaded = load_specialist(specialist, device="cpu", folds=True)
    mask = loaded.predict(sample(0).image)
    assert mask.shape == (48, 64)
    probability = loaded.probability(sample(0).image)
    assert np.isfinite(probability).all()
    load_descriptors(specialist, loaded.record)
    repr(loaded)
    assert loaded.scores is not None
    assert loaded.record.cross_fitted_share <= 1
    if loaded.record.scores.calibration:
        loaded.record.scores.calibration.expected_dice(0.5)


def specialist_json(folder: Path, rng: random.Random) -> None:
    path = _copy("specialist", folder)
    content = json.loads((path / "specialist.json").read_text())
    content.pop("crc32", None)
    (path / "specialist.json").write_bytes(as_text(content, rng))
    _use(path)


def specialist_tensors(folder: Path, rng: random.Random) -> None:
    path = _copy("specialist", folder)
    content = json.loads((path / "specialist.json").read_text())
    if rng.random() < 0.8:  # Whoever changes the numbers can change their hashes.
        content["files"] = {}
    (path / "specialist.json").write_text(json.dumps(content))
    file = path / rng.choice(("specialist.safetensors", "folds.safetensors"))
    file.write_bytes(with_faults(file.read_bytes(), rng))
    _use(path)


def checkpoint(folder: Path, rng: random.Random) -> None:
    from ptsam_auto.sam.checkpoint import load

    content = (_ready().parent / "toy.safetensors").read_bytes()
    path = folder / rng.choice(("a.safetensors", "a.pth"))
    head = int.from_bytes(content[:8], "little") + 8
    content = with_faults(content[:head], rng) + content[head:] if rng.random() < 0.5 else with_faults(content, rng)
    path.write_bytes(content)
    load(str(path))


def onnx_json(folder: Path, rng: random.Random) -> None:
    from dataclasses import asdict

    from ptsam_auto.onnx.runtime import ABOUT_FILE, ExportedMember, ExportRecord, OnnxSpecialist

    colours = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    member = ExportedMember(
        "whole", 1.0, "encoder-0.onnx", "decoder-0.onnx", 128, "mean and deviation", *colours, tiles=2, tile=64
    )
    content = asdict(ExportRecord(1, 0.5, ("cell", "debris"), (member,)))
    (folder / ABOUT_FILE).write_bytes(as_text(content, rng))
    exported = OnnxSpecialist(folder)
    assert 0 < exported.about.threshold < 1
    assert all(isinstance(name, str) for name in exported.classes)


def search_folder(folder: Path, rng: random.Random) -> None:
    """`freeze` reads it."""
    from ptsam_auto.commands.freeze import freeze
    from ptsam_auto.commands.options import FreezeOptions
    from ptsam_auto.terminal import Terminal

    path = _copy("search", folder)
    if rng.random() < 0.5:
        content = json.loads((path / "search.json").read_text())
        (path / "search.json").write_bytes(as_text(content, rng))
    else:
        file = path / "journal.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            line.pop("crc32")
        if rng.random() < 0.3:
            rng.shuffle(lines)
            del lines[rng.randrange(len(lines)) :]
        elif rng.random() < 0.9:
            at = rng.randrange(len(lines))
            lines[at] = with_something_replaced(lines[at], rng)
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file.write_bytes(text if rng.random() < 0.9 else with_faults(text, rng))
    portfolio = rng.choice((None, 2))
    freeze(FreezeOptions(path, folder / "to.toml", portfolio=portfolio), Terminal.silent())


def list_of_files(folder: Path, rng: random.Random) -> None:
    from ptsam_auto.own_files import LIST_FILE, OwnFiles

    (folder / LIST_FILE).write_bytes(as_text({"files": {"a.csv": "0" * 64, "b/c.csv": ""}}, rng))
    (folder / "a.csv").write_text("1")
    OwnFiles(folder, [folder / "a.csv", folder / "b" / "c.csv"], replace=True)


def _toml(content: object) -> str:
    import tomlkit

    with contextlib.suppress(Exception):
        return tomlkit.dumps(content)
    return "x = 1"


def defaults_toml(folder: Path, rng: random.Random) -> None:
    import tomllib
    from importlib import resources

    from ptsam_auto.commands.defaults import defaults as show_defaults
    from ptsam_auto.commands.options import DefaultsOptions
    from ptsam_auto.terminal import Terminal
    from ptsam_auto.training import defaults
    from ptsam_auto.training.settings import Settings

    text = (resources.files("ptsam_auto.training") / "defaults.toml").read_text()
    path = folder / "defaults.toml"
    if rng.random() < 0.6:
        content = tomllib.loads(text)
        content = {name: content[name] for name in rng.sample(sorted(content), 2)}
        for blocks in content.values():
            blocks.pop("like", None)
        path.write_text(_toml(with_something_replaced(content, rng)), errors="replace")
    elif rng.random() < 0.1:
        path.write_text("x = " + "[" * 50_000)
    else:
        path.write_bytes(with_faults(text.encode()[:6000], rng))
    os.environ["PTSAM_AUTO_DEFAULTS"] = str(path)
    try:
        for family in defaults.families():
            for adapt in defaults.adaptations(family, "ptsam"):
                Settings.from_paths(defaults.values(family, adapt))
            defaults.adaptation(family, "cpu")
            defaults.searched_on(family, "decoder", "ptsam", ["0" * 64])
        show_defaults(DefaultsOptions(), Terminal.silent())
    finally:
        del os.environ["PTSAM_AUTO_DEFAULTS"]


def portfolio_toml(folder: Path, rng: random.Random) -> None:
    import tomllib
    from importlib import resources

    from ptsam_auto.commands.defaults import defaults as show_defaults
    from ptsam_auto.commands.options import DefaultsOptions
    from ptsam_auto.portfolio import members
    from ptsam_auto.portfolio.candidates import candidates_for
    from ptsam_auto.registry import Choices
    from ptsam_auto.terminal import Terminal

    text = (resources.files("ptsam_auto.portfolio") / "portfolio.toml").read_text()
    path = folder / "portfolio.toml"
    if rng.random() < 0.7:
        content = tomllib.loads(text)
        content["member"] = [one for one in content["member"] if one["backbone"] == "nano"]
        path.write_text(_toml(with_something_replaced(content, rng)), errors="replace")
    else:
        path.write_bytes(with_faults(text.encode(), rng))
    os.environ["PTSAM_AUTO_PORTFOLIO"] = str(path)
    try:
        found = members.frozen()
        members.searched_on(["0" * 64])
        show_defaults(DefaultsOptions(), Terminal.silent())
        if all(member.backbone == "nano" for member in found.members):
            choices = Choices(backbone="auto", adapt="auto", settings={}, batch_size=None, workers=1, device="cpu")
            candidates_for("ptsam", choices, None, [], Terminal.silent())
    finally:
        del os.environ["PTSAM_AUTO_PORTFOLIO"]


def space_yaml(folder: Path, rng: random.Random) -> None:
    import yaml

    from ptsam_auto.search.space_file import read_space, shipped

    text = rng.choice(list(shipped().values())).read_text()
    path = folder / "a.yaml"
    draw = rng.random()
    if draw < 0.6:
        content = with_something_replaced(yaml.safe_load(text), rng)
        path.write_text(yaml.safe_dump(content), errors="replace")
    elif draw < 0.65:
        path.write_text("a: " + "[" * 20_000)
    elif draw < 0.7:
        path.write_text("a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n<<: [*a]\n")
    else:
        path.write_bytes(with_faults(text.encode(), rng))
    read_space(str(path)).exhaustive()


# Names


def _fifo(path: Path) -> None:
    os.mkfifo(path)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "fifo.png": _fifo,
    "endless.png": lambda path: path.symlink_to("/dev/zero"),
    "terminal.png": lambda path: path.symlink_to("/dev/tty"),
    "loop.png": lambda path: path.symlink_to(path.name),
    "gone.png": lambda path: path.symlink_to("nowhere"),
    "folder.png": lambda path: path.mkdir(),
    "up": lambda path: path.symlink_to(".."),
    "memory.png": lambda path: path.symlink_to("/proc/self/mem"),
    "passwords.png": lambda path: path.symlink_to("/etc/passwd"),
}
WORDS = ["a b", "ü", "Ü", "u\u0308", "日本", "a\nb", "[red]x[/]", "\x1b[31m", "-x", "--force", "a" * 240, "..", "a.b"]
WORDS += [
    "con",
    "$(true)",
    "`true`",
    "a;b",
    "'",
    '"',
    "&",
    "<b>",
    "%s",
    "{0}",
    "~",
    "\u202egnp",
    "\U0001f600",
    "A",
    "a",
]


def names(folder: Path, rng: random.Random) -> None:
    """A folder of images with odd names and odd things between them, read as by `fit` and by `predict`."""
    from ptsam_auto.data.folder import read_folder
    from ptsam_auto.data.new_images import find_new_images
    from ptsam_auto.data.reading import READ_AS_STORED
    from ptsam_auto.terminal import CONTROL, printable

    place = folder / "data"
    for part in ("images", "masks"):
        (place / part).mkdir(parents=True)
    for word in rng.sample(WORDS, 4):
        one = sample(rng.randrange(9))
        with contextlib.suppress(OSError):
            Image.fromarray(one.image).save(place / "images" / f"{word}.png", format="PNG")
            Image.fromarray(one.mask.astype(np.uint8) * 255).save(place / "masks" / f"{word}.png", format="PNG")
    for name in rng.sample(sorted(SPECIAL), rng.randint(0, 2)):
        SPECIAL[name](place / rng.choice(("images", "masks", ".")) / name)
    if rng.random() < 0.3:
        (place / os.fsdecode(b"images/\xff\xfe.png")).write_bytes(pictures()["grey.png"])
    said = []
    try:
        new = find_new_images([place / "images"], recursive=rng.random() < 0.5)
        for source in new.sources:
            source.image.read(0, READ_AS_STORED)
            for word in source.names:
                assert (folder / "out" / f"{word}.png").resolve().is_relative_to(folder.resolve())
        said += [problem.where for problem in (*new.left_out, *new.unreadable)]
    except PtsamError as error:
        said.append(str(error))
    try:
        for pair in read_folder(place).pairs:
            pair.load()
    finally:
        assert not any(CONTROL.search(printable(text)) for text in said)


KINDS: dict[str, Kind] = {
    "pictures with something wrong": picture,
    "bombs, and files that are no pictures": bomb,
    "OME-Zarr": ome_zarr,
    "folders with odd names": names,
    "specialist.json": specialist_json,
    "tensors of a specialist": specialist_tensors,
    "checkpoints of SAM": checkpoint,
    "searches (search.json, journal.jsonl)": search_folder,
    "exports (`onnx.json`)": onnx_json,
    "lists of our own files": list_of_files,
    "defaults.toml": defaults_toml,
    "portfolio.toml": portfolio_toml,
    "search spaces (YAML)": space_yaml,
}


def outcome(kind: Kind, rng: random.Random) -> str:
    """Return "read" or "refused".

    Raises:
        Exception: Anything else; it is a fault.
    """
    with tempfile.TemporaryDirectory(prefix="ptsam-input-") as name:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kind(Path(name), rng)
        except PtsamError as error:
            return "refused" if str(error).strip() else "fault: a message without words"
    return "read"


def in_children(kind: Kind, seeds: range) -> tuple[Counter, dict[int, str]]:
    """Return the outcomes of the inputs of these seeds, and what was wrong with each that is a fault."""
    counts: Counter = Counter()
    faults: dict[int, str] = {}
    left = list(seeds)
    while left:
        reader, writer = os.pipe()
        process = os.fork()
        if not process:
            os.close(reader)
            _work(kind, left, writer)
        os.close(writer)
        with os.fdopen(reader) as stream:
            lines = [line.rstrip("\n").split(" ", 2) for line in stream]
        _, status = os.waitpid(process, 0)
        begun = None
        for number, what, *rest in lines:
            if what == "begins":
                begun = int(number)
            else:
                counts[what] += 1
                if what == "fault":
                    faults[int(number)] = rest[0]
                begun = None
        if begun is not None:  # The child did not survive it.
            code = os.waitstatus_to_exitcode(status)
            faults[begun] = f"the process ended: {signal.Signals(-code).name if code < 0 else code}"
            counts["fault"] += 1
        done = {int(number) for number, *_ in lines}
        if not done:
            raise RuntimeError("a child did nothing")
        left = [seed for seed in left if seed not in done]
    return counts, faults


def _work(kind: Kind, seeds: list[int], writer: int) -> None:
    import traceback

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for seed in seeds:
        os.write(writer, f"{seed} begins\n".encode())
        signal.alarm(HANGS)
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        try:
            what = outcome(kind, random.Random(seed))
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-3:]
            where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(last))
            what = f"fault {error!r:.300} {where}".replace("\n", " ")
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(writer, f"{seed} {what}\n".encode("utf-8", "replace"))
    os._exit(0)


def table(counts: dict[str, Counter]) -> str:
    lines = ["| input | tried | read | refused with a message | faults |", "|---|---|---|---|---|"]
    for name, count in {**counts, "**all**": sum(counts.values(), Counter())}.items():
        read, refused, fault = (count[what] for what in ("read", "refused", "fault"))
        lines.append(f"| {name} | {read + refused + fault} | {read} | {refused} | {fault} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.inputs", description="Open hostile inputs; count.")
    parser.add_argument("--inputs", type=int, default=500, help="inputs of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from ptsam_auto.commands import fit, freeze  # noqa: F401 - imported once, not in each child

    with tempfile.TemporaryDirectory(prefix="ptsam-inputs-") as name:
        os.environ["PTSAM_AUTO_INPUTS"] = name
        os.environ["PTSAM_AUTO_CACHE"] = f"{name}/cache"
        os.environ["PTSAM_AUTO_DEFAULTS"] = f"{name}/none.toml"
        _ready(), pictures(), bombs()
        began, counts = time.monotonic(), {}
        wrong = False
        for title, kind in KINDS.items():
            if options.only not in title:
                continue
            counts[title], faults = in_children(kind, range(options.first, options.first + options.inputs))
            print(title, dict(counts[title]), flush=True)
            for seed, what in list(faults.items())[:30]:
                print(f"  FAULT {seed}: {what}", flush=True)
            wrong |= bool(faults)
        spent = os.times()
        print(table(counts))
        print(f"\n{time.monotonic() - began:.0f} s, {spent.children_user + spent.children_system:.0f} s of CPU time.")
    sys.exit(wrong)


if __name__ == "__main__":
    main()

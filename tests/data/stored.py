"""One truth, stored in as many ways as people's tools have: what the property test draws from."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

SIDE = 64
Scene = tuple[np.ndarray, np.ndarray]  # image H W uint8, labels H W (0 background, 1, 2, ... objects)


def scene(seed: int, objects: int = 3, *, dark: bool = False) -> Scene:
    """A few discs that do not touch, brighter or darker than their noisy ground."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    while labels.max() < objects:
        centre, radius = rng.uniform(9, SIDE - 9, 2), rng.uniform(5, 8)
        disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        if not labels[cv2.dilate(disc.astype(np.uint8), np.ones((5, 5))) > 0].any():
            labels[disc] = labels.max() + 1
    ground, found = (150, 70) if dark else (60, 170)
    image = np.where(labels > 0, found, ground) + rng.normal(0, 8, labels.shape)
    return image.round().clip(0, 255).astype(np.uint8), labels


@dataclass(frozen=True)
class MaskWay:
    """How a tool stores a mask.

    Args:
        write: (path without ending, labels, place of the image) writes the file.
        exact: it loses nothing: what is read must be the truth, or refused.
        certain: it must not be refused.
        cause: what a refusal says.
    """

    write: Callable[[Path, np.ndarray, int], None]
    exact: bool = True
    certain: bool = False
    cause: str = "values and their areas: "


def _png(path: Path, picture: Image.Image, **how: object) -> None:
    picture.save(path.with_name(path.name + ".png"), **how)


def _grey(values: Callable[[np.ndarray], np.ndarray], ending: str = ".png", **how: object) -> Callable[..., None]:
    def write(path: Path, labels: np.ndarray, place: int) -> None:
        Image.fromarray(values(labels)).save(path.with_name(path.name + ending), **how)

    return write


def _tiff(values: Callable[[np.ndarray], np.ndarray], **how: object) -> Callable[..., None]:
    def write(path: Path, labels: np.ndarray, place: int) -> None:
        tifffile.imwrite(path.with_name(path.name + ".tif"), values(labels), **how)

    return write


def _white(labels: np.ndarray) -> np.ndarray:
    return (labels > 0).astype(np.uint8) * np.uint8(255)


def _soft(labels: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(_white(labels), (0, 0), 1.2)


def _resized(labels: np.ndarray) -> np.ndarray:
    small = cv2.resize(_white(labels), (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def _coloured(colour: tuple[int, int, int], ground: tuple[int, int, int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.where((labels > 0)[..., None], np.uint8(colour), np.uint8(ground))


def _object_colours(labels: np.ndarray) -> np.ndarray:
    colours = np.array([[0, 0, 0], [230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48]])
    return colours.astype(np.uint8)[labels]


def _palette(colours: list[int], indices: Callable[[np.ndarray], np.ndarray], ending: str) -> Callable[..., None]:
    def write(path: Path, labels: np.ndarray, place: int) -> None:
        picture = Image.fromarray(indices(labels).astype(np.uint8))
        picture.putpalette(colours + [0] * (768 - len(colours)))
        picture.save(path.with_name(path.name + ending))

    return write


def _voc(path: Path, labels: np.ndarray, place: int) -> None:
    palette = [0, 0, 0, 128, 0, 0, *[0] * 3 * 253, 224, 224, 192]
    marked = (labels > 0).astype(np.uint8)
    ring = cv2.dilate(marked, np.ones((3, 3))) - cv2.erode(marked, np.ones((3, 3)))
    picture = Image.fromarray(np.where(ring > 0, 255, marked).astype(np.uint8))
    picture.putpalette(palette)
    _png(path, picture)


def _alpha(path: Path, labels: np.ndarray, place: int) -> None:
    black = np.zeros((*labels.shape, 3), np.uint8)
    _png(path, Image.fromarray(np.dstack([black, _white(labels)])))


def _painted(path: Path, labels: np.ndarray, place: int) -> None:
    red = np.zeros((*labels.shape, 4), np.uint8)
    red[labels > 0] = 255, 0, 0, 180
    red[(labels == 0) & (np.indices(labels.shape)[0] > SIDE // 2)] = 0, 255, 0, 180
    _png(path, Image.fromarray(red))


def _bilevel_white_is_zero(path: Path, labels: np.ndarray, place: int) -> None:
    Image.fromarray(labels > 0).save(path.with_name(path.name + ".tif"), compression="group4")


def _some_inverted(path: Path, labels: np.ndarray, place: int) -> None:
    _png(path, Image.fromarray(255 - _white(labels) if place % 2 else _white(labels)))


def _overlay(path: Path, labels: np.ndarray, place: int) -> None:
    rng = np.random.default_rng(place)
    y, x = np.mgrid[:SIDE, :SIDE]
    photo = np.dstack([x * 3, y * 3, (x + y)]) + rng.integers(0, 20, (SIDE, SIDE, 3))
    photo[labels > 0] = (photo[labels > 0] + [255, 0, 0]) / 2
    _png(path, Image.fromarray(photo.clip(0, 255).astype(np.uint8)))


def _two_classes(values: tuple[int, int], ending: str, **how: object) -> Callable[..., None]:
    lookup = np.zeros(256, np.uint8)
    lookup[1:] = values[1]
    lookup[1] = lookup[2] = values[0]
    return _grey(lambda labels: lookup[labels], ending, **how)


MASKS = {
    "0 and 255": MaskWay(_grey(_white), certain=True),
    "0 and 1": MaskWay(_grey(lambda labels: (labels > 0).astype(np.uint8)), certain=True),
    "0 and 128": MaskWay(_grey(lambda labels: (labels > 0).astype(np.uint8) * np.uint8(128)), certain=True),
    "objects": MaskWay(_grey(lambda labels: labels)),
    "objects, 16 bits": MaskWay(_grey(lambda labels: labels.astype(np.uint16) * np.uint16(300))),
    "objects, 64 bits": MaskWay(_tiff(lambda labels: labels.astype(np.uint64))),
    "objects, LZW": MaskWay(_tiff(lambda labels: labels.astype(np.uint16), compression="lzw")),
    "objects, floats": MaskWay(_tiff(lambda labels: labels.astype(np.float32))),
    "objects, colours": MaskWay(_grey(_object_colours)),
    "BMP": MaskWay(_grey(_white, ".bmp"), certain=True),
    "GIF": MaskWay(_grey(_white, ".gif"), certain=True),
    "bilevel PNG": MaskWay(_grey(lambda labels: labels > 0), certain=True),
    "bilevel TIFF by tifffile": MaskWay(_tiff(lambda labels: labels > 0), certain=True),
    "bilevel TIFF, white is zero": MaskWay(_bilevel_white_is_zero, certain=True),
    "white is zero": MaskWay(_tiff(lambda labels: 255 - _white(labels), photometric="miniswhite"), certain=True),
    "1 and 2": MaskWay(_grey(lambda labels: np.where(labels > 0, 1, 2).astype(np.uint8))),
    "2 and 1": MaskWay(_grey(lambda labels: np.where(labels > 0, 2, 1).astype(np.uint8))),
    "inverted": MaskWay(_grey(lambda labels: 255 - _white(labels))),
    "some inverted": MaskWay(_some_inverted),
    "red": MaskWay(_grey(_coloured((255, 0, 0), (0, 0, 0))), certain=True),
    "dark red in a JPEG": MaskWay(_grey(_coloured((128, 0, 0), (0, 0, 0)), ".jpg", quality=90), exact=False),
    "blue on white": MaskWay(_grey(_coloured((0, 0, 255), (255, 255, 255)))),
    "JPEG": MaskWay(_grey(_white, ".jpg", quality=70), exact=False, certain=True),
    "PNG of a JPEG": MaskWay(
        lambda path, labels, place: _of_jpeg(path, labels),
        exact=False,
        certain=True,
    ),
    "soft edges": MaskWay(_grey(_soft), exact=False),
    "resized": MaskWay(_grey(_resized), exact=False),
    "probabilities": MaskWay(_tiff(lambda labels: (0.02 + 0.96 * _soft(labels) / 255).astype(np.float32)), exact=False),
    "palette, white first": MaskWay(
        _palette([255, 255, 255, 0, 0, 0], lambda labels: labels == 0, ".png"), certain=True
    ),
    "palette, white first, BMP": MaskWay(
        _palette([255, 255, 255, 0, 0, 0], lambda labels: labels == 0, ".bmp"), certain=True
    ),
    "palette, red second": MaskWay(_palette([0, 0, 0, 255, 0, 0], lambda labels: labels > 0, ".png"), certain=True),
    "palette, red first": MaskWay(_palette([255, 0, 0, 0, 0, 0], lambda labels: labels == 0, ".png")),
    "PASCAL VOC with void": MaskWay(_voc, certain=True),
    "alpha": MaskWay(_alpha, certain=True),
    "RootPainter": MaskWay(_painted, certain=True),
    "two classes": MaskWay(_two_classes((1, 2), ".png")),
    "two grey levels in a JPEG": MaskWay(_two_classes((127, 255), ".jpg", quality=85), exact=False),
    "void without a palette": MaskWay(_grey(lambda labels: np.where(labels == 3, 255, labels > 0).astype(np.uint8))),
    "overlay": MaskWay(_overlay, cause="a picture, an overlay or a heat map rather than a mask"),
}


def _of_jpeg(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(_white(labels)).save(path.with_name("lossy.jpg"), quality=75)
    with Image.open(path.with_name("lossy.jpg")) as lossy:
        _png(path, lossy)
    path.with_name("lossy.jpg").unlink()


def _image(
    values: Callable[[np.ndarray], np.ndarray], ending: str, **how: object
) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, image: np.ndarray) -> None:
        file = path.with_name(path.name + ending)
        if ending.endswith("tif"):
            tifffile.imwrite(file, values(image), **how)
        else:
            Image.fromarray(values(image)).save(file, **how)

    return write


def _barred(image: np.ndarray) -> np.ndarray:
    deep = image.astype(np.uint16) * np.uint16(3) + np.uint16(200)
    deep[-2:, -20:] = 60_000
    return deep


IMAGES = {
    "PNG": _image(lambda image: image, ".png"),
    "JPEG": _image(lambda image: image, ".jpg", quality=90),
    "colour": _image(lambda image: np.dstack([image] * 3), ".png"),
    "TIFF": _image(lambda image: image, ".tif", compression="lzw"),
    "OME-TIFF": _image(lambda image: image, ".ome.tif"),
    "12 of 16 bits": _image(lambda image: image.astype(np.uint16) * np.uint16(12), ".png"),
    "16 bits, big-endian": _image(lambda image: image.astype(np.uint16) * np.uint16(12), ".tif", byteorder=">"),
    "16 bits with a burned-in bar": _image(_barred, ".tif"),
    "floats": _image(lambda image: image.astype(np.float32) / 1000 - 0.1, ".tif"),
    "white is zero": _image(lambda image: 255 - image, ".tif", photometric="miniswhite"),
}


@dataclass(frozen=True)
class Layout:
    """Where files go and how they are called.

    Args:
        image: path without ending of the image called NAME.
        mask: of its mask.
        name: the pair's.
    """

    image: str
    mask: str
    name: str = "{}"


LAYOUTS = {
    "images, masks": Layout("images/{}", "masks/{}"),
    "Images, Masks": Layout("Images/{}", "Masks/{}"),
    "image, mask": Layout("image/{}", "mask/{}"),
    "images, labels": Layout("images/{}", "labels/{}"),
    "PASCAL VOC": Layout("JPEGImages/{}", "SegmentationClass/{}"),
    "masks called after": Layout("images/{}", "masks/{}_mask"),
    "masks called before": Layout("images/{}", "masks/mask_{}"),
    "QuPath": Layout("images/{}", "masks/{}-labelled"),
    "DRIVE": Layout("images/{}_training", "masks/{}_manual1", "{}_training"),
    "upper case": Layout("images/{}", "masks/{}_GT"),
    "beside": Layout("{}", "{}_masks"),
    "beside, Cellpose": Layout("{}_img", "{}_masks", "{}_img"),
    "subfolders": Layout("images/plate1/{}", "masks/plate1/{}", "plate1_{}"),
    "parts": Layout("train/images/{}", "train/masks/{}", "train_{}"),
}
NAMES = {
    "plain": "s{}",
    "spaces and brackets": "slide 1 [d=2,x={},y=0]",
    "umlaut": "Zellkörper é {}",
    "dots": "2024.01.0{}",
}


def store(
    folder: Path, scenes: list[Scene], mask: MaskWay, image: str, layout: Layout, name: str, *, nfd: bool
) -> None:
    """Write a folder; masks are called as an Apple computer composes names where `nfd`."""
    for place, (pixels, labels) in enumerate(scenes):
        called = NAMES[name].format(place)
        paths = [folder / part.format(called) for part in (layout.image, layout.mask)]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        IMAGES[image](paths[0], pixels)
        composed = unicodedata.normalize("NFD" if nfd else "NFC", paths[1].name)
        mask.write(paths[1].with_name(composed), labels, place)

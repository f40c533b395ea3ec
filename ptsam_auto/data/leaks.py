"""Finds the same image in two sets by its pixels, and nearly the same image by its thumbnail.

Images are compared without their masks. Compression, brightness and scale have little influence on the comparison.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ptsam_auto.data.dataset import Pair

SIDE = 16  # side of a thumbnail, px
NEARLY = 0.96  # minimum correlation of the edges of two thumbnails of nearly the same image
FAINT = 2.0  # standard deviation of a thumbnail's edges, grey levels; fainter edges are not compared
RANDOM_ORDERS = 999  # orders with which that of the names is compared
FEWEST_IN_ORDER = 7  # smallest number of images for that; fewer have too few orders
ROWS_AT_ONCE = 512  # thumbnails that are compared with all others in one matrix product


def thumbnail(image: np.ndarray) -> str:
    """Return a small grey version of an image, in hexadecimal, by which the image can be recognised.

    Args:
        image: Image, H W 3, uint8, RGB.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return bytes(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)).hex()


def nearly_same(pairs: Sequence[Pair], others: Sequence[Pair] | None = None) -> list[tuple[int, int]]:
    """Return the indices of pairs whose images are nearly the same.

    Args:
        pairs: Pairs; those without a thumbnail are not compared.
        others: Pairs to compare with; None to compare the pairs with each other.

    Returns:
        (index in pairs, index in others), or (earlier, later) index in pairs.
    """
    first = _edges([pair.thumbnail for pair in pairs])
    second = first if others is None else _edges([pair.thumbnail for pair in others])
    found = []
    for start in range(0, len(first), ROWS_AT_ONCE):
        alike = first[start : start + ROWS_AT_ONCE] @ second.T > NEARLY
        found += [(start + int(row), int(column)) for row, column in np.argwhere(alike)]
    return [(a, b) for a, b in found if a < b] if others is None else found


def neighbours_are_alike(pairs: Sequence[Pair]) -> bool:
    """Return whether consecutive pairs look more alike than in any of many random orders, as slices of a volume do.

    Args:
        pairs: Pairs in their order; without thumbnails the answer is no.
    """
    if len(pairs) < FEWEST_IN_ORDER or not all(pair.thumbnail for pair in pairs):
        return False
    grey = np.array([list(bytes.fromhex(pair.thumbnail)) for pair in pairs], np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    grey /= np.linalg.norm(grey, axis=1, keepdims=True) + 1e-6
    alike = grey @ grey.T

    def of_neighbours(order: np.ndarray) -> float:
        return float(alike[order[:-1], order[1:]].mean())

    rng = np.random.default_rng(0)
    found = of_neighbours(np.arange(len(pairs)))
    return all(of_neighbours(rng.permutation(len(pairs))) < found for _ in range(RANDOM_ORDERS))


def shared(pairs: Sequence[Pair], others: Sequence[Pair]) -> list[tuple[Pair, Pair]]:
    """Return the pairs whose image, or nearly the same image, is in another set: (one of pairs, one of others)."""
    known = {pair.image_digest: pair for pair in others if pair.image_digest}
    found = {place: known[pair.image_digest] for place, pair in enumerate(pairs) if pair.image_digest in known}
    for place, other in nearly_same(pairs, others):
        found.setdefault(place, others[other])
    return [(pairs[place], found[place]) for place in sorted(found)]


@dataclass(frozen=True)
class KnownImage:
    """Hash and thumbnail of an image, by which it can be recognised.

    Args:
        name: Name of its pair.
        digest: SHA-256 of the image, see `data.dataset.image_digest`.
        thumbnail: Thumbnail of the image, see `thumbnail`.
    """

    name: str
    digest: str
    thumbnail: str

    @classmethod
    def of(cls, pair: Pair) -> "KnownImage":
        """Return hash and thumbnail of the image of a pair."""
        return cls(pair.name, pair.image_digest, pair.thumbnail)


def seen_in_training(pairs: Sequence[Pair], trained: Iterable[KnownImage]) -> list[tuple[Pair, str]]:
    """Return the pairs that a specialist was trained on, each with the name of the training image.

    Args:
        pairs: Pairs for the scores.
        trained: Training images of the specialist.
    """
    others = [Pair(image.name, "", _never, image.digest, image.thumbnail) for image in trained]
    return [(pair, other.name) for pair, other in shared(pairs, others)]


def is_known(image: KnownImage, trained: Iterable[KnownImage]) -> bool:
    """Return whether an image, or nearly the same image, is one of the training images of a specialist."""
    pair = Pair(image.name, "", _never, image.digest, image.thumbnail)
    return bool(seen_in_training([pair], trained))


def _never() -> Any:  # noqa: ANN401
    raise RuntimeError("a training image of a specialist is known only by its digest")


def _edges(thumbnails: Sequence[str]) -> np.ndarray:
    """Return the edges of thumbnails as rows of length 1; rows without a thumbnail or without clear edges are 0."""
    rows = np.zeros((len(thumbnails), 2 * SIDE * (SIDE - 1)), np.float32)
    for row, text in zip(rows, thumbnails, strict=True):
        if text:
            grey = np.frombuffer(bytes.fromhex(text), np.uint8).reshape(SIDE, SIDE).astype(np.float32)
            edges = np.concatenate([np.diff(grey, axis=0).ravel(), np.diff(grey, axis=1).ravel()])
            edges -= edges.mean()
            if edges.std() >= FAINT:
                row[:] = edges / np.linalg.norm(edges)
    return rows

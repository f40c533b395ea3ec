"""What the rest of the package sees of a user's folder: named pairs that load one at a time."""

# H W  an image's own size in px; images are RGB uint8, masks are bool (True is foreground)

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One annotated image in memory.

    Args:
        name: unique within its dataset; also the stem of files written about it.
        image: H W 3, uint8, RGB.
        mask: H W, bool, True is foreground.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Pair:
    """An annotated image on disk, checked and ready to load.

    Args:
        name: unique within its dataset.
        digest: SHA-256 of the decoded image and mask, the pair's identity wherever content counts.
        load: reads the pair anew at each call, so that a folder need not fit in memory.
    """

    name: str
    digest: str
    load: Callable[[], Sample]


@dataclass(frozen=True)
class Dataset:
    """A checked folder.

    Args:
        folder: as the user named it.
        layout: "pairs", "cellpose", "coco" or "nnunet".
        pairs: in the order of their names.
    """

    folder: Path
    layout: str
    pairs: tuple[Pair, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what the folder shows, not over how its files are called."""
        return fingerprint(self.pairs)


def fingerprint(pairs: Sequence[Pair]) -> str:
    """SHA-256 over the pairs' contents, independent of names and order."""
    return hashlib.sha256("".join(sorted(pair.digest for pair in pairs)).encode()).hexdigest()


def content_digest(image: np.ndarray, mask: np.ndarray) -> str:
    """SHA-256 of a pair's pixels and their shape.

    Args:
        image: H W 3, uint8, RGB.
        mask: H W, bool.
    """
    digest = hashlib.sha256(f"{image.shape} {mask.shape} ".encode())
    digest.update(np.ascontiguousarray(image).data)
    digest.update(np.ascontiguousarray(mask).data)
    return digest.hexdigest()

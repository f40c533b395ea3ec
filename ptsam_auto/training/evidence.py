"""Metadata of the searches that chose defaults or a portfolio, as `ptsam-auto freeze` writes it into a TOML file."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ptsam_auto.records import from_json

DIGEST = 12  # number of characters of an image's digest that the metadata of a search keeps


@dataclass(frozen=True)
class SearchedDataset:
    """A dataset of a search, as far as it is used.

    Args:
        name: Name of the dataset.
        images: Digests of its images, `DIGEST` characters each.
        fingerprint: SHA-256 of the whole dataset.
    """

    name: str
    images: tuple[str, ...]
    fingerprint: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What is used of the metadata of a search; a lab's own file may lack some of it.

    Args:
        search: Name of the search.
        date: Its date.
        rule: How its result was chosen.
        trials: Number of its trials, in words.
        splits: Number of its splits.
        train_images: Number of training images in each.
        data: Its datasets.
        mean_loss: Mean loss of Dice, 0 to 1, of a portfolio on a dataset that it was learned without.
        chosen: Number of the trial whose settings are the defaults.
        dice: Mean Dice of that trial, 0 to 1.
        standard_error: Standard error of that mean.
        best_dice: Mean Dice of the best trial, 0 to 1.
        best_standard_error: Standard error of that mean.
    """

    search: str | None
    date: str | None
    rule: str | None
    trials: str | None
    splits: int | None
    train_images: int | None
    data: tuple[SearchedDataset, ...] | None
    mean_loss: float | None
    chosen: int | None
    dice: float | None
    standard_error: float | None
    best_dice: float | None
    best_standard_error: float | None


def check(search: Mapping[str, Any]) -> None:
    """Raise RecordError if something in the metadata of a search that is used has the wrong type."""
    from_json(Evidence, json.dumps({one.name: search.get(one.name) for one in fields(Evidence)}))


def images_in(search: Mapping[str, Any], digests: Iterable[str]) -> dict[str, int]:
    """Count the images that were used in a search, by dataset of the search.

    Args:
        search: Metadata of the search; without "data" it has no images.
        digests: Digests of the images, see `data.dataset.Pair`.

    Returns:
        Number of images that are also in the search; {} if there are none, which is the normal case.
    """
    seen = {digest[:DIGEST] for digest in digests}
    counts = {dataset["name"]: len(seen.intersection(dataset["images"])) for dataset in search.get("data", ())}
    return {name: count for name, count in counts.items() if count}

"""nnU-Net's raw data: imagesTr/CASE_0000.png, labelsTr/CASE.png and dataset.json."""

import json
import re
from pathlib import Path
from typing import Any

from ptsam_auto.data.formats.layout import ImageFiles, Listing, MaskFile, grouped, match, relative, subfolder, visible
from ptsam_auto.data.images import SUFFIXES, SUFFIXES_IN_WORDS
from ptsam_auto.errors import DatasetError, Problem

NAME = "nnunet"
SKETCH = "dataset.json, imagesTr/NAME_0000.png and labelsTr/NAME.png (2-D: png, bmp, tif)"
SETTINGS = "dataset.json"
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def detect(folder: Path) -> bool:
    """Say whether there is imagesTr/ or labelsTr/."""
    return any(subfolder(folder, name) for name in ("imagesTr", "labelsTr"))


def read(folder: Path) -> Listing:
    """Match cases; every file _0000, _0001, ... of a case is a channel.

    A label called "ignore" is not foreground: nnU-Net leaves such pixels out, here they count as background.

    Raises:
        DatasetError: dataset.json is missing or broken, or the files are volumes (.nii.gz and the like).
    """
    settings = _settings(folder)
    ending = str(settings.get("file_ending", ".nii.gz"))  # nnU-Net's first version had no other
    if ending.lower() not in SUFFIXES:
        what = f"file_ending is {ending}, a volume that is not read; export 2-D slices as {SUFFIXES_IN_WORDS}"
        raise DatasetError(folder, [Problem(SETTINGS, what)])
    ignored = settings.get("labels", {}).get("ignore")
    problems: list[Problem] = []
    images = _images(folder, _files(folder, "imagesTr", ending), problems)
    masks = grouped(_files(folder, "labelsTr", ending), lambda file: file.stem)
    listing = match(
        folder,
        {case: [files] for case, files in images.items()},
        {case: [MaskFile(file, ignored) for file in files] for case, files in masks.items()},
        mask_of=lambda case: f"labelsTr/{case}{ending}",
        image_of=lambda case: f"imagesTr/{case}_0000{ending}",
    )
    return Listing(listing.entries, (*problems, *listing.problems))


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    if not path.is_file():
        raise DatasetError(folder, [Problem(SETTINGS, "missing; expected nnU-Net's file beside imagesTr/")])
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(folder, [Problem(SETTINGS, f"cannot be opened: {error.strerror}")]) from error
    except ValueError as error:
        raise DatasetError(folder, [Problem(SETTINGS, f"not valid JSON: {error}")]) from error
    if not isinstance(settings, dict) or not isinstance(settings.get("labels"), dict):
        raise DatasetError(folder, [Problem(SETTINGS, 'has no "labels"; expected {"background": 0, ...}')])
    return settings


def _files(folder: Path, name: str, ending: str) -> list[Path]:
    inner = subfolder(folder, name)
    return [path for path in visible(inner) if path.name.endswith(ending)] if inner else []


def _images(folder: Path, files: list[Path], problems: list[Problem]) -> dict[str, ImageFiles]:
    """Return each case's channels in their order, and add a problem for each that is misnamed or missing."""
    cases: dict[str, dict[int, Path]] = {}
    for file in files:
        named = CHANNEL.fullmatch(file.stem)
        if named is None:
            what = f"no channel number; expected {file.stem}_0000{file.suffix}"
            problems.append(Problem(relative(file, folder), what))
        else:
            cases.setdefault(named["case"], {})[int(named["channel"])] = file
    count = max((max(channels) + 1 for channels in cases.values()), default=0)
    for case, channels in cases.items():
        for channel in sorted(set(range(count)) - set(channels)):
            other = next(iter(channels.values()))
            what = f"missing; other images have {count} channels"
            problems.append(Problem(relative(other.with_stem(f"{case}_{channel:04d}"), folder), what))
    return {case: ImageFiles(tuple(channels[c] for c in sorted(channels))) for case, channels in cases.items()}

"""The layout of nnU-Net's raw data: imagesTr/CASE_0000.png, labelsTr/CASE.png and dataset.json."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptsam_auto.data.formats.annotation_files import MOST_BYTES_OF_SETTINGS
from ptsam_auto.data.formats.layout import ImageFiles, Listing, MaskFile, grouped, match, relative, subfolder, visible
from ptsam_auto.data.meaning import Meaning
from ptsam_auto.data.names import stem
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import SUFFIXES_IN_WORDS, named_as_image
from ptsam_auto.errors import DatasetError, Problem, suggestion
from ptsam_auto.files import read_utf8

NAME = "nnunet"
SKETCH = "dataset.json, imagesTr/NAME_0000.png and labelsTr/NAME.png (or bmp, tif, nii.gz)"
SETTINGS = "dataset.json"
CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def detect(folder: Path) -> bool:
    """Return whether there is a folder imagesTr/ or labelsTr/."""
    return any(subfolder(folder, name) for name in ("imagesTr", "labelsTr"))


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Match cases; every file _0000, _0001, ... of a case is a channel.

    Pixels of a label with the name "ignore" are ignored, as in nnU-Net. All other labels except 0 are foreground, or
    only those in the options' categories; or each of them is a class of its own.

    Raises:
        DatasetError: dataset.json is missing or damaged, or the files are volumes that are not read (.mha, .nrrd).
    """
    settings = _settings(folder)
    ending = str(settings.get("file_ending", ".nii.gz"))  # default of nnU-Net's first version
    if not named_as_image(Path(f"CASE{ending}")):
        what = f"file_ending is {ending}, a volume that is not read; export 2-D slices as {SUFFIXES_IN_WORDS}"
        raise DatasetError(folder, [Problem(SETTINGS, what)])
    meaning, notes, classes = _meaning(folder, settings["labels"], options)
    problems: list[Problem] = []
    images = _images(folder, _files(folder, "imagesTr", ending), ending, problems)
    masks = grouped(_files(folder, "labelsTr", ending), stem)
    listing = match(
        folder,
        {case: [files] for case, files in images.items()},
        {case: [MaskFile(file, meaning) for file in files] for case, files in masks.items()},
        options,
        mask_of=lambda case: f"labelsTr/{case}{ending}",
        image_of=lambda case: f"imagesTr/{case}_0000{ending}",
    )
    return replace(listing, problems=(*problems, *listing.problems), notes=notes, classes=classes)


def _meaning(
    folder: Path, labels: dict[str, Any], options: ReadingOptions
) -> tuple[Meaning | None, tuple[str, ...], tuple[str, ...]]:
    """Return the meaning of the labels in dataset.json, notes about it for the user, and the names of the classes.

    The meaning is None if the options define the meaning of the values.
    """
    if options.foreground or options.background or options.ignore:
        return None, (), ()
    ignored = tuple(value for value in (labels.get("ignore"),) if isinstance(value, int))
    classes = {name: value for name, value in labels.items() if name.lower() not in ("background", "ignore")}
    unknown = [name for name in options.categories if name not in classes]
    if unknown:
        what = f"no label {', '.join(unknown)}; {suggestion(unknown[0], classes)}"
        raise DatasetError(folder, [Problem(SETTINGS, what)], "Name labels that are there, then run the command again.")
    chosen = {name: value for name, value in classes.items() if not options.categories or name in options.categories}
    notes = []
    if len(classes) > 1:
        rest = [name for name in classes if name not in chosen]
        advice = "; choose with --class NAME, or tell them apart with --classes."
        notes.append(
            f"{'classes' if options.classes else 'foreground'}: {', '.join(chosen)}"
            + (f"; background: {', '.join(rest)}." if rest else "." if options.classes else advice)
        )
    by_class = [
        tuple(one for one in (value if isinstance(value, list) else [value]) if one != 0) for value in chosen.values()
    ]
    values = tuple(value for of_class in by_class for value in of_class)
    if options.classes and len(set(values)) < len(values):
        what = "regions share a label, so they are no classes that exclude each other; name some with --class NAME"
        raise DatasetError(folder, [Problem(SETTINGS, what)])
    others = tuple(value for name, value in classes.items() if name not in chosen and isinstance(value, int))
    several = options.classes and len(chosen) > 1
    meaning = Meaning(values, (0, *others), ignored, tuple(by_class) if several else ())
    return meaning, tuple(notes), tuple(chosen) if options.classes else ()


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    if not path.is_file():
        raise DatasetError(folder, [Problem(SETTINGS, "missing; expected nnU-Net's file beside imagesTr/")])
    try:
        settings = json.loads(read_utf8(path, MOST_BYTES_OF_SETTINGS))
    except OSError as error:
        raise DatasetError(folder, [Problem(SETTINGS, f"cannot be opened: {error.strerror}")]) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(folder, [Problem(SETTINGS, f"not valid JSON: {error}")]) from error
    if not isinstance(settings, dict) or not isinstance(settings.get("labels"), dict):
        raise DatasetError(folder, [Problem(SETTINGS, 'has no "labels"; expected {"background": 0, ...}')])
    return settings


def _files(folder: Path, name: str, ending: str) -> list[Path]:
    inner = subfolder(folder, name)
    return [path for path in visible(inner) if path.name.endswith(ending)] if inner else []


def _images(folder: Path, files: list[Path], ending: str, problems: list[Problem]) -> dict[str, ImageFiles]:
    """Return the channels of each case in order, and add a problem for each channel that is misnamed or missing."""
    cases: dict[str, dict[int, Path]] = {}
    for file in files:
        named = CHANNEL.fullmatch(stem(file))
        if named is None:
            what = f"no channel number; expected {stem(file)}_0000{ending}"
            problems.append(Problem(relative(file, folder), what))
        else:
            cases.setdefault(named["case"], {})[int(named["channel"])] = file
    count = max((max(channels) + 1 for channels in cases.values()), default=0)
    for case, channels in cases.items():
        for channel in sorted(set(range(count)) - set(channels)):
            other = next(iter(channels.values()))
            what = f"missing; other images have {count} channels"
            problems.append(Problem(relative(other.with_name(f"{case}_{channel:04d}{ending}"), folder), what))
    return {case: ImageFiles(tuple(channels[c] for c in sorted(channels))) for case, channels in cases.items()}

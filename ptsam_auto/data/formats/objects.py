"""The layout of the Data Science Bowl 2018: one folder per image, with one mask file per object."""

from pathlib import Path

from ptsam_auto.data.formats.layout import (
    Entry,
    ImageFiles,
    Listing,
    MaskFile,
    MaskSource,
    ObjectMasks,
    image_files,
    is_ours,
    relative,
    subfolder,
    visible,
)
from ptsam_auto.data.names import stem
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import is_folder
from ptsam_auto.errors import Problem

NAME = "objects"
SKETCH = "NAME/images/NAME.png and NAME/masks/*.png, one mask file for each object"


def detect(folder: Path) -> bool:
    """Return whether most subfolders contain one image each, and some also masks."""
    return bool(_samples(folder))


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read the images and merge the masks of each image.

    Raises:
        DatasetError: A folder cannot be opened.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    unmasked: list[str] = []
    left_out: list[Problem] = []
    samples = _samples(folder)
    for sample in samples:
        (image,), masks = _images(sample), _masks(sample)
        if masks:
            source: MaskSource = ObjectMasks(tuple(masks)) if len(masks) > 1 else MaskFile(masks[0])
            entries.append(Entry(stem(image), ImageFiles((image,)), source))
        elif options.all_annotated:
            problems.append(Problem(relative(image, folder), f"no mask; expected files in {sample.name}/masks/"))
        else:
            unmasked.append(relative(image, folder))
    known = {sample.name for sample in samples}
    left_out += [
        Problem(f"{path.name}/", "a folder without one image in images/")
        for path in visible(folder)
        if is_folder(path) and path.name not in known
    ]
    note = "each image's masks, one file an object, are joined."
    return Listing(
        tuple(sorted(entries, key=lambda entry: entry.name)),
        tuple(problems),
        (note,) if any(isinstance(entry.mask, ObjectMasks) for entry in entries) else (),
        tuple(left_out),
        "images NAME/images/NAME, masks NAME/masks/*, an object each",
        tuple(unmasked),
    )


def _samples(folder: Path) -> list[Path]:
    inner = [path for path in visible(folder) if is_folder(path)]
    found = [path for path in inner if subfolder(path, "images") and len(_images(path)) == 1]
    return found if 2 * len(found) > len(inner) and any(_masks(path) for path in found) else []


def _images(sample: Path) -> list[Path]:
    inner = subfolder(sample, "images")
    return image_files(inner, sample)[0] if inner else []


def _masks(sample: Path) -> list[Path]:
    inner = subfolder(sample, "masks")
    return [file for file in image_files(inner, sample)[0] if not is_ours(file)] if inner else []

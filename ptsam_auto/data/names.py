"""Usual names of images, masks and their folders, and the matching of masks to images by name."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "photos", "raw", "inputs", "input", "x")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "labelled", "annotations", "annotation", "segmentations", "segmentation"),
    *("segmentationclass", "segmentationobject", "groundtruth", "ground_truth", "ground-truth", "gt", "truth"),
    *("targets", "target", "1st_manual", "manual", "y"),
)
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training", "trainset", "train_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "test", "testing", "test_set", "testset"), "held out"),
}
"""Names of subfolders, with the part of the split that their images belong to."""

MASK_WORDS = (
    *("cp_masks", "masks", "mask", "labels", "label", "labelled", "labeled", "seg", "segmentation", "segmented", "gt"),
    *("groundtruth", "ground_truth", "truth", "manual1", "manual", "annotation", "annotations", "annotated", "matte"),
)
IMAGE_WORDS = ("img", "image", "images", "im", "raw", "training", "test", "input")
BY_PRODUCT_WORDS = ("flows", "cp_flows", "outlines", "cp_outlines", "cp_output", "overlay", "probability", "prob")
OBJECT = re.compile(r"(?P<name>.+?)[-_ .](?:mask|masks|object|obj|cell|label|instance|roi)?[-_ .]?\d+", re.IGNORECASE)
SEPARATORS = "_- ."
DOUBLE_ENDINGS = (".ome.tif", ".ome.tiff", ".nii.gz")
# Files and folders that operating systems and programs create; they are never images of a dataset.
JUNK = (
    *("thumbs.db", "desktop.ini", "__macosx", "icon\r", "icon", "ehthumbs.db", "ehthumbs_vista.db", "$recycle.bin"),
    *("@eadir", "lost+found"),
)

# File formats that are not read: a description of each, and how its images can be exported.
FOREIGN = {
    ".oir": "an Olympus file, which is not read; export it as TIFF in cellSens or Fiji",
    ".vsi": "an Olympus file, which is not read; export it as TIFF in cellSens or Fiji",
    ".ims": "an Imaris file, which is not read; export it as TIFF in Imaris or Fiji",
    ".ndpi": "a slide scanner's file, which is not read; export regions as OME-TIFF or PNG in QuPath",
    ".mrxs": "a slide scanner's file, which is not read; export regions as OME-TIFF or PNG in QuPath",
    ".mha": "a MetaImage volume, which is not read; save its slices as a TIFF stack in Fiji",
    ".nrrd": "an NRRD volume, which is not read; save its slices as a TIFF stack in Fiji",
    ".h5": "an HDF5 file, which is not read; export its images as TIFF",
    ".npy": "a NumPy array, which is not read; save it as TIFF (tifffile.imwrite)",
    ".psd": "a Photoshop file, which is not read; save it as PNG or TIFF",
    ".heic": "a HEIC photo, which is not read; save it as JPEG or PNG",
    ".zip": "an archive, which is not opened",
}


def why_not_read(path: Path) -> str:
    """Return why a file with this suffix is not read, and how its images can be exported; "" if it is unknown."""
    name = path.name.lower()
    return next((what for ending, what in FOREIGN.items() if name.endswith(ending)), "")


def stem(path: Path) -> str:
    """Return a file's name without its ending (".nii.gz" is one), in the Unicode form NFC."""
    name = path.name[: -len(".gz")] if path.name.lower().endswith(".nii.gz") else path.name
    return unicodedata.normalize("NFC", Path(name).stem)


def base(name: str) -> str:
    """Return the form of a stem for comparisons: NFC, without ".ome" and ".nii"."""
    name = unicodedata.normalize("NFC", name)
    return name[:-4] if name.lower().endswith((".ome", ".nii")) else name


@dataclass(frozen=True)
class Belonging:
    """Result of matching masks to images.

    Args:
        image_of: Image of each mask; masks without an image are left out.
        objects: Masks that each mark one object of their image.
        pattern: Names of the masks of an image with the name NAME, the most common form first.
    """

    image_of: Mapping[Path, Path]
    objects: frozenset[Path]
    pattern: str


def belonging(images: Sequence[Path], masks: Sequence[Path]) -> Belonging:
    """Match masks and images by name.

    The first choice is a mask with the same name as an image, then the name with one of MASK_WORDS before or after it,
    then the same for an image name without its one of IMAGE_WORDS, then the name with a number after it: one file per
    object. Upper and lower case are distinguished only if a name would otherwise match two images.

    Args:
        images: Image files.
        masks: Mask files.
    """
    plain = _by(images, lambda name: [name])
    folded = _by(images, lambda name: [name.casefold()])
    worded = _by(images, lambda name: [one.casefold() for one, _ in without(name, IMAGE_WORDS)])
    image_of: dict[Path, Path] = {}
    objects: set[Path] = set()
    patterns: Counter[str] = Counter()
    for mask in masks:
        name = base(mask.stem)
        ways = [(name, "NAME"), *without(name, MASK_WORDS)]
        found = next(
            (
                (known[key][0], pattern)
                for known, fold in ((plain, False), (folded, True), (worded, True))
                for way, pattern in ways
                if len(known.get(key := way.casefold() if fold else way, ())) == 1
            ),
            None,
        )
        if found is None:
            numbered = [(one["name"], "NAME_1, NAME_2, ...") for way, _ in ways if (one := OBJECT.fullmatch(way))]
            found = next(((folded[n.casefold()][0], p) for n, p in numbered if n.casefold() in folded), None)
            objects |= {mask} if found else set()
        if found is not None:
            image_of[mask] = found[0]
            patterns[found[1]] += 1
    return Belonging(image_of, frozenset(objects), " or ".join(pattern for pattern, _ in patterns.most_common()))


def without(name: str, words: Iterable[str]) -> list[tuple[str, str]]:
    """Return the name without each of the words at its start or end, with the pattern of the complete name."""
    found = []
    lower = name.casefold()
    for word in words:
        for separator in SEPARATORS:
            if lower.endswith(separator + word) and len(name) > len(word) + 1:
                cut = len(name) - len(word) - 1
                found.append((name[:cut], f"NAME{name[cut:]}"))
            if lower.startswith(word + separator) and len(name) > len(word) + 1:
                found.append((name[len(word) + 1 :], f"{name[: len(word) + 1]}NAME"))
    return found


def ends_with(name: str, words: Iterable[str]) -> bool:
    """Return whether a name ends with a separator and one of the words, or starts with a word and a separator."""
    return bool(without(name, words))


def _by(files: Iterable[Path], keys: Callable[[str], list[str]]) -> dict[str, list[Path]]:
    known: dict[str, list[Path]] = {}
    for file in files:
        for key in dict.fromkeys(keys(base(file.stem))):
            known.setdefault(key, []).append(file)
    return known

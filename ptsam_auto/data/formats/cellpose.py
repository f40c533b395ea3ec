"""The layout of Cellpose, NAME.tif and NAME_masks.tif in the same folder; other usual mask names are read too."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ptsam_auto.data.formats.layout import (
    ImageFiles,
    Listing,
    ObjectMasks,
    grouped,
    image_files,
    is_ours,
    match,
    names_of,
    relative,
    visible,
)
from ptsam_auto.data.formats.pairs import sources
from ptsam_auto.data.names import BY_PRODUCT_WORDS, IMAGE_WORDS, MASK_WORDS, base, belonging, ends_with, without
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import is_folder, named_as_image
from ptsam_auto.errors import Problem

NAME = "cellpose"
SKETCH = "NAME.png and NAME_masks.png beside each other (also jpg, bmp, tif)"
CERTAIN = ("_cp_masks", "_masks")  # endings of the masks that Cellpose writes and reads
PICKLED = "_seg.npy"


def detect(folder: Path) -> bool:
    """Return whether the name of a file is that of a mask of another file here, or that of a Cellpose mask."""
    files = [path for path in visible(folder) if not is_folder(path)]
    if any(path.name.endswith(PICKLED) or path.stem.endswith(CERTAIN) for path in files):
        return True
    masks, images = split_by_name([path for path in files if named_as_image(path)])
    return bool(masks and images and belonging(images, masks).image_of)


def split_by_name(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files with the names of masks of other files, and the files with the names of images."""
    named = {base(file.stem).casefold() for file in files}
    named |= {one.casefold() for file in files for one, _ in without(base(file.stem), IMAGE_WORDS)}

    def of_another(file: Path) -> bool:
        return any(one.casefold() in named for one, _ in without(base(file.stem), MASK_WORDS))

    masks = [file for file in files if file.stem.endswith(CERTAIN) or of_another(file)]
    others = [file for file in files if file not in set(masks)]
    return masks, [file for file in others if not ends_with(base(file.stem), BY_PRODUCT_WORDS)]


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Match NAME with NAME_masks, NAME_cp_masks and similar names.

    NAME_seg.npy is never read: it is a pickle file, which could execute code when it is opened.

    Raises:
        DatasetError: The folder cannot be opened.
    """
    files, left_out = image_files(folder, folder)
    masks, images = split_by_name(files)
    by_products = [file for file in files if file not in {*masks, *images}]
    ours = [file for file in masks if is_ours(file)]
    masks = [file for file in masks if file not in set(ours)]
    names = names_of(images, folder)
    found = belonging(images, masks)
    by_name = grouped(images, names.__getitem__)
    without_image = names_of([mask for mask in masks if mask not in found.image_of], folder)
    listing = match(
        folder,
        {name: [ImageFiles((file,)) for file in files] for name, files in by_name.items()},
        sources(
            grouped(masks, lambda m: names[found.image_of[m]] if m in found.image_of else _named(without_image[m])),
            set(found.objects),
        ),
        options,
        mask_of=lambda name: f"{name}_masks.png",
        image_of=lambda name: f"{name}.png",
    )
    named = {entry.name for entry in listing.entries}
    pickled = [path for path in visible(folder) if path.name.endswith(PICKLED)]
    unread = [path for path in pickled if path.name.removesuffix(PICKLED) not in named]
    reported_once = {
        relative(file, folder) for path in unread for file in by_name.get(path.name.removesuffix(PICKLED), [])
    }
    notes = [f"{len(ours)} masks that ptsam-auto predicted are left out."] if ours else []
    joined = [entry for entry in listing.entries if isinstance(entry.mask, ObjectMasks)]
    notes += [f"masks of single objects are joined for {len(joined)} images."] if joined else []
    return replace(
        listing,
        problems=(
            *(problem for problem in listing.problems if problem.where not in reported_once),
            *(Problem(path.name, _export(path.name.removesuffix(PICKLED))) for path in unread),
        ),
        unmasked=tuple(where for where in listing.unmasked if where not in reported_once),
        notes=tuple(notes),
        left_out=(
            *(problem for problem in left_out if not problem.where.endswith(PICKLED)),
            *(Problem(relative(file, folder), "written by Cellpose beside a mask") for file in by_products),
        ),
        pattern=f"images NAME, masks {found.pattern} beside them" if found.pattern else "",
    )


def _named(mask_name: str) -> str:
    return next((one for one, _ in without(mask_name, MASK_WORDS)), mask_name)


def _export(name: str) -> str:
    return (
        "pickled data, which is never read (opening it can run a program); "
        f"in Cellpose choose File > Save masks as PNG/tif, which writes {name}_cp_masks.png"
    )

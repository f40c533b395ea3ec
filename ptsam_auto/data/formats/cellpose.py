"""NAME.tif with NAME_masks.tif beside it, as Cellpose keeps and writes them."""

from pathlib import Path

from ptsam_auto.data.formats.layout import ImageFiles, Listing, MaskFile, grouped, image_files, match, relative, visible
from ptsam_auto.errors import Problem

NAME = "cellpose"
SKETCH = "NAME.png and NAME_masks.png beside each other (also jpg, bmp, tif)"
MASK_ENDINGS = ("_cp_masks", "_masks")  # written by Cellpose, and expected by it
BY_PRODUCTS = ("_flows", "_cp_flows", "_outlines", "_cp_output")
PICKLED = "_seg.npy"


def detect(folder: Path) -> bool:
    """Say whether a file here is named as Cellpose names masks."""
    return any(path.stem.endswith(MASK_ENDINGS) or path.name.endswith(PICKLED) for path in visible(folder))


def read(folder: Path) -> Listing:
    """Match NAME with NAME_masks or NAME_cp_masks.

    NAME_seg.npy is never read: it is pickled data, which runs as a program when it is opened.

    Raises:
        DatasetError: the folder cannot be opened.
    """
    files, odd = image_files(folder, folder)
    masks = [file for file in files if file.stem.endswith(MASK_ENDINGS)]
    images = [file for file in files if not file.stem.endswith((*MASK_ENDINGS, *BY_PRODUCTS))]
    by_name = grouped(images, lambda file: file.stem)
    listing = match(
        folder,
        {name: [ImageFiles((file,)) for file in found] for name, found in by_name.items()},
        {name: [MaskFile(file) for file in found] for name, found in grouped(masks, _image_stem).items()},
        mask_of=lambda name: f"{name}_masks.png",
        image_of=lambda name: f"{name}.png",
    )
    named = {entry.name for entry in listing.entries}
    pickled = [path for path in visible(folder) if path.name.endswith(PICKLED)]
    unread = [path for path in pickled if path.name.removesuffix(PICKLED) not in named]
    blamed = {relative(file, folder) for path in unread for file in by_name.get(path.name.removesuffix(PICKLED), [])}
    return Listing(
        listing.entries,
        (
            *(problem for problem in odd if not problem.where.endswith(".npy")),
            *(problem for problem in listing.problems if problem.where not in blamed),
            *(Problem(path.name, _export(path.name.removesuffix(PICKLED))) for path in unread),
        ),
    )


def _image_stem(mask: Path) -> str:
    return next(mask.stem.removesuffix(ending) for ending in MASK_ENDINGS if mask.stem.endswith(ending))


def _export(name: str) -> str:
    return (
        "pickled data, which is never read (opening it can run a program); "
        f"in Cellpose choose File > Save masks as PNG/tif, which writes {name}_cp_masks.png"
    )

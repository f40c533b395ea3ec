"""The layout with images/ and one folder of masks for each class: masks/CLASS/NAME.png."""

from collections.abc import Sequence
from pathlib import Path

from ptsam_auto.data.formats.layout import (
    ClassMasks,
    ImageFiles,
    Listing,
    grouped,
    image_files,
    is_ours,
    match,
    relative,
    visible,
)
from ptsam_auto.data.formats.pairs import first_folder, has_pictures, mask_folders
from ptsam_auto.data.names import IMAGE_FOLDERS, belonging, stem
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import is_folder
from ptsam_auto.errors import DatasetError, Problem, suggestion

NAME = "classes"
SKETCH = "images/NAME.png and masks/CLASS/NAME.png, a folder of masks for each class"


def detect(folder: Path) -> bool:
    """Return whether there is images/ and a folder of masks that contains only folders, which images/ does not have."""
    return len(folders_of(folder)) > 1


def read(folder: Path, options: ReadingOptions = DEFAULT, known: Sequence[str] = ()) -> Listing:
    """Match the masks of each class with the images by name. An image need not show every class.

    Args:
        folder: The user's folder, or a part of it.
        options: Options for reading the folder.
        known: Names of all classes, if the folder is a part of another one. Default: those of this folder.

    Raises:
        DatasetError: A folder cannot be opened, or the user named a class that there is not.
    """
    image_folder = first_folder(folder, IMAGE_FOLDERS)
    found = folders_of(folder)
    known = known or tuple(found)
    unknown = [name for name in options.categories if name not in known]
    if unknown:
        what = f"no class {', '.join(unknown)}; {suggestion(unknown[0], known)}"
        raise DatasetError(folder, [Problem("", what)])
    classes = tuple(options.categories or known)
    images, left_out = image_files(image_folder or folder, folder)
    files: dict[str, dict[str, Path]] = {}
    for name in (name for name in classes if name in found):
        masks, more = image_files(found[name], folder)
        ours = [mask for mask in masks if is_ours(mask)]
        left_out += [*more, *(Problem(relative(mask, folder), "a mask that ptsam-auto predicted") for mask in ours)]
        matched = belonging(images, [mask for mask in masks if mask not in ours]).image_of
        for mask in masks:
            if mask not in ours:
                image = stem(matched[mask]) if mask in matched else stem(mask)
                files.setdefault(image, {})[name] = mask
    listing = match(
        folder,
        {name: [ImageFiles((file,)) for file in same] for name, same in grouped(images, stem).items()},
        {
            image: [ClassMasks(classes, tuple(of_image.get(name) for name in classes))]
            for image, of_image in files.items()
        },
        options,
        mask_of=lambda name: f"masks/{classes[0]}/{name}.png",
        image_of=lambda name: f"images/{name}.png",
    )
    left = [name for name in known if name not in classes]
    notes = (
        f"each folder of masks is a class: {', '.join(classes)}" + (f"; left out: {', '.join(left)}." if left else "."),
    )
    return Listing(
        listing.entries,
        listing.problems,
        notes,
        (*left_out, *listing.left_out),
        f"images {image_folder.name if image_folder else '.'}/NAME, masks CLASS/NAME",
        listing.unmasked,
        classes,
    )


def folders_of(folder: Path) -> dict[str, Path]:
    """Return the folder of each class by its name; {} if the folder has another layout."""
    images, masks = first_folder(folder, IMAGE_FOLDERS), mask_folders(folder)
    if images is None or len(masks) != 1 or has_pictures(masks[0]):
        return {}
    inner = {path.name: path for path in visible(masks[0]) if is_folder(path) and has_pictures(path)}
    beside = {path.name for path in visible(images) if is_folder(path)}
    return {} if beside & set(inner) else inner

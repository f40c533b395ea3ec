"""The layout with images/ and masks/, or two folders with similar names, whose files are matched by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ptsam_auto.data.formats.layout import (
    ImageFiles,
    Listing,
    MaskFile,
    MaskSource,
    ObjectMasks,
    grouped,
    image_files,
    is_ours,
    match,
    names_of,
    relative,
    subfolder,
    visible,
)
from ptsam_auto.data.names import IMAGE_FOLDERS, MASK_FOLDERS, SPLIT_FOLDERS, belonging
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import is_folder, named_as_image
from ptsam_auto.errors import DatasetError, Problem

NAME = "pairs"
SKETCH = "images/NAME.png and masks/NAME.png (also jpg, bmp, tif)"
CLASSES, OBJECTS = "segmentationclass", "segmentationobject"  # PASCAL VOC has both


def detect(folder: Path) -> bool:
    """Return whether there is images/ or masks/ (one is enough, for a better error message) or similar folders."""
    named = any(subfolder(folder, name) for name in ("images", "masks"))
    return named or (first_folder(folder, IMAGE_FOLDERS) is not None and bool(mask_folders(folder)))


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Match files of any formats by name; see `names.belonging`.

    Masks that ptsam-auto predicted are left out. Subfolders that both images/ and masks/ have are also read. Several
    masks with a number after the name of one image are the objects of this image.

    Raises:
        DatasetError: A folder cannot be opened, or there are two folders of masks.
    """
    image_folder, mask_folder = first_folder(folder, IMAGE_FOLDERS), _mask_folder(folder)
    if image_folder is None and mask_folder is not None and image_files(folder, folder)[0]:
        image_folder = folder
    inner = _subfolders(image_folder, mask_folder) if image_folder != folder else []
    mirrored = [name for name in inner if mask_folder is not None and is_folder(mask_folder / name)]
    taken = inner if options.recursive else mirrored
    images, left_out = _files(image_folder, taken, folder)
    masks, more = _files(mask_folder, mirrored, folder)
    ours = [file for file in masks if is_ours(file)]
    masks = [file for file in masks if file not in set(ours)]
    notes = [f"subfolders are read too: {', '.join(taken)}."] if taken else []
    if ours:
        shown = relative(ours[0].parent, folder)
        notes.append(f"{shown}/ holds {len(ours)} masks that ptsam-auto predicted; they are left out.")
    listing = _matched(folder, images, masks, (image_folder, mask_folder), options)
    what = "a folder of images without a counterpart among the masks; --recursive takes its images for unannotated ones"
    unread = [Problem(f"{_name(image_folder, folder)}{name}/", what) for name in inner if name not in taken]
    what = "a folder of masks without a counterpart among the images"
    strange = [name for name in _subfolders(mask_folder, None) if name not in mirrored]
    unread += [Problem(f"{_name(mask_folder, folder)}{name}/", what) for name in strange]
    unread += [] if image_folder == folder else _beside(folder, (image_folder, mask_folder))
    return replace(
        listing,
        entries=tuple(replace(entry, part=_part(entry.image.files[0], image_folder)) for entry in listing.entries),
        notes=(*notes, *listing.notes),
        left_out=(*left_out, *more, *unread, *listing.left_out),
    )


def _matched(
    folder: Path,
    images: Sequence[Path],
    masks: Sequence[Path],
    folders: tuple[Path | None, Path | None],
    options: ReadingOptions,
) -> Listing:
    image_folder, mask_folder = folders
    names = names_of(images, image_folder or folder)
    image_of: dict[Path, Path] = {}
    objects: set[Path] = set()
    patterns: list[str] = []
    for part, own in grouped(masks, lambda file: _inner(file, mask_folder or folder)).items():
        beside = [image for image in images if _inner(image, image_folder or folder) == part]
        found = belonging(beside, own)
        image_of |= found.image_of
        objects |= found.objects
        patterns += [found.pattern] if found.pattern else []
    without_image = names_of([mask for mask in masks if mask not in image_of], mask_folder or folder)
    by_name = grouped(masks, lambda mask: names[image_of[mask]] if mask in image_of else without_image[mask])
    listing = match(
        folder,
        {name: [ImageFiles((file,)) for file in files] for name, files in grouped(images, names.__getitem__).items()},
        sources(by_name, objects),
        options,
        mask_of=lambda name: f"{relative(mask_folder, folder) if mask_folder else 'masks'}/{name}.png",
        image_of=lambda name: f"{relative(image_folder, folder) if image_folder else 'images'}/{name}.png",
    )
    joined = sum(isinstance(entry.mask, ObjectMasks) for entry in listing.entries)
    notes = [f"{len(objects)} masks of single objects are joined into those of {joined} images."] if joined else []
    where = [_name(one, folder) for one in folders]
    pattern = " or ".join(dict.fromkeys(patterns))
    shown = f"images {where[0]}NAME, masks {where[1]}{pattern}" if pattern else ""
    return replace(listing, notes=tuple(notes), pattern=shown)


def sources(masks: Mapping[str, Sequence[Path]], objects: set[Path]) -> dict[str, list[MaskSource]]:
    """Return the masks by the name of their image; masks of single objects are merged to one."""
    found: dict[str, list[MaskSource]] = {}
    for name, files in masks.items():
        whole: list[MaskSource] = [MaskFile(file) for file in files if file not in objects]
        single = tuple(file for file in files if file in objects)
        found[name] = [*whole, ObjectMasks(single)] if single else whole
    return found


def first_folder(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first subfolder with one of these names, in upper or lower case, or None."""
    return next((found for name in names if (found := subfolder(folder, name)) is not None), None)


def mask_folders(folder: Path) -> list[Path]:
    """Return the folders of masks that contain image files, directly or one level below."""
    found = [path for path in visible(folder) if is_folder(path) and path.name.lower() in MASK_FOLDERS]
    return [path for path in found if has_pictures(path) or any(has_pictures(p) for p in visible(path) if is_folder(p))]


def has_pictures(folder: Path) -> bool:
    """Return whether a folder contains image files."""
    return any(not is_folder(path) and named_as_image(path) for path in visible(folder))


def _mask_folder(folder: Path) -> Path | None:
    found = mask_folders(folder)
    drawn = [path for path in found if not _all_ours(path)]
    found = drawn or found
    if {path.name.lower() for path in found} == {CLASSES, OBJECTS}:
        found = [path for path in found if path.name.lower() == CLASSES]
    if len(found) > 1:
        first, *others = (f"{path.name}/" for path in found)
        what = f"a folder of masks, and so is {', '.join(others)}; keep one and move the others elsewhere"
        raise DatasetError(folder, [Problem(first, what)])
    return found[0] if found else first_folder(folder, MASK_FOLDERS[:1])


def _all_ours(folder: Path) -> bool:
    files, _ = image_files(folder, folder)
    return bool(files) and all(is_ours(file) for file in files)


def _subfolders(folder: Path | None, besides: Path | None) -> list[str]:
    """Return the subfolders of any depth that contain image files, as paths relative to the folder."""
    if folder is None:
        return []
    found = []
    for path in visible(folder):
        if is_folder(path) and path != besides:
            found += [path.name] if has_pictures(path) else []
            found += [f"{path.name}/{inner}" for inner in _subfolders(path, besides)]
    return found


def _files(folder: Path | None, subfolders: Sequence[str], root: Path) -> tuple[list[Path], list[Problem]]:
    if folder is None:
        return [], []
    files, left_out = image_files(folder, root)
    for name in subfolders:
        inner, more = image_files(folder / name, root)
        files, left_out = files + inner, left_out + more
    return files, left_out


def _beside(folder: Path, read: Sequence[Path | None]) -> list[Problem]:
    """Return a problem for each image file, or folder of image files, next to the folders of images and masks."""
    what = "beside the folders of images and masks"
    found = [Problem(path.name, what) for path in image_files(folder, folder)[0]]
    others = [path for path in visible(folder) if is_folder(path) and path not in read]
    return found + [Problem(f"{path.name}/", what) for path in others if has_pictures(path)]


def _name(folder: Path | None, root: Path) -> str:
    return f"{relative(folder, root)}/" if folder and folder != root else ""


def _inner(file: Path, folder: Path) -> str:
    return file.parent.relative_to(folder).as_posix()


def _part(image: Path, folder: Path | None) -> str:
    """Return the part of the split that an image belongs to by the name of its subfolder, or ""."""
    return SPLIT_FOLDERS.get(image.parent.name.lower(), "") if image.parent != folder else ""

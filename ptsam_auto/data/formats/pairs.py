"""images/ and masks/ with files of the same name."""

from pathlib import Path

from ptsam_auto.data.formats.layout import (
    ImageFiles,
    Listing,
    MaskFile,
    grouped,
    image_files,
    match,
    relative,
    subfolder,
)

NAME = "pairs"
SKETCH = "images/NAME.png and masks/NAME.png (also jpg, bmp, tif)"
MASK_ENDINGS = ("_mask", "_masks", "-mask", "_label", "_labels", "_seg", "_gt")


def detect(folder: Path) -> bool:
    """Say whether there is images/ or masks/; half of the layout deserves its own message."""
    return any(subfolder(folder, name) for name in ("images", "masks"))


def read(folder: Path) -> Listing:
    """Match by stem, with any mix of formats; NAME_mask and the like serve where images/ knows NAME only.

    Raises:
        DatasetError: a folder cannot be opened.
    """
    image_folder, mask_folder = subfolder(folder, "images"), subfolder(folder, "masks")
    images, odd_images = image_files(image_folder, folder) if image_folder else ([], [])
    masks, odd_masks = image_files(mask_folder, folder) if mask_folder else ([], [])
    stems = {path.stem for path in images}
    listing = match(
        folder,
        {name: [ImageFiles((file,)) for file in files] for name, files in grouped(images, lambda f: f.stem).items()},
        {
            name: [MaskFile(file) for file in files]
            for name, files in grouped(masks, lambda f: _image_stem(f.stem, stems)).items()
        },
        mask_of=lambda name: f"{relative(mask_folder, folder) if mask_folder else 'masks'}/{name}.png",
        image_of=lambda name: f"{relative(image_folder, folder) if image_folder else 'images'}/{name}.png",
    )
    return Listing(listing.entries, (*odd_images, *odd_masks, *listing.problems))


def _image_stem(mask_stem: str, image_stems: set[str]) -> str:
    if mask_stem in image_stems:
        return mask_stem
    shorter = (mask_stem.removesuffix(ending) for ending in MASK_ENDINGS if mask_stem.endswith(ending))
    return next((stem for stem in shorter if stem in image_stems), mask_stem)

"""A folder of images/ and masks/ to which masks are added. A mask that is replaced is kept in masks/.replaced/.

Folders and files whose names begin with a dot are not read by `fit`, so neither drafts nor old masks are taken for
masks.
"""

# H W  rows and columns, px

import filecmp
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ptsam_auto.data.formats import listed, pairs
from ptsam_auto.data.formats.layout import Listing, MaskFile, MaskSource, ObjectMasks, subfolder, visible
from ptsam_auto.data.formats.sources import ImageFiles
from ptsam_auto.data.legend import LEGEND_FILE
from ptsam_auto.data.names import IMAGE_FOLDERS, MASK_FOLDERS, stem
from ptsam_auto.data.raster import HEADER_BYTES, decode
from ptsam_auto.errors import DatasetError, OutputError
from ptsam_auto.files import replacing
from ptsam_auto.web.uploads import Uploaded

REPLACED = ".replaced"  # Subfolder of the masks with the masks that were replaced.
PAINTED = "ptsam-auto painted"  # Text chunk of the PNG masks that are written here: 255 is foreground in them.


class PairsFolder:
    """A folder of images and masks with the same names.

    Args:
        folder: The folder. It need not exist.
        images: Folder of the images; by default images/, or the folder of images that is there.

    Raises:
        OutputError: The folder is annotated in another way, such as by a COCO file.
    """

    def __init__(self, folder: Path, images: Path | None = None) -> None:
        self.folder = folder
        _refuse_other_layouts(folder)
        self.images = images or _known(folder, IMAGE_FOLDERS) or folder / "images"
        self.masks = _known(folder, MASK_FOLDERS) or folder / "masks"

    def listing(self) -> Listing:
        """Return the images and masks that are there by their names, as `fit` reads them; none without a folder."""
        if not self.folder.is_dir() or not pairs.detect(self.folder):
            return Listing((), ())
        return pairs.read(self.folder)

    def source_of(self, image: Path) -> MaskSource | None:
        """Return the mask of an image, or None."""
        return next((entry.mask for entry in self.listing().entries if image in entry.image.files), None)

    def annotated(self) -> set[Path]:
        """Return the images that have a mask."""
        return {entry.image.files[0] for entry in self.listing().entries}

    def are_all_painted(self) -> bool:
        """Return whether all masks were written here, so that it is certain that 255 is foreground."""
        files = [file for entry in self.listing().entries for file in _files_of(entry.mask)]
        return all(PAINTED.encode() in _beginning(file) for file in files)

    def write_mask(self, image: Path, mask: np.ndarray) -> Path:
        """Write the mask of an image as PNG, 0 and 255. A mask that is there already is moved to .replaced/.

        Args:
            image: File of the image.
            mask: Mask, H W, bool, of the size of the image.

        Raises:
            OutputError: The folder cannot be written to.
        """
        path, info = self.masks / f"{stem(image)}.png", PngInfo()
        info.add_text(PAINTED, "0 is background, 255 is foreground")
        try:
            self.masks.mkdir(parents=True, exist_ok=True)
            with replacing(path) as unfinished:
                Image.fromarray(mask.astype(np.uint8) * 255).save(unfinished, "PNG", pnginfo=info)
                old = {*_files_of(self.source_of(image)), *([path] if path.exists() else [])}
                # Nothing is moved before the new mask is written in full.
                self._keep(one for one in old if not filecmp.cmp(one, unfinished, shallow=False))
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from None
        return path

    def add(self, uploaded: Uploaded, mask: np.ndarray) -> tuple[Path, Path]:
        """Save an image and its mask, and return their paths.

        If there is another image of this name already, a number is added to the name. A page of a stack is saved as a
        TIFF of its own with the values that are stored.

        Raises:
            OutputError: The folder cannot be written to.
        """
        try:
            self.images.mkdir(parents=True, exist_ok=True)
            image = self._saved(uploaded)
        except OSError as error:
            raise OutputError(f"Cannot write to {self.images}: {error.strerror or error}.") from None
        return image, self.write_mask(image, mask)

    def add_page(self, stack: Path, page: int, name: str) -> Path:
        """Save a page of a stack in the folder of the images, with the values that are stored, and return its path.

        Args:
            stack: File of the stack.
            page: Number of the page, counted from 0.
            name: Name of the new file; one that is there already is taken for this page.

        Raises:
            DatasetError: The page cannot be read.
            OutputError: The folder cannot be written to.
        """
        path = self.images / name
        try:
            if not path.exists():
                with replacing(path) as unfinished:
                    _write_page(unfinished, ImageFiles((stack,)), page)
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from None
        return path

    def _saved(self, uploaded: Uploaded) -> Path:
        """Return the path of the saved image: that of the same image if it is there already."""
        if uploaded.pages == 1:
            source, suffix = uploaded.path, uploaded.path.name[len(stem(uploaded.path)) :]
        else:
            source, suffix = uploaded.path.with_name(f"{uploaded.name}.ome.tif"), ".tif"
            _write_page(source, uploaded.files, uploaded.page)
        taken = {stem(path) for path in visible(self.images)}
        number = 1
        while True:
            name = uploaded.name if number == 1 else f"{uploaded.name}-{number}"
            path = self.images / f"{name}{suffix}"
            if path.is_file() and filecmp.cmp(path, source, shallow=False):
                return path
            if not path.exists() and name not in taken:
                break
            number += 1
        with replacing(path) as unfinished:
            shutil.copyfile(source, unfinished)
        return path

    def _keep(self, masks: Iterable[Path]) -> None:
        """Move masks to .replaced/, each with a number that is free."""
        for mask in masks:
            kept = mask.parent / REPLACED
            kept.mkdir(exist_ok=True)
            number = 1
            while (free := kept / f"{mask.stem}-{number}{mask.suffix}").exists():
                number += 1
            shutil.copy2(mask, free)
            mask.unlink()


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(HEADER_BYTES)


def _known(folder: Path, names: tuple[str, ...]) -> Path | None:
    if not folder.is_dir():
        return None
    return next((found for name in names if (found := subfolder(folder, name)) is not None), None)


def _refuse_other_layouts(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; expected a folder of images and masks.\nGive another folder.")
    if (folder / LEGEND_FILE).exists():
        raise OutputError(
            f"{folder} has several classes ({LEGEND_FILE}), but the page paints one.\n"
            "Give another folder, or paint each class in a program for images."
        )
    try:
        layout, listing = listed(folder)
    except DatasetError:
        return  # There are no annotations that could be read.
    if layout is not pairs and listing.entries:
        raise OutputError(
            f"{folder} is annotated in the {layout.NAME} layout, to which no masks can be added here.\n"
            "Give another folder, or one with images/ and masks/."
        )


def _files_of(mask: MaskSource | None) -> tuple[Path, ...]:
    if isinstance(mask, MaskFile):
        return (mask.file,)
    return mask.files if isinstance(mask, ObjectMasks) else ()


def _write_page(unfinished: Path, stack: ImageFiles, page: int) -> None:
    """Write a page of a stack to a temporary file, as OME-TIFF, which names its channels as such."""
    values = decode(stack.files[0], page, planes=stack.planes or "guess").seen()
    tifffile.imwrite(
        unfinished,
        np.moveaxis(values, -1, 0),
        ome=True,
        metadata={"axes": "CYX"},
        compression="zlib",
        photometric="minisblack",
    )

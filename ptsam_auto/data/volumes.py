"""Files of microscopes and scanners: what each format's package says of its axes, and one page of it.

| format | package | a page is | tested with |
|---|---|---|---|
| CZI | none, see czi.py | a plane of a scene, the tiles of its mosaic put together | files of Zeiss' libCZI |
| ND2 | nd2 | a time, position or plane | a stand-in for nd2.ND2File |
| LIF | liffile | a plane of an image; several images must have one shape | files written by the test |
| DICOM | pydicom | a frame | files of pydicom |
| NIfTI | nibabel | a slice along the last axes | files of nibabel |
| OME-Zarr | zarr | a time, position or plane of the first level, see ome_zarr.py | files of zarr |

SVS is a TIFF, see tiff.py. A package is imported only when a file of its format is opened. Nothing here unpickles.

DICOM: a modality table or rescale slope is applied, MONOCHROME1 (0 is white) is turned round, and palettes and YCbCr
become colours; a window (VOI) is not applied, since what the network sees is scaled anyway. NIfTI: values are
rescaled as its header says. Its first axis is the columns and its second the rows of a slice, as stored: nothing is
flipped, whatever the affine says, as in SimpleITK and nnU-Net. An image and a mask whose affines name different
directions are refused, see pages.py.
"""

# H W  px, rows and columns;  C  channels;  S  samples: red, green and blue

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ptsam_auto.data.czi import CziFile
from ptsam_auto.data.ome_zarr import OmeZarr
from ptsam_auto.data.raster import ZARR_SUFFIX, Pages, Raster, check_size, unreadable
from ptsam_auto.data.tiff import as_stack, kinds_of, pages_along
from ptsam_auto.extras import how_to_install

COMPRESSED = "compressed as {}, which cannot be read here; save it uncompressed, for example with gdcmconv --raw"
LOSSY_IN_DICOM = (".4.50", ".4.51", ".4.81", ".4.91")  # ends of transfer syntaxes: JPEG, JPEG-LS and JPEG 2000


@dataclass(frozen=True)
class Volume:
    """A file's pages, each axis known as page, row, column or channel.

    Args:
        path: of the file.
        axes: tifffile's letters: Y rows, X columns, C channels, S samples; all others are pages.
        shape: sizes of the axes.
        read: returns the other axes, in their order, for an index along each axis of pages.
        lossy: the compression smears edges.
        colours: the channels are red, green and blue.
        directions: as for `Pages`.
        rows: returns some rows of a page as `read` does, if they can be read without the others.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    read: Callable[[tuple[int, ...]], np.ndarray]
    lossy: bool = False
    colours: bool = False
    directions: str = ""
    rows: Callable[[tuple[int, ...], slice], np.ndarray] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a page, px."""
        kinds = kinds_of(self.axes)
        return self.shape[kinds.index("Y")], self.shape[kinds.index("X")]

    @property
    def pages(self) -> Pages:
        """What pages there are."""
        pages = pages_along(self.axes, kinds_of(self.axes), self.shape)
        return replace(pages, directions=self.directions)

    def raster(self, page: int, rows: slice | None = None) -> Raster:
        """Decode one page, or some rows of it if they can be read without the others.

        Raises:
            DatasetError: its numbers are complex, or it is too large to be read as a whole.
        """
        if rows is None or self.rows is None:
            check_size(self.path, *self.size)
        kinds = kinds_of(self.axes)
        sizes = tuple(size for kind, size in zip(kinds, self.shape, strict=True) if kind == "P")
        place = tuple(int(index) for index in np.unravel_index(page, sizes)) if sizes else ()
        values = self.rows(place, rows) if rows is not None and self.rows is not None else self.read(place)
        if values.dtype.kind not in "buif":
            raise unreadable(self.path, "holds no plain numbers; export it as TIFF")
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        return Raster(as_stack(native, kinds.replace("P", ""))[0], lossy=self.lossy, colours=self.colours)


def open_volume(path: Path) -> Volume:
    """Read a file's header.

    Args:
        path: of a format of the table above, by its ending; without one it is DICOM.

    Raises:
        DatasetError: the format's package is not installed, or the file is of a kind that is not read; the message
            says what to do. Whatever a package raises for a damaged file is passed on.
    """
    name = path.name.lower()
    reader = next((read for ending, read in READERS.items() if name.endswith(ending)), _dicom)
    volume = reader(path)
    kinds = kinds_of(volume.axes)
    if sorted(kinds.replace("P", "").replace("C", "")) != ["X", "Y"]:
        raise unreadable(path, f"has the axes {volume.axes}; expected rows and columns")
    if volume.rows is None:
        check_size(path, *volume.size)
    return volume


def _package(path: Path, name: str, what: str) -> Any:  # noqa: ANN401 - a module
    """Import what reads a format."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise unreadable(path, f"{what}, for which a package is missing. {how_to_install('microscopes')}") from error


def _czi(path: Path) -> Volume:
    file = CziFile.of(path)
    kinds = kinds_of(file.axes)
    before = kinds[: kinds.index("Y")]

    def read(place: tuple[int, ...]) -> np.ndarray:
        """The channels of a page: axes in the file's order, C Y X S."""
        index, rest = iter(place), [i for i, kind in enumerate(before) if kind == "C"]
        fixed = [next(index) if kind == "P" else 0 for kind in before]
        if not rest:
            return file.plane(tuple(fixed))
        channels = range(file.shape[rest[0]])
        return np.stack([file.plane((*fixed[: rest[0]], c, *fixed[rest[0] + 1 :])) for c in channels])

    colours = file.shape[-1] >= 3
    return Volume(path, file.axes, file.shape, read, colours=colours)


def _nd2(path: Path) -> Volume:
    nd2 = _package(path, "nd2", "a Nikon ND2 file")
    with nd2.ND2File(path) as file:
        sizes = dict(file.sizes)
    axes, shape = "".join(sizes), tuple(sizes.values())
    loops = tuple(size for axis, size in sizes.items() if kinds_of(axis) == "P")

    def read(place: tuple[int, ...]) -> np.ndarray:
        frame = int(np.ravel_multi_index(place, loops)) if loops else 0
        with nd2.ND2File(path) as file:
            return np.array(file.read_frame(frame)).reshape([s for a, s in sizes.items() if kinds_of(a) != "P"])

    return Volume(path, axes, shape, read, colours="S" in sizes)


def _lif(path: Path) -> Volume:
    liffile = _package(path, "liffile", "a Leica LIF file")
    with liffile.LifFile(path) as file:
        images = list(file.images)
        shapes = {(tuple(image.dims), tuple(image.shape), str(image.dtype)) for image in images}
    if len(shapes) != 1:
        what = f"holds {len(images)} images of {len(shapes)} kinds or shapes; expected one"
        raise unreadable(path, f"{what}; export them as TIFF in LAS X or Fiji")
    ((dims, inner, _),) = shapes
    several = len(images) > 1
    axes, shape = "".join(dim[0] for dim in dims), (len(images), *inner) if several else inner
    kinds = kinds_of(axes)

    def read(place: tuple[int, ...]) -> np.ndarray:
        number, place = (place[0], place[1:]) if several else (0, place)
        index = iter(place)
        values = _whole(path, path.stat().st_mtime_ns, number)
        return values[tuple(next(index) if kind == "P" else slice(None) for kind in kinds)]

    return Volume(path, f"I{axes}" if several else axes, shape, read, colours="S" in axes)


def _nifti(path: Path) -> Volume:
    nibabel = _package(path, "nibabel", "a NIfTI volume")
    image = nibabel.load(path)
    shape = tuple(image.shape)
    if len(shape) < 2:
        raise unreadable(path, f"has {len(shape)} axis; expected rows and columns")
    axes = "XYZTCQ"[: len(shape)]
    if len(axes) < len(shape):
        raise unreadable(path, f"has {len(shape)} axes; expected at most {len(axes)}")
    colour = image.get_data_dtype().fields is not None
    kinds = kinds_of(axes)
    known = image.header["sform_code"] or image.header["qform_code"]
    directions = "".join(letter or "?" for letter in nibabel.aff2axcodes(image.affine)) if known else ""

    def read(place: tuple[int, ...]) -> np.ndarray:
        index = iter(place)
        values = _whole(path, path.stat().st_mtime_ns, 0)
        values = values[tuple(next(index) if kind == "P" else slice(None) for kind in kinds)]
        if not colour:
            return values
        return np.stack([values[name] for name in "RGB"], axis=-1)

    axes, shape = (f"{axes}S", (*shape, 3)) if colour else (axes, shape)
    return Volume(path, axes, shape, read, colours=colour, directions=directions)


def _ome_zarr(path: Path) -> Volume:
    image = OmeZarr.open(path, _package(path, "zarr", "an OME-Zarr image"))
    read = partial(image.read, kinds_of(image.axes))
    return Volume(path, image.axes, tuple(image.array.shape), read, rows=read)


@lru_cache(maxsize=1)
def _whole(path: Path, _modified: int, number: int) -> np.ndarray:
    """All pages of a LIF image or a NIfTI volume; kept for the next page, since both are decompressed as a whole.

    Args:
        path: of the file.
        _modified: ns, when it was written, so that a changed file is read anew.
        number: of a LIF file's image.
    """
    if path.name.lower().endswith(".lif"):
        with _package(path, "liffile", "a Leica LIF file").LifFile(path) as file:
            return np.asarray(file.images[number].asarray())
    return np.asarray(_package(path, "nibabel", "a NIfTI volume").load(path).dataobj)


def _dicom(path: Path) -> Volume:
    pydicom = _package(path, "pydicom", "a DICOM file")
    pixels = _package(path, "pydicom.pixels", "a DICOM file")
    data = pydicom.dcmread(path, defer_size=1024)
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise unreadable(path, "a DICOM file without an image")
    if "TotalPixelMatrixColumns" in data:
        raise unreadable(path, "a slide in DICOM, which is not read; export regions as OME-TIFF or PNG in QuPath")
    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not _can_decode(pixels, syntax):
        raise unreadable(path, COMPRESSED.format(syntax.name))
    frames, samples = int(data.get("NumberOfFrames", 1) or 1), int(data.SamplesPerPixel)
    colours = samples >= 3 or data.PhotometricInterpretation == "PALETTE COLOR"
    lossy = str(data.get("LossyImageCompression", "00")) == "01" or str(syntax).endswith(LOSSY_IN_DICOM)
    shape = (frames, int(data.Rows), int(data.Columns), max(samples, 3 if colours else 1))

    def read(place: tuple[int, ...]) -> np.ndarray:
        try:
            return _dicom_frame(pixels, pydicom.dcmread(path), place[0]).reshape(shape[1:])
        except (NotImplementedError, RuntimeError) as error:  # a kind of JPEG that no installed decoder takes
            if not syntax.is_compressed:
                raise
            raise unreadable(path, COMPRESSED.format(syntax.name)) from error

    return Volume(path, "IYXS", shape, read, lossy=lossy, colours=colours)


def _can_decode(pixels: Any, syntax: Any) -> bool:  # noqa: ANN401 - pydicom has no types
    try:
        return bool(pixels.get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _dicom_frame(pixels: Any, data: Any, frame: int) -> np.ndarray:  # noqa: ANN401 - pydicom has no types
    """Return a frame as a viewer without a window shows it: H W or H W S."""
    values = pixels.pixel_array(data, index=frame)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        colours = np.asarray(pixels.apply_color_lut(values, data))[..., :3]
        return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
    if data.SamplesPerPixel > 1:
        return np.asarray(values)
    measured = pixels.apply_modality_lut(values, data)
    changed = not np.array_equal(measured, values)
    if not changed:
        measured = values
    elif measured.dtype.kind == "f" and np.array_equal(measured, np.rint(measured)) and abs(measured).max() < 2**31:
        measured = measured.astype(np.int32)
    if data.PhotometricInterpretation == "MONOCHROME1":
        unsigned = measured.dtype.kind == "u" and not changed
        return np.asarray((2 ** int(data.BitsStored) - 1) - measured if unsigned else -measured.astype(np.float64))
    return np.asarray(measured)


READERS: dict[str, Callable[[Path], Volume]] = {
    ".czi": _czi,
    ".nd2": _nd2,
    ".lif": _lif,
    ".dcm": _dicom,
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ZARR_SUFFIX: _ome_zarr,
}

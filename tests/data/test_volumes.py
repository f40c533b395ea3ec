"""Files of microscopes and scanners: each is read as its own package, or another program, wrote it.

tests/data/czi/ was written by Zeiss' libCZI (pylibCZIrw 6.1); the value of a pixel of stack files is
24 * row + column + 1000 * plane + 5000 * channel.
"""

import gzip
import shutil
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, SecondaryCaptureImageStorage

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.new_images import find_new_images
from ptsam_auto.data.raster import decode, pages_of_file
from ptsam_auto.errors import DatasetError
from tests.data.folders import cut, save
from tests.data.stored import scene

CZI = Path(__file__).parent / "czi"
PLANE = np.arange(20 * 24).reshape(20, 24)


def problem(path, page=None):
    with pytest.raises(DatasetError) as raised:
        decode(path, page)
    return raised.value.problems[0].what


def dicom(path, frames, syntax=ExplicitVRLittleEndian, **tags):
    """Write frames, F H W or F H W 3, of an integer type."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape[:3]
    data.SamplesPerPixel = frames.shape[3] if frames.ndim == 4 else 1
    data.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    if frames.ndim == 4:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * frames.itemsize
    data.PixelRepresentation = int(frames.dtype.kind == "i")
    data.PixelData = frames.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data["PixelData"].VR = "OW"
    if syntax == RLELossless:
        data.compress(RLELossless)
    else:
        data.HighBit = data.BitsStored - 1
        data.file_meta.TransferSyntaxUID = syntax
        if syntax.is_encapsulated:
            data.PixelData = encapsulate([data.PixelData])
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def nifti(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def lif(path, images):
    """Write a Leica file, as its XML and memory blocks are described: each image Z Y X, 16 bit."""
    elements, blocks = [], b""
    for number, values in enumerate(images):
        depth, height, width = values.shape
        sizes = ((1, width, 2), (2, height, 2 * width), (3, depth, 2 * width * height))
        dimensions = "".join(
            f'<DimensionDescription DimID="{d}" NumberOfElements="{n}" Origin="0" Length="1" Unit="m" BitInc="0"'
            f' BytesInc="{step}"/>'
            for d, n, step in sizes
        )
        elements.append(
            f'<Element Name="series{number}"><Data><Image><ImageDescription><Channels><ChannelDescription DataType="0"'
            ' ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0" Max="65535" Unit="" LUTName="Gray"'
            f' IsLUTInverted="0" BytesInc="0" BitInc="0"/></Channels><Dimensions>{dimensions}</Dimensions>'
            f'</ImageDescription></Image></Data><Memory Size="{values.nbytes}" MemoryBlockID="MemBlock_{number}"/>'
            "</Element>"
        )
        name = f"MemBlock_{number}".encode("utf-16-le")
        head = struct.pack("<BQBI", 0x2A, values.nbytes, 0x2A, len(name) // 2) + name
        blocks += struct.pack("<II", 0x70, len(head)) + head + values.astype("<u2").tobytes()
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="p"><Data><Experiment/></Data><Memory Size="0"'
        f' MemoryBlockID="MemBlock_9"/><Children>{"".join(elements)}</Children></Element></LMSDataContainerHeader>'
    )
    head = struct.pack("<BI", 0x2A, len(xml)) + xml.encode("utf-16-le")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<II", 0x70, len(head)) + head + blocks)


class StandIn:
    """What is used of nd2.ND2File: two times, three planes, two channels."""

    sizes = {"T": 2, "Z": 3, "C": 2, "Y": 20, "X": 24}  # noqa: RUF012

    def __init__(self, path):
        assert Path(path).exists()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read_frame(self, index):
        return np.stack([PLANE + 1000 * index, PLANE + 1000 * index + 500]).astype(np.uint16)


@pytest.mark.parametrize("name", ["zstd0", "zstd1"])
def test_a_czi_stack_has_its_planes_and_channels(name):
    path = CZI / f"{name}.czi"
    assert (pages_of_file(path).axes, pages_of_file(path).sizes) == ("Z", (3,))
    for z in range(3):
        values = decode(path, z).values
        assert values.dtype == np.uint16
        assert np.array_equal(values, np.stack([PLANE + 1000 * z, PLANE + 1000 * z + 5000], axis=-1))


def test_the_colours_of_a_czi_file_are_not_swapped():
    raster = decode(CZI / "colour.czi")
    assert raster.colours
    assert raster.values.shape == (20, 24, 3)
    assert np.array_equal(raster.values[..., 0], np.broadcast_to(np.arange(20)[:, None], (20, 24)))
    assert (raster.values[..., 2] == 200).all()


def test_the_tiles_of_a_czi_mosaic_are_put_together():
    assert np.array_equal(decode(CZI / "mosaic.czi").values[..., 0], np.hstack([PLANE, PLANE + 5000]))


def test_the_scenes_of_a_czi_file_are_pages():
    path = CZI / "scenes.czi"
    assert pages_of_file(path).sizes == (2,)
    assert np.array_equal(decode(path, 1).values[..., 0], PLANE + 1000)


def test_a_huge_czi_mosaic_is_refused_with_its_size(tmp_path):
    content = (CZI / "mosaic.czi").read_bytes()
    path = tmp_path / "a.czi"
    path.write_bytes(content.replace(b"X\0\0\0" + struct.pack("<i", 124), b"X\0\0\0" + struct.pack("<i", 90_000_000)))
    assert problem(path) == (
        "89999924 x 20 px, too large to be read as one image; export regions as OME-TIFF or PNG in QuPath"
    )


def test_an_nd2_file_has_its_times_planes_and_channels(tmp_path, monkeypatch):
    import nd2

    monkeypatch.setattr(nd2, "ND2File", StandIn)
    path = tmp_path / "a.nd2"
    path.touch()
    assert (pages_of_file(path).axes, pages_of_file(path).sizes) == ("TZ", (2, 3))
    assert np.array_equal(decode(path, 4).values, np.stack([PLANE + 4000, PLANE + 4500], axis=-1))


def test_a_leica_file_of_several_images_has_a_page_for_each_plane_of_each(tmp_path):
    images = [np.stack([PLANE + 100 * z + 5000 * i for z in range(3)]) for i in range(2)]
    images = [one.astype(np.uint16) for one in images]
    lif(tmp_path / "one.lif", images[:1])
    assert (pages_of_file(tmp_path / "one.lif").axes, pages_of_file(tmp_path / "one.lif").sizes) == ("Z", (3,))
    assert np.array_equal(decode(tmp_path / "one.lif", 2).values[..., 0], images[0][2])
    lif(tmp_path / "two.lif", images)
    assert pages_of_file(tmp_path / "two.lif").sizes == (2, 3)
    assert np.array_equal(decode(tmp_path / "two.lif", 4).values[..., 0], images[1][1])
    lif(tmp_path / "mixed.lif", [images[0], images[1][:, :10]])
    what = "holds 2 images of 2 kinds or shapes; expected one; export them as TIFF in LAS X or Fiji"
    assert problem(tmp_path / "mixed.lif", 0) == what


def test_a_ct_is_measured_in_its_own_units(tmp_path):
    stored = PLANE.astype(np.int16)
    dicom(tmp_path / "a.dcm", stored[None], RescaleSlope="2", RescaleIntercept="-1000")
    values = decode(tmp_path / "a.dcm").values
    assert values.dtype == np.int32
    assert np.array_equal(values[..., 0], 2 * PLANE - 1000)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_x_ray_whose_white_is_zero_is_not_inverted(tmp_path, dtype):
    stored = (PLANE % 200).astype(dtype)
    bits = 8 * stored.itemsize - (4 if dtype == np.uint16 else 0)
    dicom(tmp_path / "a.dcm", stored[None], PhotometricInterpretation="MONOCHROME1", BitsStored=bits)
    values = decode(tmp_path / "a.dcm").values
    assert values.dtype == dtype
    assert np.array_equal(values[..., 0], 2**bits - 1 - stored)


def test_a_ct_whose_white_is_zero_stays_comparable_between_slices(tmp_path):
    for name, plane in (("a", PLANE), ("b", PLANE + 7)):
        tags = {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "1", "RescaleIntercept": "-100"}
        dicom(tmp_path / f"{name}.dcm", plane.astype(np.int16)[None], **tags)
        assert np.array_equal(decode(tmp_path / f"{name}.dcm").values[..., 0], 100 - plane)


def test_the_frames_of_a_dicom_file_are_pages_and_its_colours_channels(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 20, 24, 3), np.uint8)
    dicom(tmp_path / "a.dcm", frames, syntax=RLELossless)
    assert pages_of_file(tmp_path / "a.dcm").sizes == (3,)
    raster = decode(tmp_path / "a.dcm", 2)
    assert raster.colours
    assert np.array_equal(raster.values, frames[2])
    dicom(tmp_path / "grey.dcm", frames[..., 0].copy())
    assert np.array_equal(decode(tmp_path / "grey.dcm", 1).values[..., 0], frames[1, ..., 0])


def test_a_dicom_file_without_an_ending_is_an_image(tmp_path):
    dicom(tmp_path / "IM0001", PLANE.astype(np.uint16)[None])
    found = find_new_images([tmp_path])
    assert [source.names for source in found.sources] == [("IM0001",)]
    assert found.sources[0].image.read(0).shape == (20, 24, 3)


def test_dicom_compression_that_needs_another_package_is_named(tmp_path):
    dicom(tmp_path / "a.dcm", PLANE.astype(np.uint16)[None], syntax=JPEGLSLossless)
    assert problem(tmp_path / "a.dcm") == (
        "compressed as JPEG-LS Lossless Image Compression, which cannot be read here; "
        "save it uncompressed, for example with gdcmconv --raw"
    )


def real(name):
    """A file that comes with pydicom, written by a scanner or another program."""
    return Path(pydicom.__file__).parent / "data/test_files" / name


def test_a_palette_of_dicom_becomes_8_bit_colours():
    raster = decode(real("examples_palette.dcm"))
    assert (raster.colours, raster.values.dtype, raster.values.shape) == (True, np.uint8, (350, 800, 3))


def test_a_jpeg_of_12_bits_in_dicom_is_named():
    assert problem(real("JPGExtended.dcm")) == (
        "compressed as JPEG Extended (Process 2 and 4), which cannot be read here; "
        "save it uncompressed, for example with gdcmconv --raw"
    )


def test_one_slice_is_the_same_in_every_transfer_syntax():
    wanted = decode(real("MR_small.dcm")).values
    assert (wanted.min(), wanted.max()) == (127, 2145)
    for name in ("RLE", "bigendian", "expb", "implicit", "jp2klossless"):
        assert np.array_equal(decode(real(f"MR_small_{name}.dcm")).values, wanted), name


def test_a_dicom_file_without_pixels_is_said_to_have_none(tmp_path):
    dicom(tmp_path / "a.dcm", PLANE.astype(np.uint16)[None])
    data = pydicom.dcmread(tmp_path / "a.dcm")
    del data.PixelData
    data.save_as(tmp_path / "a.dcm")
    assert problem(tmp_path / "a.dcm") == "a DICOM file without an image"


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_slices_of_a_volume_are_pairs_with_the_slices_of_its_mask(tmp_path, ending):
    scenes = [scene(z) for z in range(3)]
    images = np.stack([one[0] for one in scenes], axis=-1)
    masks = np.stack([one[1] > 0 for one in scenes], axis=-1).astype(np.uint8)
    for part, values in (("images", images), ("masks", masks)):
        nifti(tmp_path / part / f"scan{ending}", values.swapaxes(0, 1))  # columns first, as NIfTI has them
    pairs = read_folder(tmp_path).pairs
    assert [pair.name for pair in pairs] == ["scan_p000", "scan_p001", "scan_p002"]
    for z, pair in enumerate(pairs):
        sample = pair.load()
        assert np.array_equal(sample.mask, masks[..., z] > 0)
        assert np.array_equal(sample.image[..., 0], images[..., z])


def test_a_mask_that_is_stored_mirrored_to_its_volume_is_refused(tmp_path):
    image, labels = scene(0)
    nifti(tmp_path / "images/a.nii", image.T)
    nifti(tmp_path / "masks/a.nii", (labels.T > 0).astype(np.uint8), np.diag([-1, 1, 1, 1]))
    with pytest.raises(DatasetError) as raised:
        read_folder(tmp_path)
    what = "is stored in the directions LAS, but its image in RAS; save both alike"
    assert [(one.where, one.what) for one in raised.value.problems] == [("masks/a.nii", what)]


def test_an_nnunet_folder_of_volumes_is_read_as_slices(tmp_path):
    for place, case in enumerate("ab"):
        scenes = [scene(3 * place + z) for z in range(3)]
        images = np.stack([one[0] for one in scenes], axis=-1).swapaxes(0, 1)
        masks = np.stack([one[1] > 0 for one in scenes], axis=-1).astype(np.uint8).swapaxes(0, 1)
        nifti(tmp_path / f"imagesTr/{case}_0000.nii.gz", images)
        nifti(tmp_path / f"labelsTr/{case}.nii.gz", masks)
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "cell": 1}, "file_ending": ".nii.gz"}')
    dataset = read_folder(tmp_path)
    assert [pair.name for pair in dataset.pairs] == [f"{case}_p{z:03d}" for case in "ab" for z in range(3)]
    assert np.array_equal(dataset.pairs[4].load().mask, masks[..., 1].T > 0)
    found = find_new_images([tmp_path / "imagesTr"])
    assert [source.names[0] for source in found.sources] == ["a_p000", "b_p000"]


def test_a_volume_with_a_scale_and_one_of_colours(tmp_path):
    image = nibabel.Nifti1Image(PLANE.T.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "scaled.nii")
    saved = nibabel.load(tmp_path / "scaled.nii").get_fdata()
    assert np.allclose(decode(tmp_path / "scaled.nii").values[..., 0], saved.T)
    colours = np.zeros((24, 20, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["R"], colours["B"][..., 1] = 200, PLANE.T % 256
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "colours.nii")
    raster = decode(tmp_path / "colours.nii", 1)
    assert raster.colours
    assert np.array_equal(raster.values[0, 5], [200, 0, 5])


def test_of_a_slide_the_full_resolution_is_read_and_no_thumbnail(tmp_path, monkeypatch):
    levels = [np.random.default_rng(0).integers(0, 255, (256 >> i, 320 >> i, 3), np.uint8) for i in range(3)]
    path = tmp_path / "slide.svs"
    about = "Aperio Image Library v12.0.15\r\n{} x {} -> |AppMag = 20"
    with tifffile.TiffWriter(path) as tiff:
        options = {"photometric": "rgb", "metadata": None}
        tiff.write(levels[0], tile=(64, 64), description=about.format(320, 256), **options)
        tiff.write(levels[2], description=about.format(80, 64), **options)  # the thumbnail
        tiff.write(levels[1], tile=(64, 64), description=about.format(160, 128), **options)
        tiff.write(levels[2][:30, :30], description="label", subfiletype=1, **options)
    assert np.array_equal(decode(path).values, levels[0])
    monkeypatch.setattr("ptsam_auto.data.raster.MOST_PIXELS", 10_000)
    what = "320 x 256 px, too large to be read as one image; export regions as OME-TIFF or PNG in QuPath"
    assert problem(path) == what


@pytest.mark.parametrize("ending", [".czi", ".nd2", ".lif", ".dcm", ".nii", ".nii.gz", ".svs"])
def test_damaged_files_of_microscopes_are_problems_and_no_tracebacks(tmp_path, ending, capfd):
    made = tmp_path / f"a{ending}"
    match ending:
        case ".czi":
            shutil.copy(CZI / "zstd1.czi", made)
        case ".lif":
            lif(made, [np.stack([PLANE] * 3).astype(np.uint16)])
        case ".dcm":
            dicom(made, PLANE.astype(np.uint16)[None])
        case ".nii" | ".nii.gz":
            nifti(made, np.random.default_rng(0).random((24, 20, 3)))
        case ".svs" | ".nd2":
            tifffile.imwrite(made, PLANE.astype(np.uint8))
    whole = made.read_bytes()
    rng = np.random.default_rng(0)
    noise = [bytearray(whole) for _ in range(20)]
    for one in noise:
        for at in rng.integers(0, len(one), 20):
            one[at] = rng.integers(256)
    cuts = [whole[: int(share * len(whole))] for share in (0, 0.01, 0.1, 0.5, 0.9, 0.99)]
    for content in [*cuts, b"x" * 500, b"\0" * 5000, *map(bytes, noise)]:
        made.write_bytes(content)
        for page in range(3):
            with suppress(DatasetError):
                pages_of_file(made)
                decode(made, page)
    made.write_bytes(b"x" * 500)
    what = problem(made, 0)
    assert what.startswith("holds text" if ending == ".svs" else "damaged, cut short or of an unusual kind")
    assert capfd.readouterr() == ("", "")


def test_a_gzip_bomb_that_claims_to_be_a_volume(tmp_path):
    header = bytearray(nibabel.Nifti1Header().binaryblock)
    struct.pack_into("<8h", header, 40, 3, 30_000, 30_000, 30_000, 1, 1, 1, 1)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(header) + bytes(100)))
    assert "too large to be read as one image" in problem(tmp_path / "a.nii.gz", 0)


@pytest.mark.parametrize(
    ("ending", "package", "what"),
    [
        (".nd2", "nd2", "a Nikon ND2 file"),
        (".lif", "liffile", "a Leica LIF file"),
        (".dcm", "pydicom", "a DICOM file"),
        (".nii.gz", "nibabel", "a NIfTI volume"),
    ],
)
def test_a_missing_package_is_named_by_what_installs_it(tmp_path, monkeypatch, ending, package, what):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"x" * 500)
    save(tmp_path / "b.png", PLANE.astype(np.uint8))
    found = find_new_images([tmp_path])
    expected = f"{what}, for which a package is missing. Install it: pip install 'ptsam-auto[microscopes]'"
    assert [(Path(one.where).name, one.what) for one in found.unreadable] == [(path.name, expected)]
    assert [source.names for source in found.sources] == [("b",)]


def test_a_folder_of_czi_files_is_predicted_on(tmp_path):
    for name in ("a", "b"):
        shutil.copy(CZI / "zstd1.czi", tmp_path / f"{name}.czi")
    cut(tmp_path / "b.czi", 0.3)
    found = find_new_images([tmp_path])
    assert [source.names for source in found.sources] == [("a_p000", "a_p001", "a_p002")]
    assert [Path(one.where).name for one in found.unreadable] == ["b.czi"]


def test_a_folder_of_pictures_loads_no_package_for_microscopes(tmp_path):
    save(tmp_path / "a.png", PLANE.astype(np.uint8))
    program = (
        "import sys; from pathlib import Path; from ptsam_auto.data.new_images import find_new_images;"
        f"find_new_images([Path({str(tmp_path)!r})]);"
        "print([name for name in ('nd2', 'liffile', 'nibabel', 'pydicom', 'dask') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

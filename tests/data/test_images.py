from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto.data.images import read_image, read_mask
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.raster import count_pages
from ptsam_auto.errors import DatasetError
from tests.data.folders import cut, marking, picture, save


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_8_bit_colours_are_untouched(tmp_path, suffix):
    image = picture()
    assert np.array_equal(read_image(save(tmp_path / f"a.{suffix}", image)), image)


def test_a_dim_16_bit_image_fills_the_range(tmp_path):
    camera = np.linspace(900, 1100, 12 * 16).reshape(12, 16).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", camera)
    Image.fromarray(camera).save(tmp_path / "a.png")
    from_tiff, from_png = read_image(tmp_path / "a.tif"), read_image(tmp_path / "a.png")
    assert (from_tiff.min(), from_tiff.max()) == (0, 255)
    assert np.array_equal(from_tiff, from_png)
    assert np.array_equal(from_tiff[..., 0], from_tiff[..., 2])


def test_16_bit_colour_png_keeps_its_lower_byte(tmp_path):
    import imagecodecs

    camera = np.random.default_rng(0).integers(0, 200, (12, 16, 3), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(camera))
    image = read_image(tmp_path / "a.png")
    assert image.max() == 255
    assert np.corrcoef(image.ravel(), camera.ravel())[0, 1] > 0.999


def test_hot_pixels_do_not_darken_the_rest(tmp_path):
    camera = np.random.default_rng(0).integers(100, 200, (100, 100), dtype=np.uint16)
    camera[0, 0] = 65535
    tifffile.imwrite(tmp_path / "a.tif", camera)
    assert read_image(tmp_path / "a.tif").mean() > 100


def test_single_bright_spots_survive_scaling(tmp_path):
    camera = np.zeros((100, 100), np.uint16)
    camera[5, 5] = 3000
    tifffile.imwrite(tmp_path / "a.tif", camera)
    assert read_image(tmp_path / "a.tif")[5, 5, 0] == 255


def test_missing_values_in_a_float_image_are_dark(tmp_path):
    values = np.linspace(-1, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    values[0, 0], values[0, 1] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = read_image(tmp_path / "a.tif")
    assert image[0, 0, 0] == 0
    assert image[0, 1, 0] == 255
    assert image[-1, -1, 0] == 255


@pytest.mark.parametrize(
    ("shape", "options", "channels_first"),
    [
        ((3, 12, 16), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}, True),
        ((3, 12, 16), {"photometric": "rgb", "planarconfig": "separate"}, True),
        ((3, 12, 16), {"photometric": "minisblack"}, True),  # planes without names
        ((5, 12, 16), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}, True),
        ((2, 12, 16), {"imagej": True, "metadata": {"axes": "CYX"}}, True),
        ((12, 16, 3), {"photometric": "rgb"}, False),
        ((12, 16, 4), {"photometric": "rgb"}, False),
        ((12, 16, 2), {"photometric": "minisblack", "planarconfig": "contig"}, False),
        ((12, 16, 2), {"photometric": "minisblack"}, False),  # tifffile writes 12 pages of 16 x 2
    ],
)
def test_channels_are_found_first_or_last(tmp_path, shape, options, channels_first):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    expected = (values.transpose(1, 2, 0) if channels_first else values)[..., :3]
    image = read_image(tmp_path / "a.tif")
    assert image.shape == (12, 16, 3)
    assert np.array_equal(image[..., : expected.shape[-1]], expected)
    assert not image[..., expected.shape[-1] :].any()


@pytest.mark.parametrize(
    ("shape", "options", "pages"),
    [
        ((30, 12, 16), {}, 30),
        ((5, 12, 16), {"metadata": None}, 5),
        ((3, 12, 16), {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}, 3),
        ((4, 2, 12, 16), {"imagej": True, "metadata": {"axes": "ZCYX"}}, 4),
        ((2, 4, 12, 16), {"metadata": {"axes": "CTYX"}, "photometric": "minisblack"}, 4),
        ((6, 12, 16, 3), {"photometric": "rgb"}, 6),
    ],
)
def test_pages_of_a_stack_are_read_one_by_one(tmp_path, shape, options, pages):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    assert count_pages(tmp_path / "a.tif") == pages
    axis = shape.index(pages)
    plane = np.take(values, 1, axis=axis)
    expected = plane[..., None] if plane.ndim == 2 else plane.transpose(1, 2, 0) if plane.shape[0] == 2 else plane
    image = read_image(tmp_path / "a.tif", 1)
    assert np.array_equal(image[..., : expected.shape[-1]], expected)


def test_a_stack_is_not_taken_for_an_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((30, 12, 16), np.uint8))
    with pytest.raises(DatasetError) as raised:
        read_image(tmp_path / "a.tif")
    assert raised.value.problems[0].what == "holds 30 pages; expected one"


def test_alpha_says_nothing(tmp_path):
    colours = picture()
    opaque_nowhere = np.dstack([colours, np.zeros((12, 16), np.uint8)])
    assert np.array_equal(read_image(save(tmp_path / "a.png", opaque_nowhere)), colours)
    black = np.dstack([np.zeros((12, 16, 3), np.uint8), np.full((12, 16), 255, np.uint8)])
    assert not read_mask(save(tmp_path / "m.png", black)).any()
    tifffile.imwrite(tmp_path / "m.tif", black, photometric="rgb")
    assert not read_mask(tmp_path / "m.tif").any()
    grey_alpha = Image.fromarray(black[..., 0]).convert("LA")
    grey_alpha.save(tmp_path / "la.png")
    assert not read_mask(tmp_path / "la.png").any()


def test_a_photo_and_its_mask_are_turned_alike(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(marking()).save(tmp_path / "m.png", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (16, 12, 3)
    assert read_mask(tmp_path / "m.png").shape == (16, 12)


@pytest.mark.parametrize("values", [1, 255, 300, 70000])
def test_masks_mark_by_1_by_255_or_by_instance(tmp_path, values):
    dtype = np.uint8 if values < 256 else np.uint16 if values < 65536 else np.uint32
    tifffile.imwrite(tmp_path / "m.tif", marking().astype(dtype) * dtype(values))
    assert np.array_equal(read_mask(tmp_path / "m.tif"), marking())


def test_16_bit_instances_in_a_png(tmp_path):
    path = save(tmp_path / "m.png", marking().astype(np.uint16) * np.uint16(256))
    assert np.array_equal(read_mask(path), marking())


def test_bilevel_masks(tmp_path):
    Image.fromarray(marking()).save(tmp_path / "m.png")
    tifffile.imwrite(tmp_path / "m.tif", marking())
    assert np.array_equal(read_mask(tmp_path / "m.png"), marking())
    assert np.array_equal(read_mask(tmp_path / "m.tif"), marking())


def test_colour_masks_mark_where_any_channel_does(tmp_path):
    red = np.zeros((12, 16, 3), np.uint8)
    red[marking(), 0] = 128
    assert np.array_equal(read_mask(save(tmp_path / "m.png", red)), marking())


def test_palettes_count_by_colour_and_a_mask_whose_black_is_not_its_first_colour_is_a_question(tmp_path):
    indexed = Image.fromarray(marking().astype(np.uint8)).convert("P")
    indexed.putpalette([10, 20, 30, 0, 0, 0])
    indexed.save(tmp_path / "m.png", transparency=b"\0\0")
    with pytest.raises(DatasetError) as raised:
        read_mask(tmp_path / "m.png")
    assert raised.value.problems[0].what == (
        "the palette's first colour is not black, but another one is; values and their areas: "
        "0 [#0a141e] (87.5 %), 1 [#000000] (12.5 %)"
    )
    assert np.array_equal(read_mask(tmp_path / "m.png", options=ReadingOptions(foreground=("1",))), marking())
    image = read_image(tmp_path / "m.png")
    assert image[0, 0].tolist() == [10, 20, 30]
    assert image[3, 4].tolist() == [0, 0, 0]


def test_a_palette_tiff(tmp_path):
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 0] = 10 << 8, 20 << 8, 30 << 8
    tifffile.imwrite(tmp_path / "m.tif", marking().astype(np.uint8), photometric="palette", colormap=colours)
    options = ReadingOptions(background=("#0a141e",))
    assert np.array_equal(read_mask(tmp_path / "m.tif", options=options), marking())
    assert read_image(tmp_path / "m.tif")[0, 0].tolist() == [10, 20, 30]


def test_rings_of_a_jpeg_mask_are_not_foreground(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    path = tmp_path / "m.jpg"
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, quality=40)
    assert (np.asarray(Image.open(path)) > 0).mean() > mask.mean()
    assert np.array_equal(read_mask(path), mask)
    tifffile.imwrite(tmp_path / "m.tif", mask.astype(np.uint8) * 255, compression="jpeg", compressionargs={"level": 40})
    assert np.array_equal(read_mask(tmp_path / "m.tif"), mask)


def test_a_file_is_read_by_its_content_not_by_its_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", marking().astype(np.uint16) * np.uint16(256))
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), marking())


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_a_tiff_that_was_cut_short_is_refused(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", picture(0, 100, 100), compression=compression)
    cut(tmp_path / "a.tif", 0.9)
    with pytest.raises(DatasetError, match="damaged, cut short"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"imagej": True}, {"ome": True}, {"compression": "zlib"}])
def test_a_stack_cut_between_two_pages_is_not_read_as_a_shorter_one(tmp_path, caplog, capfd, options):
    stack = np.random.default_rng(0).integers(0, 256, (5, 100, 100), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)
    cut(tmp_path / "a.tif", 0.7)
    with pytest.raises(DatasetError, match="damaged, cut short"):
        [read_image(tmp_path / "a.tif", page) for page in range(count_pages(tmp_path / "a.tif"))]
    assert not caplog.records
    assert capfd.readouterr().err == ""


def test_pages_of_different_shapes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(np.zeros((10, 10), np.uint8))
        tiff.write(np.zeros((20, 20), np.uint8))
    with pytest.raises(DatasetError, match="holds 2 images of different shapes; expected one shape"):
        count_pages(tmp_path / "a.tif")


def test_an_odd_private_tag_does_no_harm(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", extratags=[(65000, 3, 1, 7, True)])
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content.replace(b"\xe8\xfd\x03\x00", b"\xe8\xfd\x63\x00"))  # of type 99
    assert np.array_equal(read_image(tmp_path / "a.tif"), picture())


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PCX", "TGA", "SGI"])
def test_a_file_of_another_kind_that_is_called_png_is_not_opened(tmp_path, kind):
    """Pillow would start Ghostscript for an EPS."""
    Image.fromarray(picture()).save(tmp_path / "a.png", format=kind)
    with pytest.raises(DatasetError) as error:
        read_image(tmp_path / "a.png")
    assert "expected the content of a PNG, JPEG, BMP or TIFF file" in str(error.value)


def test_threads_that_read_at_once_do_not_share_their_complaints(tmp_path, caplog):
    """Several threads read images for a GPU; a damaged one of them spoils no other, and nothing is printed."""
    whole = np.random.default_rng(0).integers(0, 256, (5, 100, 100), dtype=np.uint8)
    for name in ("whole", "cut"):
        tifffile.imwrite(tmp_path / f"{name}.tif", whole, photometric="minisblack")
    cut(tmp_path / "cut.tif", 0.7)

    def read(name):
        try:
            return [read_image(tmp_path / f"{name}.tif", page) for page in range(count_pages(tmp_path / f"{name}.tif"))]
        except DatasetError:
            return None

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(read, ["whole", "cut"] * 40))
    assert all(len(pages) == 5 for pages in results[::2])
    assert results[1::2] == [None] * 40
    assert not caplog.records

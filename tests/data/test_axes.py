"""Pages, channels and turns of image and mask belong together, or are a question."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from ptsam_auto.data.folder import read_folder
from ptsam_auto.data.new_images import find_new_images
from ptsam_auto.data.raster import count_pages
from ptsam_auto.errors import DatasetError
from tests.data.folders import save
from tests.data.stored import scene


def problems(folder):
    with pytest.raises(DatasetError) as raised:
        read_folder(folder)
    return [f"{problem.where}: {problem.what}" for problem in raised.value.problems]


def hyperstack(folder, mask_axes):
    """2 times, 3 planes: an image TZYX, and its mask with other axes."""
    scenes = [[scene(10 * t + z) for z in range(3)] for t in range(2)]
    images = np.array([[one[0] for one in row] for row in scenes])
    labels = np.array([[one[1] > 0 for one in row] for row in scenes]).astype(np.uint8)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    tifffile.imwrite(folder / "images/h.ome.tif", images, metadata={"axes": "TZYX"})
    order = ["TZYX".index(axis) for axis in mask_axes]
    tifffile.imwrite(folder / "masks/h.ome.tif", labels.transpose(order).copy(), metadata={"axes": mask_axes})
    return images, labels


@pytest.mark.parametrize("axes", ["TZYX", "ZTYX"])
def test_pages_are_matched_by_their_axes(tmp_path, axes):
    images, labels = hyperstack(tmp_path, axes)
    for place, pair in enumerate(read_folder(tmp_path).pairs):
        sample = pair.load()
        assert np.array_equal(sample.image[..., 0], images[divmod(place, 3)])
        assert np.array_equal(sample.mask, labels[divmod(place, 3)] > 0)


def test_pages_that_cannot_be_matched_are_refused(tmp_path):
    hyperstack(tmp_path, "TZYX")
    flat = np.zeros((3, 2, 64, 64), np.uint8)
    flat[..., 20:30, 20:30] = 1
    tifffile.imwrite(tmp_path / "masks/h.ome.tif", flat, metadata={"axes": "TZYX"})
    assert problems(tmp_path) == [
        "masks/h.ome.tif: its pages are TZ (3 x 2), but those of its image are TZ (2 x 3); save both with the same axes"
    ]


@pytest.mark.parametrize("shape", [(64, 64, 5), (5, 64, 64)])
def test_five_nameless_planes_beside_a_single_mask_are_channels(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images/a.tif", values, photometric="minisblack")
    save(tmp_path / "masks/a.png", scene(0)[1] > 0)
    dataset = read_folder(tmp_path)
    sample = dataset.pairs[0].load()
    last = values if shape[-1] == 5 else values.transpose(1, 2, 0)
    assert np.array_equal(sample.image, last[..., :3])
    assert dataset.understanding.channels == "5; 1, 2, 3 are shown, 4, 5 left out (choose with --channels 1,2,5)"
    found = find_new_images([tmp_path / "images"], dataset.understanding.reading)
    assert found.sources[0].names == ("a",)
    assert np.array_equal(found.sources[0].image.read(0, dataset.understanding.reading), sample.image)


def test_rows_are_not_taken_for_pages(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((96, 96, 5), np.uint8), photometric="minisblack")
    assert count_pages(tmp_path / "a.tif") == 1


def test_an_ome_tiff_of_two_files_is_read_once(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    write_set(tmp_path / "images")
    labels = np.array([scene(0)[1], scene(1)[1]])
    tifffile.imwrite(tmp_path / "masks/s_t0.ome.tif", labels, metadata={"axes": "TYX"})
    dataset = read_folder(tmp_path)
    assert [pair.name for pair in dataset.pairs] == ["s_t0.ome_p000", "s_t0.ome_p001"]
    found = find_new_images([tmp_path / "images"])
    assert [source.names for source in found.sources] == [("s_t0.ome_p000", "s_t0.ome_p001")]
    assert [p.what for p in found.left_out] == ["a part of the OME-TIFF set that s_t0.ome.tif begins"]


def write_set(folder):
    """Two files, a time each, whose headers name each other."""
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{place}" for place in range(2)]
    files = "".join(
        f'<TiffData FirstC="0" FirstT="{t}" FirstZ="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="s_t{t}.ome.tif">{uuid}</UUID></TiffData>'
        for t, uuid in enumerate(uuids)
    )
    for t, uuid in enumerate(uuids):
        header = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuid}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="64" '
            f'SizeY="64" SizeC="1" SizeZ="1" SizeT="2"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{files}'
            f"</Pixels></Image></OME>"
        )
        tifffile.imwrite(folder / f"s_t{t}.ome.tif", scene(t)[0], description=header, metadata=None)


def turned_photo(path, image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(path, exif=exif, quality=95)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_mask_drawn_on_the_unturned_photo_is_found(tmp_path, orientation):
    image, labels = scene(0)
    (tmp_path / "images").mkdir()
    turned_photo(tmp_path / "images/a.jpg", image, orientation)
    save(tmp_path / "masks/a.png", labels > 0)
    assert problems(tmp_path) == [
        f"masks/a.png: was drawn on the image as it lies in the file, but the image is shown turned (EXIF orientation "
        f"{orientation}); turn the mask, or save the image upright"
    ]
    undone = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}[orientation]
    save(tmp_path / "masks/a.png", cv2.rotate((labels > 0).astype(np.uint8), undone) > 0)
    assert len(read_folder(tmp_path).pairs) == 1


def test_a_mask_whose_own_orientation_turns_it_away_is_found(tmp_path):
    image, labels = scene(0)
    save(tmp_path / "images/a.png", image)
    (tmp_path / "masks").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray((labels > 0).astype(np.uint8) * 255).save(tmp_path / "masks/a.png", exif=exif)
    assert problems(tmp_path) == [
        "masks/a.png: fits its image as it lies in the file, but is shown turned (EXIF orientation 6); "
        "save the mask upright"
    ]

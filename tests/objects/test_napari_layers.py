"""napari opens what `predict` has written: the half of it that reads plug-ins, npe2, says so."""

import warnings

import numpy as np
import pytest

from ptsam_auto.data.raster import Pages
from ptsam_auto.objects import napari_layers
from ptsam_auto.objects.label_files import write_labels
from ptsam_auto.objects.measures import Page, row_of_image, rows_of_objects
from ptsam_auto.objects.tables import write_tables
from ptsam_auto.own_files import LIST_FILE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pydantic, about how it declares its fields
    npe2 = pytest.importorskip("npe2")


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The plug-in, as napari finds it by its entry point."""
    npe2.PluginManager.instance().register(npe2.PluginManifest.from_distribution("ptsam-auto"))


@pytest.fixture
def written(tmp_path):
    """A folder with two images and a stack of two pages, as `predict --measure` writes it."""
    folder = tmp_path / "masks"
    labels = np.zeros((12, 16), np.int32)
    labels[1:4, 2:6], labels[6:11, 8:14] = 1, 2
    (folder / "labels" / "well").mkdir(parents=True)
    for name in ("a", "well/b"):
        write_labels(folder / "labels" / f"{name}.tif", [labels], Pages(), None)
    write_labels(folder / "labels" / "stack.tif", [labels, labels], Pages(), None)
    pages = [Page(name, labels) for name in ("a", "well/b", "stack_p001", "stack_p002")]
    rows = [rows_of_objects(page) for page in pages]
    write_tables(
        folder, [row for own in rows for row in own], [row_of_image(*both) for both in zip(pages, rows, strict=True)]
    )
    (folder / LIST_FILE).write_text('{"files": {}}')
    return folder


def opened(folder):
    return npe2.read([str(folder)], stack=False, plugin_name="ptsam-auto")


def test_a_folder_of_results_is_layers_of_labels_with_their_measurements(written):
    layers = opened(written)
    assert [(arguments["name"], kind) for _, arguments, kind in layers] == [
        ("a objects", "labels"), ("stack objects", "labels"), ("well/b objects", "labels")]  # fmt: skip
    assert [arguments["visible"] for _, arguments, _ in layers] == [True, False, False]
    (data, flat, _), (stack, of_stack, _), *_ = layers
    assert (data.shape, data.max(), stack.shape) == ((12, 16), 2, (2, 12, 16))
    assert flat["features"]["index"] == [1, 2]
    assert flat["features"]["area_px"] == [12, 30]
    assert set(flat["features"]["image"]) == {"a"}
    assert "features" not in of_stack, "the objects of each page are counted from 1"


def test_a_folder_of_somebody_else_is_left_to_other_plug_ins(written, tmp_path):
    (written / LIST_FILE).unlink()
    assert napari_layers.folder_reader(str(written)) is None
    assert napari_layers.folder_reader([str(tmp_path / "none.tif")]) is None
    with pytest.raises(ValueError, match="refused the file"):
        opened(written)


def test_of_very_many_images_the_first_are_opened_and_that_is_said(written, monkeypatch):
    monkeypatch.setattr(napari_layers, "MOST_LAYERS", 2)
    with pytest.warns(UserWarning, match="objects of 3 images; the first 2 are opened"):
        assert len(napari_layers.folder_reader(str(written))(str(written))) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(napari_layers, "MOST_LAYERS", 3)
        assert len(napari_layers.folder_reader(str(written))(str(written))) == 3

"""A model package is valid for bioimage.io's own library, which computes with it what the specialist computes."""

import io
import json
import zipfile

import numpy as np
import pytest
import yaml

from ptsam_auto import fit, load_specialist
from ptsam_auto.commands.export import export
from ptsam_auto.commands.options import ExportOptions
from ptsam_auto.errors import OutputError
from ptsam_auto.terminal import Terminal
from tests.toys import sample, write_folder

QUICK = {"recipe.epochs": 4, "recipe.steps_per_epoch": 5, "recipe.views": 2, "method.tiles": 2}
OLDEST = "0.5.13"  # bioimageio.spec; earlier ones fail with the pydantic of today

# bioimage.io's libraries warn of what their own dependencies will change.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory, toy):
    """A specialist on four discs that sees tiles, and its package."""
    lab = tmp_path_factory.mktemp("lab")
    settings = QUICK | {"method.mask_token": 0}
    fit(write_folder(lab / "private-name", 4), out=lab / "made", backbone=toy, settings=settings, folds=2, track=False)
    export(ExportOptions(lab / "made", bioimageio=lab / "model.zip"), Terminal.silent())
    return lab


@pytest.fixture
def bioimageio():
    """bioimage.io's library, whatever it writes to the log."""
    pytest.importorskip("bioimageio.spec", minversion=OLDEST)
    core = pytest.importorskip("bioimageio.core")
    from loguru import logger

    logger.disable("bioimageio")
    return core


def tile_of(made):
    return made.record.members[0].scale.tile


def test_the_package_is_valid_and_its_network_gives_the_test_output(lab, bioimageio):
    summary = bioimageio.test_model(lab / "model.zip")
    assert summary.status == "passed", summary.format()


def test_other_programs_get_the_mask_of_the_specialist(lab, bioimageio):
    made = load_specialist(lab / "made", device="cpu")
    side = tile_of(made)
    image = sample(20, side, side).image
    pipeline = bioimageio.create_prediction_pipeline(bioimageio.load_model_description(lab / "model.zip"))
    values = np.moveaxis(image, -1, 0)[None]
    block = {"input": {"batch": 1, "channel": 3, "y": side, "x": side}}
    answer = bioimageio.predict(model=pipeline, inputs={"input": values}, input_block_shape=block)
    blocks = np.asarray(answer.members["output"].data)[0, 0]
    # Their program cuts the image into smaller blocks, because it leaves out a margin; at its corner the margin is not
    # part of the image, so only what lies in the middle of a block sees the same.
    assert blocks.shape == image.shape[:2]
    session = _session(lab / "model.zip")
    whole = session.run(None, {"input": values.astype(np.float32)})[0][0, 0]
    assert np.mean(np.abs(whole - made.probability(image))) < 0.01
    assert np.mean((whole > 0.5) == made.predict(image)) > 0.98


def test_the_network_takes_a_batch(lab):
    side = tile_of(load_specialist(lab / "made"))
    values = np.random.default_rng(0).integers(0, 255, (3, 3, side, side)).astype(np.float32)
    session = _session(lab / "model.zip")
    together, alone = (session.run(None, {"input": batch})[0] for batch in (values, values[1:2]))
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)


def test_nothing_of_the_users_images_is_in_the_package(lab):
    with zipfile.ZipFile(lab / "model.zip") as package:
        names = set(package.namelist())
        texts = package.read("rdf.yaml") + package.read("README.md")
        shown = np.load(io.BytesIO(package.read("test_input.npy")))
    assert names == {"rdf.yaml", "README.md", "network.onnx", "test_input.npy", "test_output.npy"}
    assert b"private-name" not in texts
    assert b"disc0" not in texts
    assert str(lab).encode() not in texts
    own = [sample(number).image.mean() for number in range(4)]
    assert min(abs(shown.mean() - mean) for mean in own) > 1, "a rendered image"


def test_it_says_what_it_was_made_of(lab):
    made = load_specialist(lab / "made")
    with zipfile.ZipFile(lab / "model.zip") as package:
        described = yaml.safe_load(package.read("rdf.yaml"))
        text = package.read("README.md").decode()
    about = described["config"]["ptsam_auto"]
    assert about["specialist"] == made.identity
    assert about["members"][0]["backbone"] == "own checkpoint"
    assert about["members"][0]["backbone_sha256"] == made.record.members[0].backbone.sha256
    assert about["compared"]["dice"] > 0.95
    assert json.dumps(about)
    assert "ask the maker for its licence" in text
    assert described["cite"][0]["doi"] == "10.1109/CVPRW67362.2025.00455"


def test_another_file_is_never_replaced_and_an_earlier_package_when_asked(lab, tmp_path):
    mine = tmp_path / "mine.zip"
    with zipfile.ZipFile(mine, "w") as package:
        package.writestr("notes.txt", "mine")
    with pytest.raises(OutputError, match=r"mine\.zip exists\.\nChoose another file\."):
        export(ExportOptions(lab / "made", bioimageio=mine, force=True), Terminal.silent())
    with pytest.raises(OutputError, match="Replace it with --force, or choose another file"):
        export(ExportOptions(lab / "made", bioimageio=lab / "model.zip"), Terminal.silent())


def _session(path):
    import onnxruntime

    with zipfile.ZipFile(path) as package:
        return onnxruntime.InferenceSession(package.read("network.onnx"), providers=["CPUExecutionProvider"])

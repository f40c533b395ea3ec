"""An exported specialist gives the masks of PyTorch, without PyTorch."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from ptsam_auto import fit, load_specialist
from ptsam_auto.commands.export import export
from ptsam_auto.commands.options import ExportOptions
from ptsam_auto.errors import ConfigError, OutputError, SpecialistError
from ptsam_auto.methods.prompt_free import PromptFreeSam
from ptsam_auto.onnx.export import _Encoder, write_network
from ptsam_auto.onnx.runtime import OnnxSpecialist
from ptsam_auto.sam.checkpoint import load
from ptsam_auto.terminal import Terminal
from tests.toys import sample, write_folder

QUICK = {"recipe.epochs": 4, "recipe.steps_per_epoch": 5, "recipe.views": 2, "method.tiles": 2}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory, toy):
    """A specialist on four discs that sees tiles, and its export."""
    lab = tmp_path_factory.mktemp("lab")
    fit(write_folder(lab / "discs", 4), out=lab / "made", backbone=toy, settings=QUICK, folds=2, track=False)
    export(ExportOptions(lab / "made", lab / "onnx", images=[lab / "discs" / "images"]), Terminal.silent())
    return lab


@pytest.mark.parametrize("size", [(48, 64), (100, 150), (64, 33)])
def test_the_export_gives_the_probability_of_pytorch_at_every_size(lab, size):
    image = sample(20, *size).image
    exported, made = OnnxSpecialist(lab / "onnx"), load_specialist(lab / "made")
    np.testing.assert_allclose(exported.probability(image), made.probability(image), atol=1e-4)
    assert np.mean(exported.predict(image) == made.predict(image)) > 0.999


def test_a_batch_of_any_size_is_taken(lab):
    for name in ("encoder-0.onnx", "decoder-0.onnx"):
        onnx.checker.check_model(lab / "onnx" / name)
        session = onnxruntime.InferenceSession(lab / "onnx" / name, providers=["CPUExecutionProvider"])
        shape = session.get_inputs()[0].shape[1:]
        values = np.random.default_rng(0).random((5, *shape), dtype=np.float32)
        together = session.run(None, {"input": values})[0]
        alone = session.run(None, {"input": values[3:4]})[0]
        np.testing.assert_allclose(together[3:4], alone, atol=1e-4)


WITHOUT_TORCH = """
import sys
for name in ("torch", "segment_anything", "ray", "mlflow"):
    sys.modules[name] = None
import numpy as np
from PIL import Image
from ptsam_auto.onnx.runtime import OnnxSpecialist

mask = OnnxSpecialist(sys.argv[1]).predict(np.asarray(Image.open(sys.argv[2]).convert("RGB")))
Image.fromarray(mask).save(sys.argv[3])
"""


def test_it_runs_where_torch_is_not_installed(lab, tmp_path):
    image = sample(21).image
    Image.fromarray(image).save(tmp_path / "a.png")
    words = [str(lab / "onnx"), str(tmp_path / "a.png"), str(tmp_path / "mask.png")]
    ran = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert np.mean(mask == load_specialist(lab / "made").predict(image)) > 0.999


def test_what_was_compared_is_said_and_kept(lab, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ptsam_auto.commands.export.LEAST_DICE_OF_INT8", 2)
    options = ExportOptions(lab / "made", tmp_path / "onnx", int8=True)
    compared = export(options, Terminal())
    about = json.loads((tmp_path / "onnx" / "onnx.json").read_text())
    assert about["quantised"]
    assert about["compared"]["dice"] == compared.dice
    assert 0.8 < compared.dice <= 1
    printed = capsys.readouterr().err
    assert "Compared with PyTorch on 4 rendered images" in printed
    assert "WARNING: The masks differ from those of PyTorch. Export without --int8." in printed
    size = sum(path.stat().st_size for path in (tmp_path / "onnx").glob("*.onnx"))
    assert size < sum(path.stat().st_size for path in (lab / "onnx").glob("*.onnx"))


def test_other_files_are_not_mixed_with_an_export_and_an_earlier_one_is_replaced_when_asked(lab, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"is not empty\.\nEmpty it, or choose another folder"):
        export(ExportOptions(lab / "made", tmp_path, force=True), Terminal.silent())
    with pytest.raises(OutputError, match="replace it with --force"):
        export(ExportOptions(lab / "made", lab / "onnx"), Terminal.silent())
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"format": 1}'])
def test_a_folder_that_is_no_export_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "onnx.json").write_text(content)
    with pytest.raises(SpecialistError, match=r"is not an exported specialist: "):
        OnnxSpecialist(tmp_path)


@pytest.mark.parametrize(("place", "value", "message"), [
    ("format", 99, "it has format 99; expected 1. Export it again"),
    ("threshold", 7, "threshold is 7"),
    ("threshold", "high", "threshold: Input should be a valid number"),
    ("members", [], "it has no members"),
    ("encoder", "../../etc/encoder-0.onnx", "is not the name of a network of the export"),
    ("decoder", "/tmp/decoder-0.onnx", "is not the name of a network of the export"),
    ("image_size", 10**9, "image_size is 1000000000, which is out of range"),
    ("tiles", 10**9, "tiles is 1000000000, which is out of range"),
    ("tile", 0, "tile is 0, which is out of range"),
    ("weight", float("nan"), "weight"),
    ("deviation", [1, 0, 1], "deviation is "),
    ("mean", [1, 2], "mean"),
])  # fmt: skip
def test_what_somebody_else_has_written_into_an_export_is_checked_before_it_is_used(
    lab, tmp_path, place, value, message
):
    about = json.loads((lab / "onnx" / "onnx.json").read_text())
    (about if place in about else about["members"][0])[place] = value
    (tmp_path / "onnx.json").write_text(json.dumps(about))
    with pytest.raises(SpecialistError, match=r"is not an exported specialist: ") as error:
        OnnxSpecialist(tmp_path)
    assert message in str(error.value)


def test_a_tiny_vit_is_exported_for_batches_of_any_size(tiny, tmp_path):
    """Its pieces for the cache of a CPU fixed the size of the batch, and made the network hundreds of times as long."""
    encoder = _Encoder(PromptFreeSam(load(tiny).sam)).eval()
    size = encoder.model.image_size
    images = torch.rand(3, 3, size, size)
    write_network(tmp_path / "encoder.onnx", encoder, images[:2], quantise=False)
    assert len(onnx.load(tmp_path / "encoder.onnx").graph.node) < 1_000
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = encoder(images).numpy()
    for batch in (images[:1], images):
        found = session.run(None, {"input": batch.numpy()})[0]
        np.testing.assert_allclose(found, expected[: len(batch)], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "export needs to know what to write: --onnx DIR, --bioimageio FILE.zip, or both."),
        ({"bioimageio": Path("a.tar")}, "--bioimageio is a.tar; expected a file that ends in .zip."),
        ({"bioimageio": Path("a.zip"), "images": [Path("b")]}, "--images has no effect without --onnx"),
    ],
)
def test_options_that_do_not_fit_are_said_at_once(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        ExportOptions(Path("made"), **options)

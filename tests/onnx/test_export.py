"""An exported specialist gives the masks of PyTorch, without PyTorch."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from ptsam_auto import fit, load_specialist
from ptsam_auto.commands.export import export
from ptsam_auto.commands.options import ExportOptions
from ptsam_auto.errors import OutputError, SpecialistError
from ptsam_auto.onnx.runtime import OnnxSpecialist
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


def test_what_was_compared_is_said_and_kept(lab, tmp_path, capsys):
    options = ExportOptions(lab / "made", tmp_path / "onnx", int8=True)
    compared = export(options, Terminal())
    about = json.loads((tmp_path / "onnx" / "onnx.json").read_text())
    assert about["quantised"]
    assert about["compared"]["dice"] == compared.dice
    assert 0.8 < compared.dice <= 1
    assert "Compared with PyTorch on 4 rendered images" in capsys.readouterr().err
    size = sum(path.stat().st_size for path in (tmp_path / "onnx").glob("*.onnx"))
    assert size < sum(path.stat().st_size for path in (lab / "onnx").glob("*.onnx"))


def test_other_files_are_not_mixed_with_an_export_and_an_earlier_one_is_replaced_when_asked(lab, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"is not empty\.\nEmpty it, or choose another folder"):
        export(ExportOptions(lab / "made", tmp_path, force=True), Terminal.silent())
    with pytest.raises(OutputError, match="replace it with --force"):
        export(ExportOptions(lab / "made", lab / "onnx"), Terminal.silent())
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [None, "{", '{"format": 99}'])
def test_a_folder_that_is_no_export_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "onnx.json").write_text(content)
    with pytest.raises(SpecialistError):
        OnnxSpecialist(tmp_path)

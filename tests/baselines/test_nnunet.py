"""nnU-Net as its users run it: the paper's network, our images, and a training that can be stopped."""

import importlib.util
import json
import re
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from ptsam_auto import fit, load_specialist
from ptsam_auto.baselines import nnunet
from ptsam_auto.baselines.nnunet import DATASET, NnunetConfig, train, write_raw
from ptsam_auto.commands.options import PredictOptions
from ptsam_auto.commands.predict import predict
from ptsam_auto.data.folder import read_folder
from ptsam_auto.errors import ConfigError, OutputError, PtsamError, SpecialistError
from ptsam_auto.terminal import Terminal
from tests.toys import pairs, sample, write_folder

installed = pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="the extra is not installed")
TINY = NnunetConfig(epochs=4, steps_per_epoch=2, gpu_memory_gb=0.5, workers=1)


@installed
@pytest.mark.filterwarnings("ignore")
def test_trainable_numbers_are_those_of_table_1():
    """At the paper's 1,024 px the planner halves eight times; both classes have a map on each of eight sizes."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    with torch.device("meta"):
        network = PlainConvUNet(
            input_channels=3,
            n_stages=9,
            features_per_stage=[32, 64, 128, 256, *[512] * 5],
            conv_op=nn.Conv2d,
            kernel_sizes=3,
            strides=[1, *[2] * 8],
            n_conv_per_stage=2,
            num_classes=2,
            n_conv_per_stage_decoder=2,
            conv_bias=True,
            norm_op=nn.InstanceNorm2d,
            norm_op_kwargs={"affine": True},
            nonlin=nn.LeakyReLU,
            deep_supervision=True,
        )
    assert sum(parameter.numel() for parameter in network.parameters()) == 59_177_872


def test_the_papers_budget_is_the_default():
    config = NnunetConfig()
    assert (config.epochs, config.steps_per_epoch, config.gpu_memory_gb) == (1000, 20, None)


def test_images_and_masks_arrive_as_they_are(tmp_path):
    given = read_folder_of(tmp_path, pairs(3))
    assert [(one.image.tobytes(), one.mask.tobytes()) for one in given] == [
        (one.image.tobytes(), one.mask.tobytes()) for one in map(sample, range(3))
    ]


def read_folder_of(folder, given):
    """What nnU-Net's layout holds, through our own reader of it."""
    write_raw(given, folder)
    found = read_folder(folder)
    assert found.layout == "nnunet"
    return [pair.load() for pair in found.pairs]


def test_without_the_extra_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    with pytest.raises(PtsamError) as error:
        train(pairs(2), tmp_path / "work", TINY)
    assert str(error.value) == (
        "nnU-Net needs nnunetv2, which is not installed. Install it: pip install 'ptsam-auto[nnunet]'"
    )
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(("wrong", "message"), [
    ({"epochs": 0}, "nnunet.epochs is 0; expected at least 1."),
    ({"workers": 0}, "nnunet.workers is 0; expected at least 1."),
    ({"gpu_memory_gb": 0}, "nnunet.gpu_memory_gb is 0; expected a number above 0."),
])  # fmt: skip
def test_what_is_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError) as error:
        NnunetConfig(**wrong)
    assert str(error.value) == message


@installed
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(OutputError) as error:
        train(pairs(2), tmp_path, TINY)
    assert str(error.value) == f"{tmp_path} is not empty and is not a folder of nnU-Net.\nChoose another folder."


@installed
def test_a_process_that_fails_shows_the_end_of_its_log(tmp_path, monkeypatch):
    fails = tmp_path / "python"
    fails.write_text("#!/bin/sh\necho planning\necho out of memory\nexit 3\n")
    fails.chmod(0o755)
    monkeypatch.setattr(nnunet.sys, "executable", str(fails))
    with pytest.raises(PtsamError) as error:
        train(pairs(2), tmp_path / "work", TINY)
    assert str(error.value) == (
        f"nnU-Net stopped with exit code 3; the end of {tmp_path}/work/log.txt:\nplanning\nout of memory"
    )


@installed
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # nnU-Net's own
def test_stopped_in_the_middle_it_goes_on_and_predicts(tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(begun, total):
        if begun == 2:
            raise Stopped

    work, epochs = tmp_path / "work", r"^.*: Epoch (\d+)\s*$"
    with pytest.raises(Stopped):
        train(pairs(4), work, TINY, progress=stop)
    planned = (work / "prepared").stat().st_mtime_ns
    train(pairs(4), work, TINY)
    assert (work / "prepared").stat().st_mtime_ns == planned, "it was preprocessed twice"
    assert 0 < int(re.findall(epochs, (work / "log.txt").read_text(), re.MULTILINE)[0]) < 4, "it began anew"

    monkeypatch.setattr(nnunet, "_run", None)  # any use would fail
    (network, curve), (again, _) = train(pairs(4), work, TINY), nnunet.trained(work, TINY, "cpu")
    assert curve["step"] == [TINY.steps_per_epoch * epoch for epoch in range(1, TINY.epochs + 1)]
    assert all(len(column) == TINY.epochs for column in curve.values())
    image = sample(9, 70, 45).image
    mask = network.predict(image)
    assert (mask.shape, mask.dtype) == ((70, 45), np.bool_)
    assert np.array_equal(mask, again.predict(image))
    assert sum(parameter.numel() for parameter in network.trainable().values()) > 1_000_000
    assert (work / "raw" / DATASET / "dataset.json").exists()
    with pytest.raises(OutputError, match="holds another training of nnU-Net"):
        train(pairs(5), work, TINY)


@installed
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # nnU-Net's own
def test_it_is_fitted_and_predicts_through_the_same_doors(tmp_path, store):
    folder, test = write_folder(tmp_path / "discs", 4), write_folder(tmp_path / "test", 2, start=10)
    settings = {f"nnunet.{name}": value for name, value in asdict(TINY).items()}
    made = fit(folder, method="nnunet", settings=settings, device="cpu", seed=3, test=test, folds=0)
    out = tmp_path / "discs-specialist"
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "specialist.json", "specialist.safetensors"]
    loaded = load_specialist(out, device="cpu")
    image = sample(9, 70, 45).image
    assert np.array_equal(loaded.probability(image), made.probability(image))
    assert np.array_equal(loaded.predict(image), loaded.probability(image) > 0.5)
    assert loaded.identity == made.identity

    about = json.loads((out / "specialist.json").read_text())
    (member,) = about["members"]
    assert member["backbone"] is about["scores"]["untuned_test"] is None
    assert len(about["scores"]["test"]["images"]) == 2
    assert about["cost"]["trainable"] == sum(parameter.numel() for parameter in made.model.trainable().values())
    assert member["settings"]["nnunet.epochs"] == {"value": 4, "source": "set by the user"}
    report = (out / "report.html").read_text()
    assert "nnunet" in report
    assert "untuned" not in report
    runs = store.search_runs([store.get_experiment_by_name("ptsam-auto").experiment_id])
    (run,) = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(store.get_metric_history(run.info.run_id, "loss/total")) == TINY.epochs

    predict(PredictOptions(out, [folder / "images"], tmp_path / "masks"), Terminal.silent())
    assert len(list((tmp_path / "masks").glob("*.png"))) == 4
    with pytest.raises(SpecialistError, match=r"does not use a backbone. Remove --backbone.$"):
        load_specialist(out, backbone="nano")

    # What a stranger's specialist names is not run.
    architecture = member["design"]["plans"]["configurations"]["2d"]["architecture"]
    for part, evil in [("network_class_name", "subprocess.Popen"), ("conv_op", "torch.nn.functional.os.system")]:
        kept = dict(architecture, arch_kwargs=dict(architecture["arch_kwargs"]))
        (architecture if part in architecture else architecture["arch_kwargs"])[part] = evil
        (out / "specialist.json").write_text(json.dumps(about))
        with pytest.raises(SpecialistError, match=f"nnU-Net's plans name {evil}; expected a network or a layer of"):
            load_specialist(out)
        architecture.clear()
        architecture.update(kept)
    del member["design"]["plans"]
    (out / "specialist.json").write_text(json.dumps(about))
    with pytest.raises(SpecialistError, match="is damaged"):
        load_specialist(out)


def test_what_it_has_no_use_for_is_refused_at_once(discs, tmp_path):
    with pytest.raises(ConfigError) as error:
        fit(discs, out=tmp_path / "out", method="nnunet", backbone="nano", workers=2, settings={"recipe.epochs": 3})
    assert str(error.value) == (
        "The command has 3 problems:\n"
        "  --set recipe.epochs  the settings of nnU-Net begin with nnunet.\n"
        "  --backbone           nnU-Net trains a network from scratch\n"
        "  --workers            nnU-Net starts its own worker processes; set nnunet.workers with --set\n"
        "Remove these options, then run the command again."
    )
    with pytest.raises(ConfigError, match=r"There is no setting nnunet.epoch. Did you mean nnunet.epochs\?"):
        fit(discs, out=tmp_path / "out", method="nnunet", settings={"nnunet.epoch": 3})
    with pytest.raises(ConfigError, match=r"nnunet.epochs is 'many'; expected a whole number"):
        fit(discs, out=tmp_path / "out", method="nnunet", settings={"nnunet.epochs": "many"})
    assert not (tmp_path / "out").exists()

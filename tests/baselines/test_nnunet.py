"""nnU-Net as its users run it: the paper's network, our images, and a training that can be stopped."""

import importlib.util
import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

from ptsam_auto.baselines import nnunet
from ptsam_auto.baselines.nnunet import DATASET, Nnunet, NnunetConfig, train, write_raw
from ptsam_auto.data.folder import read_folder
from ptsam_auto.errors import ConfigError, OutputError, PtsamError
from tests.toys import pairs, sample

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
    assert str(error.value) == "nnU-Net is not installed. Install it: pip install 'ptsam-auto[nnunet]'"
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
    assert str(error.value) == f"{tmp_path} is not empty and not nnU-Net's.\nChoose another folder, or empty it first."


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
    trained, again = train(pairs(4), work, TINY), Nnunet(work, "cpu")
    image = sample(9, 70, 45).image
    mask = trained.predict(image)
    assert (mask.shape, mask.dtype) == ((70, 45), np.bool_)
    assert np.array_equal(mask, again.predict(image))
    assert trained.trainable > 1_000_000
    assert (work / "raw" / DATASET / "dataset.json").exists()
    with pytest.raises(OutputError, match="holds another training of nnU-Net"):
        train(pairs(5), work, TINY)

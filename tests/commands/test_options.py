"""The options offer exactly the names that exist, although they are built without importing torch."""

import re
from typing import get_args

from ptsam_auto import registry
from ptsam_auto.commands.command_line import described_fields
from ptsam_auto.commands.options import (
    CompareOptions,
    EvaluateOptions,
    FitMethodName,
    FitOptions,
    PredictOptions,
    SamMethodName,
)
from ptsam_auto.compare.entries import ENTRIES
from ptsam_auto.methods import sam_methods
from ptsam_auto.sam import checkpoint


def help_of(options, name):
    return described_fields(options)[name][2].help


def test_every_backbone_is_in_the_help():
    assert f"portfolio uses), {', '.join(checkpoint.NAMES)}, the path of a checkpoint, or " in help_of(
        FitOptions, "backbone"
    )
    for options in (FitOptions, PredictOptions, EvaluateOptions):
        assert checkpoint.MEDSAM in help_of(options, "backbone")


def test_every_method_can_be_chosen():
    assert get_args(SamMethodName) == tuple(sam_methods.SAM_METHODS)
    assert get_args(FitMethodName) == tuple(registry.METHODS)


def test_every_compared_method_is_in_the_help():
    names = help_of(CompareOptions, "methods").partition("some of ")[2]
    words = re.findall(r"[\w-]+", names.replace("the control experiments", ""))
    assert [word for word in words if word != "and"] == list(ENTRIES)

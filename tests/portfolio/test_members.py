"""The portfolio that is shipped can be used; one's own is written whole, and refused by its path if it is wrong."""

import pytest

from ptsam_auto import registry
from ptsam_auto.errors import ConfigError, OutputError
from ptsam_auto.portfolio import members
from ptsam_auto.portfolio.members import PAPER_MEMBER, Member, Portfolio, frozen
from ptsam_auto.registry import Choices
from ptsam_auto.sam import checkpoint
from ptsam_auto.training import defaults
from ptsam_auto.training.settings import Settings

SHIPPED = frozen().members


def settings_of(member, family):
    return Settings.from_paths({**defaults.values(family, member.adapt), **member.settings})


@pytest.mark.parametrize("member", SHIPPED, ids=[member.name for member in SHIPPED])
def test_every_members_settings_are_valid_on_its_backbone(member):
    assert member.backbone in checkpoint.NAMES
    assert member.adapt in defaults.adaptations(member.backbone, "ptsam")
    settings_of(member, member.backbone)


def test_the_papers_member_is_valid_on_every_backbone_and_only_used_if_asked_for():
    for family in defaults.families():
        settings = settings_of(PAPER_MEMBER, family)
        assert (settings.recipe.epochs, settings.recipe.views, settings.method.mask_token) == (1000, 0, 1)
    assert PAPER_MEMBER not in SHIPPED
    assert frozen().named("paper") is PAPER_MEMBER


def test_a_machine_without_network_and_gpu_has_a_member():
    assert any(member.backbone == "nano" and not member.needs_gpu for member in SHIPPED)
    assert len({member.name for member in SHIPPED}) == len(SHIPPED)


def test_a_member_plans_the_training_that_it_says(toy):
    one = next(member for member in SHIPPED if "method.tiles" in member.settings)
    choices = Choices(adapt=one.adapt, settings=one.settings)
    plan = registry.method("ptsam").plan(choices, checkpoint.load(toy))
    assert plan.config["method"]["tiles"] == one.settings["method.tiles"]


def test_an_unknown_member_gets_a_suggestion():
    with pytest.raises(ConfigError) as error:
        frozen().named("nano-whol")
    assert str(error.value) == "There is no member nano-whol in the portfolio. Did you mean nano-whole?"


def test_a_labs_own_portfolio_replaces_the_shipped_one(tmp_path, monkeypatch):
    path = tmp_path / "lab.toml"
    path.write_text('[[member]]\nname = "ours"\nbackbone = "nano"\nadapt = "decoder"\n[evidence]\nsearch = "x"\n')
    monkeypatch.setenv("PTSAM_AUTO_PORTFOLIO", str(path))
    assert frozen().members == (Member("ours", "nano", "decoder"),)
    assert frozen().evidence == {"search": "x"}


def test_the_labs_own_portfolio_is_beside_its_own_defaults():
    assert members.user_file() == defaults.user_file().with_name("portfolio.toml")


ONE = '[[member]]\nname = "ours"\nbackbone = "nano"\nadapt = "decoder"\n'


@pytest.mark.parametrize(("text", "what"), [
    ("[[member", "Expected"),
    ('[[member]]\nname = "ours"\nadapt = "decoder"\n', "members.0.backbone: Field required"),
    (ONE + "setting = {}\n", "unknown key setting; expected one of name, backbone, adapt, settings, source, needs_gpu, "
     "dice, seconds, doubling, fewest_steps"),
    (ONE + "doubling = { mean = -9.0, deviation = 0.1, datasets = 6 }\n", "doubling: expected a mean of -1 to 1"),
    (ONE + "doubling = { mean = -0.2 }\n", "members.0.doubling.deviation: Field required"),
    (ONE + "fewest_steps = 0\n", "fewest_steps: expected a whole number of at least 1"),
    (ONE.replace("member", "members"), "unknown key members; expected one of member, evidence"),
    ("member = 3\n", "members: Input should be"),
    (ONE + ONE, "two members are named ours"),
])  # fmt: skip
def test_a_damaged_file_is_refused_with_its_path(tmp_path, monkeypatch, text, what):
    path = tmp_path / "lab.toml"
    path.write_text(text)
    monkeypatch.setenv("PTSAM_AUTO_PORTFOLIO", str(path))
    with pytest.raises(ConfigError) as error:
        frozen()
    first, last = str(error.value).splitlines()
    assert first.startswith(f"{path} cannot be read: ")
    assert what in first
    assert last == "Correct or delete this file; it holds your own portfolio."


LEARNED = Portfolio(
    (
        Member("nano-whole", "nano", "decoder", {"method.tiles": 1}, "search toy", dice={"cells": 0.8}, seconds=9.5),
        Member("vit_b-encoder", "vit_b", "encoder", source="paper", needs_gpu=True, fewest_steps=20),
    ),
    {"search": "toy", "data": [{"name": "cells", "fingerprint": "f" * 64, "images": ["a" * 12, "b" * 12]}]},
)


def test_a_portfolio_comes_back_as_it_was_written_and_is_then_used(tmp_path):
    path = tmp_path / "new folder" / "portfolio.toml"
    members.write(path, LEARNED, force=False)
    assert members.read(path) == LEARNED
    built_in = members.frozen()
    members.write(members.user_file(), LEARNED, force=False)
    assert members.frozen() == LEARNED != built_in


def test_a_portfolio_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "portfolio.toml"
    path.write_text("# hours of work\n")
    with pytest.raises(OutputError) as error:
        members.write(path, LEARNED, force=False)
    assert str(error.value) == f"{path} exists.\nChoose another --to, or replace it with --force."
    assert path.read_text() == "# hours of work\n"
    members.write(path, LEARNED, force=True)
    assert members.read(path) == LEARNED


def test_a_place_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"Cannot write .*/file/portfolio.toml: "):
        members.write(tmp_path / "file" / "portfolio.toml", LEARNED, force=False)


def test_names_say_what_a_member_is_and_no_two_are_equal():
    whole, tiles = {"method.tiles": 1}, {"method.tiles": 2}
    found = members.names_of([
        ("nano", "decoder", whole), ("nano", "decoder", tiles), ("nano", "decoder", whole),
        ("/lab/ours.safetensors", "decoder", whole), ("nano", "encoder", tiles), ("nano", "decoder", whole),
    ])  # fmt: skip
    assert found == [
        "nano-whole", "nano-tiles-2", "nano-whole-b", "ours-whole", "nano-encoder-tiles-2", "nano-whole-c"
    ]  # fmt: skip


def test_a_long_portfolio_of_one_kind_still_has_names():
    found = members.names_of([("nano", "decoder", {"method.tiles": 1})] * 30)
    assert len(set(found)) == 30
    assert found[24:28] == ["nano-whole-y", "nano-whole-z", "nano-whole-aa", "nano-whole-ab"]


def test_images_that_chose_the_portfolio_are_recognised():
    assert members.searched_on(["a" * 64]) == {}
    members.write(members.user_file(), LEARNED, force=False)
    assert members.searched_on(["a" * 64, "b" * 64, "c" * 64]) == {"cells": 2}
    assert members.searched_on(["c" * 64]) == {}


@pytest.mark.parametrize(
    "evidence",
    [
        "date = 2026-11-26",
        "data = [true]",
        'data = "all"',
        "data = [{ name = 3, images = [] }]",
        "splits = 'two'",
        "rule = 1",
    ],
)
def test_evidence_of_another_type_is_a_message_and_no_traceback(tmp_path, monkeypatch, evidence):
    path = tmp_path / "portfolio.toml"
    path.write_text(f'[[member]]\nname = "a"\nbackbone = "nano"\nadapt = "decoder"\n[evidence]\n{evidence}\n')
    monkeypatch.setenv("PTSAM_AUTO_PORTFOLIO", str(path))
    with pytest.raises(ConfigError, match=r"portfolio\.toml cannot be read: "):
        members.searched_on(["a" * 64])

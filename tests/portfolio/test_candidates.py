"""What a user names is the only candidate; else these are the members that this machine can use."""

import pytest

from ptsam_auto.errors import BackboneError, ConfigError
from ptsam_auto.portfolio import candidates
from ptsam_auto.portfolio.candidates import candidates_for
from ptsam_auto.registry import Choices
from ptsam_auto.sam import checkpoint
from ptsam_auto.terminal import Terminal


@pytest.fixture
def lab(tmp_path, monkeypatch, toy):
    """A portfolio of three members, one for a GPU, on a toy and on a backbone that is not there."""
    gone = tmp_path / "gone.safetensors"
    path = tmp_path / "lab.toml"
    rows = [("large", toy, True), ("whole", toy, False), ("absent", gone, False), ("tiles", toy, False)]
    path.write_text("".join(
        f'[[member]]\nname = "{name}"\nbackbone = "{backbone}"\nadapt = "decoder"\nneeds_gpu = {str(gpu).lower()}\n'
        f'settings = {{ "method.tiles" = {2 if name == "tiles" else 1} }}\n'
        for name, backbone, gpu in rows
    ))  # fmt: skip
    monkeypatch.setenv("PTSAM_AUTO_PORTFOLIO", str(path))
    return path


def found(member=None, method="ptsam", terminal=None, **choices):
    return candidates_for(method, Choices(**choices), member, (), terminal or Terminal.silent())


def names(some):
    return [one.name for one in some]


def test_members_that_this_machine_cannot_use_are_left_out_and_named(lab, capsys):
    some = found(terminal=Terminal())
    assert names(some) == ["whole", "tiles"]
    assert "absent is left out: " in capsys.readouterr().err
    assert [one.plan.config["method"]["tiles"] for one in some] == [1, 2]
    assert some[0].backbone is some[1].backbone, "loaded once, so that they share its features"


def test_on_a_gpu_its_members_are_there_too(lab):
    assert names(found(device="cuda")) == ["large", "whole", "tiles"]


def test_a_backbone_of_the_portfolio_keeps_its_members(lab, toy):
    assert names(found(backbone=toy)) == ["whole", "tiles"]


def test_without_any_backbone_of_the_portfolio_it_says_so(tmp_path, lab):
    text = lab.read_text()
    lab.write_text(text[text.index('[[member]]\nname = "absent"') : text.index('[[member]]\nname = "tiles"')])
    with pytest.raises(BackboneError, match=r"gone\.safetensors"):
        found()


@pytest.mark.parametrize("choice", [
    {"adapt": "decoder"}, {"settings": {"recipe.epochs": 3}}, {"batch_size": 4},
    {"method": "autosam"},
])  # fmt: skip
def test_ones_own_configuration_is_the_only_candidate(lab, toy, choice):
    assert names(found(backbone=toy, **choice)) == [choice.get("method", "ptsam")]


def test_a_checkpoint_that_the_portfolio_does_not_know_is_the_only_candidate(toy):
    assert names(found(backbone=toy)) == ["ptsam"]


def test_a_member_is_used_alone_also_with_a_setting_of_ones_own(lab):
    (one,) = found(member="tiles", settings={"recipe.epochs": 3})
    assert (one.name, one.plan.config["method"]["tiles"], one.plan.config["recipe"]["epochs"]) == ("tiles", 2, 3)


def test_the_papers_member_is_used_on_the_backbone_that_is_named(toy):
    (one,) = found(member="paper", backbone=toy)
    assert (one.name, one.plan.config["recipe"]["epochs"], one.backbone.name) == ("paper", 1000, toy)


def test_an_unknown_member_gets_a_suggestion(lab):
    with pytest.raises(ConfigError) as error:
        found(member="whol")
    assert str(error.value) == "There is no member whol in the portfolio. Did you mean whole?"


@pytest.mark.parametrize(("choice", "message"), [
    ({"method": "autosam"}, "The member whole has ptsam, not autosam. Remove --method or --member."),
    ({"adapt": "encoder"}, "The member whole has decoder, not encoder. Remove --adapt or --member."),
])  # fmt: skip
def test_a_member_and_what_contradicts_it_are_refused(lab, choice, message):
    with pytest.raises(ConfigError) as error:
        found(member="whole", **choice)
    assert str(error.value) == message


def test_another_backbone_than_the_members_is_refused(lab, toy):
    with pytest.raises(ConfigError) as error:
        found(member="whole", backbone="nano")
    assert str(error.value) == f"The member whole has {toy}, not nano. Remove --backbone or --member."


def test_the_shipped_portfolio_works_without_a_network(monkeypatch):
    def only_nano(name, terminal):
        if name != "nano":
            raise BackboneError(f"{name} cannot be downloaded.")
        return checkpoint.load("nano")

    monkeypatch.setattr(candidates, "choose_backbone", only_nano)
    assert names(found()) == ["nano-whole", "nano-encoder-tiles-4"]

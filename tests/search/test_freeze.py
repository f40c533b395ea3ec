"""From evidence to defaults: the rule, the file, and what `fit` makes of it."""

import json
import tomllib

import pytest

from ptsam_auto import fit, load_specialist
from ptsam_auto.data.folder import read_folder
from ptsam_auto.errors import ConfigError, OutputError, SearchError
from ptsam_auto.sam import checkpoint
from ptsam_auto.search.freeze import freeze, select
from ptsam_auto.search.records import Search
from ptsam_auto.show import Show
from ptsam_auto.tracking.journal import Journal
from ptsam_auto.training import defaults
from tests.search.toys import ended
from tests.toys import write_folder


def test_the_smallest_within_one_standard_error_is_chosen():
    trials = [
        ended(0, (0.70, 0.72), trainable=2048),
        ended(1, (0.705, 0.725), trainable=8192),  # the best: 0.715 +- 0.007
        ended(2, (0.71, 0.71), trainable=512),
        ended(3, (0.70, 0.70), trainable=256),  # smaller, but not as good
        ended(4, (0.90, 0.90), trainable=256, state="stopped"),
    ]
    selection = select(trials)
    assert selection.best.number == 1
    assert selection.best.standard_error == pytest.approx(0.007071, abs=1e-5)
    assert selection.chosen.number == 2
    assert {trial.number for trial in selection.within} == {0, 1, 2}


def test_of_the_same_size_the_cheapest_and_then_the_best_is_chosen():
    long = ended(0, (0.70, 0.72), **{"recipe.epochs": 80})
    short, small_bank = ended(1, (0.705, 0.715)), ended(2, (0.704, 0.714), **{"recipe.views": 4})
    better = ended(3, (0.706, 0.716), **{"recipe.views": 4})
    fresh, tiled = ended(4, (0.705, 0.716), **{"recipe.views": 0}), ended(5, (0.705, 0.716), **{"method.tiles": 2})
    order = [trial.number for trial in select([long, short, small_bank, better, fresh, tiled]).within]
    assert order == [3, 2, 1, 4, 0, 5]


def test_a_best_that_never_varies_is_chosen_over_what_is_below():
    assert select([ended(0, (0.7, 0.7)), ended(1, (0.69, 0.69), trainable=256)]).chosen.number == 0


@pytest.mark.parametrize(("trials", "message"), [
    ([], "No trial was trained to its end, so there is nothing to freeze."),
    ([ended(0, (0.7, 0.7), state="stopped")], "No trial was trained to its end, so there is nothing to freeze."),
    ([ended(0, (0.7,))], "With a single split there is no standard error, and the rule that chooses needs one.\n"
                         "Search with splits: 2 or more."),
])  # fmt: skip
def test_what_cannot_be_frozen(trials, message):
    with pytest.raises(SearchError) as error:
        select(trials)
    assert str(error.value) == message


@pytest.fixture
def searched(tmp_path):
    """A search of two trials on three discs; the second is better."""
    dataset = read_folder(write_folder(tmp_path / "seen", 3, start=50))
    folder = tmp_path / "toy-search"
    folder.mkdir()
    about = {
        "id": "0123",
        "created": "2026-11-23T01:02:03+00:00",
        "asked": {
            "space": "toy",
            "method": "ptsam",
            "adapt": "decoder",
            "splits": 2,
            "train_images": 16,
            "fixed": {"recipe.views": 16},
        },
        "family": "nano",
        "backbone": {"name": "nano", "sha256": "a" * 64},
        "base": {default.path: default.value for default in defaults.block("nano", "decoder")},
        "data": [
            {"name": "seen", "fingerprint": dataset.fingerprint, "images": [pair.digest for pair in dataset.pairs]}
        ],
        "versions": {"ptsam-auto": "0.1.0"},
        "commit": None,
    }
    (folder / "search.json").write_text(json.dumps(about))
    with Journal(folder / "journal.jsonl") as journal:
        for number, dice in enumerate((0.5, 0.7)):
            configuration = {"recipe.learning_rate": 0.05 / (1 + number), "method.decoder_prompts": 4}
            settings = {**about["base"], **configuration}
            journal.write({"event": "started", "trial": number, "configuration": configuration, "settings": settings})
            cells = {"seen/0": dice, "seen/1": dice + 0.02}
            rung = {"share": 1.0, "epoch": 40, "step": 800, "cells": cells, "loss": 0.3, "seconds": 9.0}
            journal.write({"event": "rung", "trial": number, **rung, "trainable": 1024, "encoded": 0})
            journal.write({"event": "finished", "trial": number})
    return folder


def frozen(path):
    return tomllib.loads(path.read_text())


def test_a_rivals_block_is_its_own_and_the_shared_recipe_stays(searched, tmp_path, monkeypatch, capsys):
    about = json.loads((searched / "search.json").read_text())
    about["asked"] |= {"method": "autosam", "fixed": {}}
    about["base"] = {default.path: default.value for default in defaults.block("nano", "decoder", "autosam")}
    (searched / "search.json").write_text(json.dumps(about))
    journal = searched / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    journal.unlink()
    with Journal(journal) as rewritten:
        for event in events:
            if event["event"] == "started":
                event["configuration"].pop("method.decoder_prompts")
                event["settings"] = {**about["base"], **event["configuration"]}
            rewritten.write(event)
    lab = tmp_path / "lab.toml"
    monkeypatch.setenv("PTSAM_AUTO_DEFAULTS", str(lab))
    before = {adapt: defaults.block("nano", adapt) for adapt in defaults.ADAPTATIONS}
    shipped = defaults.evidence("nano", "decoder")
    freeze(searched, lab, Show())
    assert capsys.readouterr().err.endswith("See it: ptsam-auto defaults nano --method autosam\n")
    assert frozen(lab)["nano"].keys() == {"autosam"}
    assert frozen(lab)["nano"]["autosam"]["decoder"].keys() == {"recipe.learning_rate"}
    values = {default.path: default.value for default in defaults.block("nano", "decoder", "autosam")}
    assert values == about["base"] | {"recipe.learning_rate": 0.025}
    assert {adapt: defaults.block("nano", adapt) for adapt in defaults.ADAPTATIONS} == before, "PTSAM's stay"
    assert defaults.evidence("nano", "decoder", "autosam")["search"] == "toy"
    assert defaults.evidence("nano", "decoder") == shipped
    (image, *_) = about["data"][0]["images"]
    assert defaults.met("nano", "decoder", "autosam", [image]) == {"seen": 1}
    assert defaults.met("nano", "decoder", "ptsam", [image]) == {}


def test_the_block_is_written_with_its_evidence(searched, tmp_path, capsys):
    freeze(searched, tmp_path / "lab.toml", Show())
    printed = capsys.readouterr()
    assert "chosen" in printed.out
    assert "71.0 +- 1.0" in printed.out
    assert printed.err.endswith("See it: ptsam-auto defaults nano\n")
    content = frozen(tmp_path / "lab.toml")
    block, evidence = content["nano"]["decoder"], content["nano"]["searched"]["decoder"]
    source = "search toy, 2026-11-23: Dice 71.0 +- 1.0, 1 datasets x 2 splits"
    assert block == {
        "recipe.learning_rate": {"value": 0.025, "source": source},
        "method.decoder_prompts": {"value": 4, "source": source},
        "recipe.views": {"value": 16, "source": source},
    }
    assert (evidence["search"], evidence["date"], evidence["splits"]) == ("toy", "2026-11-23", 2)
    assert (evidence["dice"], evidence["standard_error"], evidence["trials"]) == (0.71, 0.01, "2 finished")
    assert evidence["versions"] == {"ptsam-auto": "0.1.0"}
    assert len(evidence["data"][0]["fingerprint"]) == 64
    assert all(len(image) == defaults.DIGEST for image in evidence["data"][0]["images"])


def test_comments_and_other_blocks_stay(searched, tmp_path):
    path = tmp_path / "lab.toml"
    path.write_text(
        '# Our microscope.\n[vit_b.decoder]\n"recipe.epochs" = { value = 7, source = "us" }  # enough\n\n'
        '[nano.decoder]\n# kept\n"recipe.epochs" = { value = 9, source = "us" }\n'
    )
    freeze(searched, path, Show.nothing())
    freeze(searched, path, Show.nothing())
    text = path.read_text()
    assert text.startswith(
        '# Our microscope.\n[vit_b.decoder]\n"recipe.epochs" = { value = 7, source = "us" }  # enough'
    )
    assert "# kept\n" in text
    block = frozen(path)["nano"]["decoder"]
    assert block["recipe.learning_rate"]["value"] == 0.025
    assert block["recipe.epochs"]["value"] == 40, "what the trial trained with, not searched but not what stood here"


def test_the_shipped_file_can_be_frozen_into(searched, tmp_path):
    from importlib import resources

    shipped = (resources.files("ptsam_auto.training") / "defaults.toml").read_text()
    path = tmp_path / "defaults.toml"
    path.write_text(shipped)
    freeze(searched, path, Show.nothing())
    assert path.read_text().splitlines()[:2] == shipped.splitlines()[:2], "its opening comment"
    before, after = tomllib.loads(shipped), frozen(path)
    assert after["vit_b"] == before["vit_b"]
    assert after["nano"]["decoder"]["recipe.epochs"] == before["nano"]["decoder"]["recipe.epochs"]
    assert after["nano"]["decoder"]["recipe.learning_rate"]["value"] == 0.025


def test_what_ships_was_searched_on_the_weights_that_ship():
    found = defaults.evidence("nano", "decoder")
    assert found["backbone"] == checkpoint.load("nano").sha256, "search again, then freeze"
    assert found["splits"] >= 2
    assert not {"nuclei_dsb2018", "livecell_mini"} & {one["name"] for one in found["data"]}, (
        "scores are quoted on these"
    )


def test_the_labs_own_defaults_go_before_the_shipped_ones(searched):
    before = {default.path: default for default in defaults.block("nano", "decoder")}
    assert defaults.evidence("nano", "decoder")["search"] == "decoder", "the shipped ones' own evidence"
    freeze(searched, None, Show.nothing())
    after = {default.path: default for default in defaults.block("nano", "decoder")}
    assert after["recipe.learning_rate"].value == 0.025
    assert after["recipe.learning_rate"].source.startswith("search toy, 2026-11-23")
    assert after["recipe.epochs"] == before["recipe.epochs"]
    assert defaults.block("vit_b", "decoder"), "other backbones keep theirs"
    assert defaults.evidence("nano", "decoder")["search"] == "toy"


def test_what_is_said_of_one_backbone_holds_for_those_like_it(monkeypatch):
    own = '[vit_b.decoder]\n"recipe.epochs" = { value = 7, source = "us" }\n'
    defaults.user_file().write_text(own)
    for family in ("vit_b", "vit_l"):
        assert {default.path: default.value for default in defaults.block(family, "decoder")}["recipe.epochs"] == 7
    defaults.user_file().write_text(own.replace("vit_b", "vit_l"))
    values = {f: {d.path: d.value for d in defaults.block(f, "decoder")} for f in ("vit_b", "vit_l")}
    assert (values["vit_b"]["recipe.epochs"], values["vit_l"]["recipe.epochs"]) == (100, 7)


@pytest.mark.parametrize(("text", "message"), [
    ("[nano", "Expected"),
    ("[resnet]\n", "there is no backbone resnet; there are vit_b, vit_l, vit_h, nano."),
    ('[nano.decoder]\n"recipe.epochs" = 7\n', "nano.decoder, recipe.epochs: expected { value = ..., source = ... }."),
])  # fmt: skip
def test_a_file_of_ones_own_that_is_wrong(text, message):
    defaults.user_file().write_text(text)
    with pytest.raises(ConfigError) as error:
        defaults.block("nano", "decoder")
    assert str(error.value).startswith(str(defaults.user_file()))
    assert message in str(error.value)


def test_a_place_that_cannot_be_written_to(searched, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((OutputError, ConfigError)) as error:
        freeze(searched, tmp_path / "file" / "lab.toml", Show.nothing())
    assert str(tmp_path / "file") in str(error.value)


def test_fit_uses_what_was_frozen_and_says_when_it_meets_what_chose_it(searched, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    freeze(searched, None, Show.nothing())
    quick = {"recipe.epochs": 1, "recipe.steps_per_epoch": 2, "recipe.views": 2, "method.tiles": 1}
    settings = {"backbone": toy, "adapt": "decoder", "settings": quick, "track": False}

    fresh = fit(write_folder(tmp_path / "fresh", 4), **settings).about
    assert fresh["recipe"]["learning_rate"] == 0.025
    assert fresh["cost"]["trainable"] == 1024
    assert (fresh["searched"]["search"], fresh["searched"]["date"]) == ("toy", "2026-11-23")
    assert not any("were chosen on" in alarm for alarm in fresh["alarms"])

    write_folder(tmp_path / "both", 4, start=4)
    both = fit(write_folder(tmp_path / "both", 2, start=50), show=Show(), **settings).about
    alarm = "The defaults were chosen on 2 of these images (2 of seen): do not quote this score."
    assert alarm in both["alarms"]
    assert alarm in capsys.readouterr().err
    assert alarm in (tmp_path / "both-specialist" / "report.html").read_text()
    assert alarm in load_specialist(tmp_path / "both-specialist").about["alarms"]


def test_a_search_says_what_it_has(searched):
    from ptsam_auto.search.records import read_search

    found = read_search(searched)
    assert isinstance(found, Search)
    assert [trial.state for trial in found.trials] == ["finished", "finished"]

"""From evidence to defaults: the rule, the file, and what `fit` makes of it."""

import tomllib
from dataclasses import replace

import pytest

from ptsam_auto import fit, load_specialist
from ptsam_auto.commands.defaults import defaults as show_defaults
from ptsam_auto.commands.freeze import freeze as commands_freeze
from ptsam_auto.commands.options import DefaultsOptions, FreezeOptions
from ptsam_auto.data.folder import read_folder
from ptsam_auto.errors import ConfigError, OutputError, SearchError
from ptsam_auto.experiment.folds import DatasetRecord, NamedDataset
from ptsam_auto.experiment.journal import Journal
from ptsam_auto.experiment.work_folder import Origin
from ptsam_auto.portfolio import members
from ptsam_auto.portfolio.members import Member
from ptsam_auto.records import to_json
from ptsam_auto.sam import checkpoint
from ptsam_auto.search.record import Ended, Measured, Rung, Search, SearchedBackbone, Started, read_search
from ptsam_auto.search.selection import select
from ptsam_auto.search.space import Choice
from ptsam_auto.specialist.record import BackboneRecord
from ptsam_auto.terminal import Terminal
from ptsam_auto.training import defaults
from ptsam_auto.training.evidence import DIGEST
from ptsam_auto.training.settings import Settings
from tests.search.toys import ended, record
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
    ([], "No trial finished, so there is no configuration to freeze."),
    ([ended(0, (0.7, 0.7), state="stopped")], "No trial finished, so there is no configuration to freeze."),
    ([ended(0, (0.7,))], "With a single split there is no standard error, which the selection rule needs.\n"
                         "Run a search with at least 2 splits (splits: 2)."),
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
    write(folder, record(
        fixed={"recipe.views": 16},
        origin=Origin("0123", "2026-11-23T01:02:03+00:00", {"ptsam-auto": "0.1.0"}, None),
        base=defaults.values("nano", "decoder"),
        data=(DatasetRecord.of(NamedDataset("seen", dataset.pairs)),),
    ), {"recipe.learning_rate": 0.05, "method.decoder_prompts": 4})  # fmt: skip
    return folder


def write(folder, of, tried):
    """A search whose first trial has these settings, and whose second half the learning rate and a better score."""
    (folder / "search.json").write_text(to_json(of))
    (folder / "journal.jsonl").unlink(missing_ok=True)
    with Journal(folder / "journal.jsonl") as journal:
        for number, dice in enumerate((0.5, 0.7)):
            configuration = {**tried, "recipe.learning_rate": 0.05 / (1 + number)}
            journal.write(Started(number, 0.0, configuration, {**of.backbones[0].base["decoder"], **configuration}))
            folds = {"seen/0": dice, "seen/1": dice + 0.02}
            journal.write(Measured(number, 0.0, Rung(1.0, 40, 800, folds, 0.3, 9.0), 1024, 0))
            journal.write(Ended(number, 0.0, "finished"))


def freeze(folder, to, terminal):
    return commands_freeze(FreezeOptions(folder, to), terminal)


def frozen(path):
    return tomllib.loads(path.read_text())


def test_a_rivals_block_is_its_own_and_the_shared_recipe_stays(searched, tmp_path, monkeypatch, capsys):
    found = read_search(searched).record
    base = defaults.values("nano", "decoder", "autosam")
    request = replace(found.request, method="autosam", fixed={})
    backbone = replace(found.backbones[0], base={"decoder": base})
    write(searched, replace(found, request=request, backbones=(backbone,)), {"recipe.learning_rate": 0.05})
    lab = tmp_path / "lab.toml"
    monkeypatch.setenv("PTSAM_AUTO_DEFAULTS", str(lab))
    before = {adapt: defaults.block("nano", adapt) for adapt in defaults.ADAPTATIONS}
    shipped = defaults.evidence("nano", "decoder")
    freeze(searched, lab, Terminal())
    assert capsys.readouterr().err.endswith("Show it with: ptsam-auto defaults nano --method autosam\n")
    assert frozen(lab)["nano"].keys() == {"autosam"}
    assert frozen(lab)["nano"]["autosam"]["decoder"].keys() == {"recipe.learning_rate"}
    values = defaults.values("nano", "decoder", "autosam")
    assert values == base | {"recipe.learning_rate": 0.025}
    assert {adapt: defaults.block("nano", adapt) for adapt in defaults.ADAPTATIONS} == before, "PTSAM's stay"
    assert defaults.evidence("nano", "decoder", "autosam")["search"] == "toy"
    assert defaults.evidence("nano", "decoder") == shipped
    (image, *_) = found.data[0].images
    assert defaults.searched_on("nano", "decoder", "autosam", [image]) == {"seen": 1}
    assert defaults.searched_on("nano", "decoder", "ptsam", [image]) == {}


def test_the_block_is_written_with_its_evidence(searched, tmp_path, capsys):
    freeze(searched, tmp_path / "lab.toml", Terminal())
    printed = capsys.readouterr()
    assert "chosen" in printed.out
    assert "71.0 +- 1.0" in printed.out
    assert printed.err.endswith("Show it with: ptsam-auto defaults nano\n")
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
    assert all(len(image) == DIGEST for image in evidence["data"][0]["images"])


def test_comments_and_other_blocks_stay(searched, tmp_path):
    path = tmp_path / "lab.toml"
    path.write_text(
        '# Our microscope.\n[vit_b.decoder]\n"recipe.epochs" = { value = 7, source = "us" }  # enough\n\n'
        '[nano.decoder]\n# kept\n"recipe.epochs" = { value = 9, source = "us" }\n'
    )
    freeze(searched, path, Terminal.silent())
    freeze(searched, path, Terminal.silent())
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
    freeze(searched, path, Terminal.silent())
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
    before = defaults.block("nano", "decoder")
    assert defaults.evidence("nano", "decoder")["search"] == "decoder", "the shipped ones' own evidence"
    freeze(searched, None, Terminal.silent())
    after = defaults.block("nano", "decoder")
    assert after["recipe.learning_rate"].value == 0.025
    assert after["recipe.learning_rate"].source.startswith("search toy, 2026-11-23")
    assert after["recipe.epochs"] == before["recipe.epochs"]
    assert defaults.block("vit_b", "decoder"), "other backbones keep theirs"
    assert defaults.evidence("nano", "decoder")["search"] == "toy"


def test_what_is_said_of_one_backbone_holds_for_those_like_it(monkeypatch):
    own = '[vit_b.decoder]\n"recipe.epochs" = { value = 7, source = "us" }\n'
    defaults.user_file().write_text(own)
    for family in ("vit_b", "vit_l"):
        assert defaults.values(family, "decoder")["recipe.epochs"] == 7
    defaults.user_file().write_text(own.replace("vit_b", "vit_l"))
    values = {f: defaults.values(f, "decoder") for f in ("vit_b", "vit_l")}
    assert (values["vit_b"]["recipe.epochs"], values["vit_l"]["recipe.epochs"]) == (100, 7)


@pytest.mark.parametrize(("text", "message"), [
    ("[nano", "Expected"),
    ("[resnet]\n", "there is no backbone resnet; expected one of vit_b, vit_l, vit_h, mobile_sam, lite_medsam, nano."),
    ('[nano.decoder]\n"recipe.epochs" = 7\n', "nano.decoder, recipe.epochs: expected { value = ..., source = ... }."),
])  # fmt: skip
def test_a_file_of_ones_own_that_is_wrong(text, message):
    defaults.user_file().write_text(text)
    with pytest.raises(ConfigError) as error:
        defaults.block("nano", "decoder")
    assert str(error.value).startswith(str(defaults.user_file()))
    assert message in str(error.value)


@pytest.mark.parametrize(("text", "message"), [
    ("nano = 3", ": nano: expected a table, found 3."),
    ("[nano]\ndecoder = 1.5", ": nano.decoder: expected settings."),
    ("[nano]\nautosam = 'x'", ": nano.autosam: expected a table, found 'x'."),
    ("[nano]\nadapt = 'decoder'", ": nano.adapt: expected a table, found 'decoder'."),
    (
        "[nano]\nadapt = { cpu = 'both', cuda = 'decoder', source = 'us' }",
        ": nano.adapt: expected { cpu = ..., cuda = ..., source = ... }, each decoder or encoder.",
    ),
    (
        "[nano.searched.decoder]\ndata = [{ name = 'discs', images = 7 }]",
        ": nano.searched.decoder: data.0.images: Input should be a valid array.",
    ),
    ("[nano.searched.decoder]\ndice = 'high'", ": nano.searched.decoder: dice: Input should be a valid number."),
    ("[nano.searched.decoder]\ndate = 2026-11-25", ": nano.searched.decoder: Object of type date is not JSON"),
    ("[nano.decoder]\n'recipe.epochs' = { value = 7, source = 7 }", ": nano.decoder, recipe.epochs: expected { value"),
    ("x = " + "[" * 5000, " cannot be read: "),
    ("#" * 2_000_001, " cannot be read: it has more than 2,000,000 bytes."),
])  # fmt: skip
def test_own_defaults_of_a_wrong_type_are_a_message_that_names_the_place(text, message):
    defaults.user_file().write_text(text)
    with pytest.raises(ConfigError) as error:
        defaults.values("nano", "decoder")
    assert str(error.value).startswith(f"{defaults.user_file()}{message}")


def test_own_defaults_that_lack_a_part_of_their_search_are_shown_without_it():
    defaults.user_file().write_text("[nano.searched.encoder]\nsearch = 'ours'\n")
    terminal = Terminal.silent()
    show_defaults(DefaultsOptions("nano"), terminal)
    assert defaults.searched_on("nano", "encoder", "ptsam", ["a" * 64]) == {}


@pytest.mark.parametrize("text", ["[tool.mine]\nname = 'precious'\n", "nano = 3\n", "not = toml = at all"])
def test_a_file_of_another_program_is_not_written_into(searched, tmp_path, text):
    other = tmp_path / "pyproject.toml"
    other.write_text(text)
    with pytest.raises(ConfigError, match=r"(?s)pyproject\.toml.*choose another --to"):
        freeze(searched, other, Terminal.silent())
    assert other.read_text() == text


def test_a_place_that_cannot_be_written_to(searched, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((OutputError, ConfigError)) as error:
        freeze(searched, tmp_path / "file" / "lab.toml", Terminal.silent())
    assert str(tmp_path / "file") in str(error.value)


def test_fit_uses_what_was_frozen_and_says_when_it_meets_what_chose_it(searched, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    freeze(searched, None, Terminal.silent())
    quick = {"recipe.epochs": 1, "recipe.steps_per_epoch": 2, "recipe.views": 2, "method.tiles": 1}
    settings = {"backbone": toy, "adapt": "decoder", "settings": quick, "folds": 2, "track": False}

    fresh = fit(write_folder(tmp_path / "fresh", 4), **settings).record
    (member,) = fresh.members
    assert member.recipe["learning_rate"] == 0.025
    assert fresh.cost.trainable == 1024
    assert (member.searched["search"], member.searched["date"]) == ("toy", "2026-11-23")
    assert not any("were selected on" in warning for warning in fresh.warnings)

    write_folder(tmp_path / "both", 4, start=4)
    both = fit(write_folder(tmp_path / "both", 2, start=50), terminal=Terminal(), **settings).record
    warning = "The defaults were selected on 2 of these images (2 of seen). Do not report this score."
    assert warning in both.warnings
    assert warning in capsys.readouterr().err
    assert warning in (tmp_path / "both-specialist" / "report.html").read_text()
    assert warning in load_specialist(tmp_path / "both-specialist").record.warnings


def test_a_search_says_what_it_has(searched):
    found = read_search(searched)
    assert isinstance(found, Search)
    assert [trial.state for trial in found.trials] == ["finished", "finished"]


def test_a_folder_called_with_brackets_is_shown_by_its_name(searched, tmp_path, capsys):
    folder = searched.rename(searched.with_name("a[bold]b[red]"))
    freeze(folder, tmp_path / "lab.toml", Terminal())
    assert "a[bold]b[red]:" in "".join(capsys.readouterr().out.split("\n"))


@pytest.fixture
def searched_on_two(tmp_path):
    """A search of four trials on two backbones and two datasets, each backbone the better one on one of them."""
    backbones = tuple(
        SearchedBackbone(name, name, BackboneRecord(name, letter * 64), {"decoder": defaults.values(name, "decoder")})
        for name, letter in (("nano", "a"), ("lite_medsam", "b"))
    )
    data = [
        DatasetRecord.of(NamedDataset(name, read_folder(write_folder(tmp_path / name, 3, start=start)).pairs))
        for name, start in (("cells", 50), ("skin", 60))
    ]
    of = replace(
        record(search={"backbone": Choice(("nano", "lite_medsam")), "method.tiles": Choice((1, 2))}, splits=1),
        backbones=backbones,
        data=tuple(data),
    )
    folder = tmp_path / "two-search"
    folder.mkdir()
    (folder / "search.json").write_text(to_json(of))
    tried = [("nano", 1, 0.6, 0.7), ("nano", 2, 0.9, 0.5), ("lite_medsam", 1, 0.3, 0.9), ("lite_medsam", 2, 0.2, 0.2)]
    with Journal(folder / "journal.jsonl") as journal:
        for number, (backbone, tiles, cells, skin) in enumerate(tried):
            configuration = {"backbone": backbone, "method.tiles": tiles}
            base = of.backbone_of(configuration).base["decoder"]
            settings = Settings.from_paths({**base, "method.tiles": tiles}).as_paths()
            journal.write(Started(number, 0.0, configuration, settings))
            rung = Rung(1.0, 20, 400, {"cells/0": cells, "skin/0": skin}, 0.3, seconds=20.0)
            # The second trial on a backbone finds the views of the first.
            encoded, encoding = (128, 64.0) if number % 2 == 0 else (0, 0.0)
            journal.write(Measured(number, 0.0, rung, 1024, encoded, views=256, encoding=encoding))
            journal.write(Ended(number, 0.0, "finished"))
    return folder


def test_the_portfolio_is_frozen_with_its_evidence_and_becomes_that_of_fit(searched_on_two, capsys):
    portfolio = commands_freeze(FreezeOptions(searched_on_two, portfolio=4), Terminal())
    printed = capsys.readouterr()
    assert "mean of the best so far" in printed.out
    assert "best of all" in printed.out
    assert "No further configuration raises the mean by 0.1 points of Dice.\n" in printed.err
    assert printed.err.endswith("Show it with: ptsam-auto defaults\n")
    assert members.frozen() == portfolio
    *for_gpus, first, second = portfolio.members
    kept = ["vit_b-encoder", "vit_b-decoder"]
    assert [member.name for member in for_gpus] == kept, "not measured, so kept"
    assert "vit_b-encoder, vit_b-decoder. They were not measured here.\n" in printed.err
    assert first == Member(
        name="nano-tiles-2",
        backbone="nano",
        adapt="decoder",
        source="search toy, 2026-11-23, trial 1",
        dice={"cells": 0.9, "skin": 0.5},
        seconds=74.0,  # (20 s of training + 256 views of 0.5 s) / 2 folds, although another trial encoded them
    )
    assert (second.name, second.settings) == ("lite_medsam-whole", {})
    evidence = portfolio.evidence
    assert (evidence["search"], evidence["date"], evidence["commit"]) == ("toy", "2026-11-23", "c0ffee")
    assert evidence["backbones"] == {"nano": "a" * 64, "lite_medsam": "b" * 64}
    assert [one["name"] for one in evidence["data"]] == ["cells", "skin"]
    # Without cells nothing asks for nano, which leaves 0.3 on cells; without skin nothing asks for LiteMedSAM.
    assert evidence["mean_loss"] == pytest.approx(((0.9 - 0.3) + (0.9 - 0.5)) / 2)


def test_a_frozen_portfolio_is_not_replaced_unasked(searched_on_two):
    for force in (False, True):
        commands_freeze(FreezeOptions(searched_on_two, portfolio=2, force=force), Terminal.silent())
    with pytest.raises(OutputError, match=r"exists.\nChoose another --to, or replace it with --force."):
        commands_freeze(FreezeOptions(searched_on_two, portfolio=2), Terminal.silent())
    with pytest.raises(ConfigError) as error:
        FreezeOptions(searched_on_two, force=True)
    assert str(error.value) == ("--force has no effect without --portfolio. Remove --force, or set --portfolio.")


def test_configurations_on_several_backbones_are_no_default(searched_on_two):
    with pytest.raises(SearchError) as error:
        commands_freeze(FreezeOptions(searched_on_two), Terminal.silent())
    assert str(error.value) == (
        f"{searched_on_two} has configurations with several backbones (nano, lite_medsam), but the default settings "
        "belong to one backbone and one adaptation.\n"
        f"Freeze a portfolio of them: ptsam-auto freeze {searched_on_two} --portfolio 4; or run a search with one."
    )


def test_a_portfolio_needs_a_search_of_ptsam_with_a_finished_trial(searched, tmp_path):
    found = read_search(searched).record
    write(searched, replace(found, request=replace(found.request, method="autosam")), {})
    with pytest.raises(SearchError, match="is a search of autosam; a portfolio has configurations of ptsam only"):
        commands_freeze(FreezeOptions(searched, portfolio=2), Terminal.silent())
    (searched / "search.json").write_text(to_json(found))
    (searched / "journal.jsonl").unlink()
    with pytest.raises(SearchError) as error:
        commands_freeze(FreezeOptions(searched, portfolio=2), Terminal.silent())
    assert str(error.value) == "No trial finished, so there is no configuration to freeze."
    assert not members.user_file().exists()


def test_fit_says_when_it_meets_the_images_that_chose_its_portfolio(searched_on_two, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learned = commands_freeze(FreezeOptions(searched_on_two, portfolio=1), Terminal.silent())
    quick = {"recipe.epochs": 1, "recipe.steps_per_epoch": 2, "recipe.views": 2, "method.tiles": 1}
    members.write(
        members.user_file(),
        replace(learned, members=(Member("ours", toy, "decoder", quick),)),
        force=True,
    )
    write_folder(tmp_path / "both", 4)
    folder = write_folder(tmp_path / "both", 2, start=60)
    warning = "The defaults were selected on 2 of these images (2 of skin). Do not report this score."
    assert warning in fit(folder, track=False).record.warnings
    insisting = fit(folder, backbone=toy, adapt="decoder", settings=quick, out="insisting", track=False)
    assert warning not in insisting.record.warnings, "the portfolio was not asked"

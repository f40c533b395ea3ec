"""A space says what is wrong with it before anything starts; the shipped ones have nothing wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ptsam_auto
from ptsam_auto.errors import ConfigError
from ptsam_auto.search.space import Choice, Halving, Range, settings_of
from ptsam_auto.search.space_file import read_space, shipped
from ptsam_auto.training import defaults
from tests.search.toys import YAML

SHIPPED = sorted((Path(ptsam_auto.__file__).parent / "search_spaces").rglob("*.yaml"))


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def problems(path):
    with pytest.raises(ConfigError) as error:
        read_space(path)
    lines = str(error.value).splitlines()
    assert lines[-1] == "Correct these lines, then run the command again."
    return lines[0], [" ".join(line.split()) for line in lines[1:-1]]


@pytest.mark.parametrize(("content", "message"), [
    (b"a: &a [x, x]\nb: &b [*a, *a]\n", ": not valid YAML (it has references (*name), which are not read)."),
    (b"method: ptsam # \xe4", "is no text in UTF-8. Save it as UTF-8."),
    (b"# " + b"x" * 1_000_000, "has more than 1,000,000 bytes; it is no search space."),
    (b"a: " + b"[" * 20_000, ": not valid YAML (it is too deeply nested)."),
    (b"- " * 20_000, ": not valid YAML (it is too deeply nested)."),
    (b"a: !!python/object/apply:os.system [ls]\n", "line 1: not valid YAML"),
])  # fmt: skip
def test_a_hostile_file_is_a_message_and_takes_no_memory(tmp_path, content, message):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_space(str(tmp_path / "mine.yaml"))
    assert message in str(error.value)


def test_spaces_are_shipped():
    assert {path.stem for path in SHIPPED} >= {"smoke", "decoder", "encoder", "prompt_counts"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_space_loads_and_opens_with_its_command(path):
    space = read_space(path.stem)
    command = "ablate" if path.stem == "prompt_counts" else "search"
    comment = "".join(line for line in space.text.splitlines(keepends=True) if line.startswith("#"))
    assert f"ptsam-auto {command} {path.stem} --data" in comment
    assert "# Cost: " in comment
    assert re.search(r"Result( \(.+\))?: ", comment)
    assert space.text.startswith("# ")
    if path.stem.startswith("portfolio"):
        assert [space.backbone_of(one) for one in space.first].count("nano") < len(space.first) == space.trials
        assert space.rungs == (1.0,), "each member needs a score on each dataset"
    else:
        assert space.splits >= 2, "without a standard error nothing can be frozen"
    if command == "ablate":
        assert space.exhaustive().trials > 1


def test_the_papers_values_come_first():
    decoder, encoder = read_space("decoder").first[0], read_space("encoder").first[0]
    assert (decoder["recipe.learning_rate"], decoder["method.decoder_prompts"]) == (0.05, 8)
    assert (encoder["recipe.learning_rate"], encoder["method.encoder_prompts"]) == (0.01, 8)


def test_a_space_as_it_is_meant(written):
    space = read_space(written(YAML))
    assert space.name == "mine"
    assert space.search["recipe.learning_rate"] == Range(0.001, 0.2, log=True)
    assert space.search["method.decoder_prompts"] == Choice((1, 2, 8))
    assert (space.trials, space.splits, space.train_images) == (4, 2, 3)
    assert space.rungs == (0.25, 0.5, 1.0)


@pytest.mark.parametrize("method", ["cellseg1", "autosam", "samed"])
def test_every_rival_has_a_space_for_its_learning_rate(method):
    spaces = [space for name in shipped() if (space := read_space(name)).method == method]
    assert {adapt for space in spaces for adapt in space.adapt} == set(defaults.adaptations("nano", method))
    for space in spaces:
        block = defaults.values("nano", space.adapt[0], method)
        assert list(space.search) == ["recipe.learning_rate"]
        assert settings_of(block, space, space.first[0]).method.name == method


def test_a_method_brings_its_own_settings(written):
    space = read_space(written("method: cellseg1\nsearch:\n  method.decoder_rank: {choice: [1, 4]}\n"))
    assert (space.method, space.adapt) == ("cellseg1", ("decoder",))
    _, found = problems(written("method: autosam\nadapt: encoder\nsearch:\n  method.decoder_rank: {choice: [1, 4]}\n"))
    assert found == [
        "adapt 'encoder'; expected decoder",
        "search.method.decoder_rank there is no such setting. Did you mean method.reading?",
    ]
    _, found = problems(written("method: autosan\nsearch:\n  recipe.epochs: {choice: [1, 4]}\n"))
    assert found == ["method 'autosan'; expected one of ptsam, cellseg1, autosam, samed"]


def test_everything_wrong_is_said_at_once(written):
    title, found = problems(
        written(
            """\
adapt: decodr
trails: 4
splits: two
stop_early: {first: 3}
resources: {cpus: 1}
fixed: {recipe.epochs: 0, method.tiles: 2}
search:
  recipe.learning_rat: {log_uniform: [0.001, 0.2]}
  recipe.learning_rate: {log_uniform: [1e-3, 0.2]}
  recipe.warmup_steps: {int: [80, 10]}
  recipe.batch_size: {uniform: [1, 4]}
  recipe.weight_decay: {log_uniform: [0, 0.1]}
  recipe.cross_entropy_weight: {uniform: [0, 2]}
  recipe.loss_size: {choice: [decoder, full]}
  recipe.steps_per_epoch: {choice: [20, twenty]}
  method.decoder_prompts: {choices: [1]}
  method.prompt_std: {choice: [0.1, 0.1]}
  method.mask_token: 3
  method.tiles: {choice: [1, 2]}
"""
        )
    )
    assert title.endswith("mine.yaml has 18 problems:")
    assert found == [
        "trails no such key. Did you mean trials?",
        "adapt 'decodr'; expected decoder or encoder",
        "splits 'two'; expected a whole number, at least 1",
        "stop_early first is 3; expected a share of the epochs, above 0 and at most 1.",
        "resources.cpus no such key. Did you mean cpu?",
        "fixed.recipe.epochs recipe.epochs is 0; expected at least 1.",
        "search.recipe.learning_rat there is no such setting. Did you mean recipe.learning_rate?",
        "search.recipe.learning_rate log_uniform ['1e-3', 0.2]; expected two numbers "
        "(write 1.0e-3 with the dot, otherwise YAML reads it as text)",
        "search.recipe.warmup_steps int [80, 10]; expected the smaller number first",
        "search.recipe.batch_size uniform proposes any number, but recipe.batch_size is a whole number; use int or "
        "choice",
        "search.recipe.weight_decay log_uniform [0, 0.1]; expected numbers above 0",
        "search.recipe.cross_entropy_weight recipe.cross_entropy_weight is 2.0; expected 0 to 1.",
        'search.recipe.loss_size recipe.loss_size is "full"; expected "decoder" or "input".',
        "search.recipe.steps_per_epoch recipe.steps_per_epoch is 'twenty'; expected a whole number.",
        "search.method.decoder_prompts there is no choices. Did you mean choice?",
        "search.method.prompt_std choice [0.1, 0.1] has a value twice",
        "search.method.mask_token 3; expected one of choice, int, log_uniform, uniform, and a list: {choice: [1, 2]}",
        "search.method.tiles this setting is also under fixed; keep one of the two",
    ]


@pytest.mark.parametrize(("text", "found"), [
    ("trials: 3\n", "search nothing to search; expected settings, such as recipe.epochs: {choice: [10, 20]}"),
    (YAML + "  - {recipe.learning_rate: 0.05}\n", None),
    (YAML.replace("8}", "3, recipe.views: 2}"), "first, number 1 method.decoder_prompts is 3, which is not one of the "
     "searched values"),
    (YAML.replace(", method.decoder_prompts: 8", ""), "first, number 1 method.decoder_prompts is missing"),
    (YAML.replace("trials: 4", "trials: 0"), "trials 0; expected a whole number, at least 1"),
    (YAML.replace("{choice: [1, 2, 8]}", "{choice: [0, 8]}"), "search.method.decoder_prompts method.decoder_prompts is "
     "0; expected 1 to 1000."),
    (YAML.replace("method.decoder_prompts: {", "method.encoder_prompts: {"), "search.method.encoder_prompts "
     "recipe.views is 2, but with a tuned encoder the features change at every step; expected 0."),
])  # fmt: skip
def test_one_thing_wrong(written, text, found):
    if found is None:
        with pytest.raises(ConfigError, match=r"line \d+: not valid YAML"):
            read_space(written(text))
    else:
        assert found in problems(written(text))[1]


@pytest.mark.parametrize("method", ["cellseg1", "[ptsam]"])
def test_a_method_among_the_settings_is_refused(written, method):
    _, found = problems(
        written(f"fixed: {{method.name: {method}}}\nsearch:\n  method.name: {{choice: [{method}, samed]}}\n")
    )
    what = "this is not a setting of a space; the key method names the method"
    assert found == [f"fixed.method.name {what}", f"search.method.name {what}"]


def test_several_methods_are_refused(written):
    _, found = problems(written("method: [ptsam, samed]\nsearch:\n  recipe.epochs: {choice: [10, 20]}\n"))
    assert found == ["method ['ptsam', 'samed']; expected one of ptsam, cellseg1, autosam, samed"]


def test_a_number_of_the_wrong_kind_says_what_kind_is_expected(written):
    _, found = problems(written(YAML.replace("{cpu: 1}", "{gpu: one, threads: 1.5}")))
    assert found == ["resources.gpu 'one'; expected a number", "resources.threads 1.5; expected a whole number"]


def test_a_slip_in_a_searched_setting_is_not_blamed_on_the_first_configurations(written):
    _, found = problems(written(YAML.replace("choice", "choices")))
    assert found == ["search.method.decoder_prompts there is no choices. Did you mean choice?"]


def test_a_space_that_is_not_there():
    with pytest.raises(ConfigError) as error:
        read_space("decodr")
    assert str(error.value) == "decodr is neither a file nor a search space. Did you mean decoder?"
    with pytest.raises(ConfigError) as error:
        read_space("mine/decoder.yaml")
    assert str(error.value).startswith("mine/decoder.yaml is neither a file nor a search space.")
    assert read_space("search_spaces/decoder.yaml") == read_space("decoder"), "as a clone has it, anywhere"


SEVERAL = """\
backbone: [nano, lite_medsam]
adapt: [decoder, encoder]
search:
  method.encoder_prompts: {choice: [2, 8]}
  recipe.views: {choice: [4, 16]}
first:
  - {backbone: nano, adapt: decoder, method.encoder_prompts: 2, recipe.views: 4}
  - {backbone: lite_medsam, adapt: encoder, method.encoder_prompts: 2, recipe.views: 4}
trials: 4
"""


def test_backbones_and_adaptations_are_searched_like_settings(written):
    space = read_space(written(SEVERAL))
    assert list(space.axes) == ["backbone", "adapt", "method.encoder_prompts", "recipe.views"]
    assert space.axes["backbone"] == Choice(("nano", "lite_medsam"))
    assert space.exhaustive().trials == 16
    whole = read_space(written("backbone: [nano, lite_medsam]\n"))
    assert [one["backbone"] for one in whole.exhaustive().first] == ["nano", "lite_medsam"]


def test_one_backbone_in_a_list_is_that_backbone(written):
    assert read_space(written("backbone: [nano]\nadapt: [decoder]\n" + YAML.replace("adapt: decoder\n", ""))).axes == (
        read_space(written("backbone: nano\n" + YAML)).axes
    )


def test_a_setting_without_effect_with_an_adaptation_keeps_its_default(written):
    space = read_space(written(SEVERAL))
    frozen, tuned = (settings_of(defaults.values(one["backbone"], one["adapt"]), space, one) for one in space.first)
    assert (frozen.recipe.views, frozen.method.encoder_prompts) == (4, 0)
    assert (tuned.recipe.views, tuned.method.encoder_prompts) == (0, 2)


def test_another_backbone_leaves_out_the_first_configurations_on_the_others(written):
    space = read_space(written(SEVERAL)).on("nano")
    assert space.first == ({"adapt": "decoder", "method.encoder_prompts": 2, "recipe.views": 4},)
    assert (space.backbone, space.trials) == (("nano",), 3)
    single = read_space(written(YAML))
    assert (single.on("nano").first, single.on("nano").trials) == (single.first, single.trials)


def test_everything_wrong_with_the_backbones_is_said_at_once(written):
    text = SEVERAL.replace("[nano, lite_medsam]", "[nano, 3]").replace("[decoder, encoder]", "[decoder, decoder]")
    _, found = problems(written(text))
    assert found[:2] == [
        "adapt ['decoder', 'decoder'] has a name twice",
        "backbone ['nano', 3]; expected the name or the file of a backbone, see fit --backbone, or a list of them",
    ]
    _, found = problems(written(SEVERAL.replace("backbone: nano, adapt: decoder", "backbone: vit_b")))
    assert found == [
        "first, number 1 adapt is missing",
        "first, number 1 backbone is 'vit_b', which is not one of the searched values",
    ]
    _, found = problems(written("backbone: []\n" + YAML))
    assert found == ["backbone the list is empty; expected at least one name"]


def test_rungs_end_where_the_training_ends():
    assert Halving(0.25, 2).rungs == (0.25, 0.5, 1.0)
    assert Halving(0.1, 3).rungs == pytest.approx((0.1, 0.3, 0.9, 1.0))
    assert Halving(1.0, 2).rungs == (1.0,)


def test_a_grid_is_every_combination(written):
    space = read_space(written(YAML.replace("{log_uniform: [0.001, 0.2]}", "{choice: [0.01, 0.05]}"))).exhaustive()
    assert space.trials == len(space.first) == 6
    assert space.stop_early is None
    assert {tuple(each.values()) for each in space.first} == {(rate, n) for rate in (0.01, 0.05) for n in (1, 2, 8)}
    with pytest.raises(ConfigError) as error:
        read_space(written(YAML)).exhaustive()
    assert str(error.value) == (
        "mine as a grid has 1 problem:\n"
        "  search.recipe.learning_rate  a grid needs single values, but this range is continuous; use choice\n"
        "Correct these lines, then run the command again."
    )


@pytest.mark.slow
def test_spaces_are_part_of_the_installed_package(tmp_path):
    """A wheel has them, and a name finds them where there is no clone."""
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    modern = "import setuptools; raise SystemExit(int(setuptools.__version__.split('.')[0]) < 77)"
    if subprocess.run([sys.executable, "-c", modern], capture_output=True, check=False).returncode:
        pytest.skip("no setuptools 77 or newer to build with")
    subprocess.run([*build, str(root)], check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", *map(str, tmp_path.glob("*.whl")), str(tmp_path / "in")], check=True
    )
    names = {path.stem for path in (tmp_path / "in" / "ptsam_auto" / "search_spaces").glob("*.yaml")}
    assert names == set(shipped())

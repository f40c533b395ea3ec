"""The recipe's defaults are the paper's, its schedule a function of the step."""

from dataclasses import replace

import pytest

from ptsam_auto.errors import ConfigError
from ptsam_auto.methods import sam_methods
from ptsam_auto.training import defaults
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.settings import Settings


def test_defaults_are_the_papers():
    recipe = Recipe()
    assert (recipe.epochs, recipe.steps_per_epoch, recipe.batch_size) == (1000, 20, 2)
    assert (recipe.learning_rate, recipe.cross_entropy_weight, recipe.views) == (0.05, 0.2, 0)


def test_cosine_annealing_ends_at_zero():
    recipe = Recipe(learning_rate=1.0, epochs=10, steps_per_epoch=10)
    assert recipe.learning_rate_at(0) == 1.0
    assert recipe.learning_rate_at(50) == pytest.approx(0.5)
    assert recipe.learning_rate_at(100) == pytest.approx(0.0)


def test_warm_up_rises_to_the_learning_rate():
    recipe = Recipe(learning_rate=1.0, epochs=10, steps_per_epoch=10, warmup_steps=4)
    assert [recipe.learning_rate_at(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(("wrong", "message"), [
    ({"epochs": 0}, "recipe.epochs is 0; expected at least 1."),
    ({"views": -1}, "recipe.views is -1; expected 0 or more."),
    ({"learning_rate": 0}, "recipe.learning_rate is 0; expected a number above 0."),
    ({"cross_entropy_weight": 1.2}, "recipe.cross_entropy_weight is 1.2; expected 0 to 1."),
    ({"loss_size": "full"}, 'recipe.loss_size is "full"; expected "decoder" or "input".'),
])  # fmt: skip
def test_what_is_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError) as error:
        Recipe(**wrong)
    assert str(error.value) == message


@pytest.mark.parametrize(("path", "message"), [
    ("recipe.learning_rat", "There is no setting recipe.learning_rat. Did you mean recipe.learning_rate?"),
    ("method.n_md", None),
])  # fmt: skip
def test_a_misspelt_setting_is_refused_with_a_suggestion(path, message):
    with pytest.raises(ConfigError) as error:
        Settings.from_paths({path: 1})
    if message is None:
        assert str(error.value).startswith(f"There is no setting {path}.")
    else:
        assert str(error.value) == message


@pytest.mark.parametrize("family", defaults.families())
@pytest.mark.parametrize("adapt", defaults.ADAPTATIONS)
def test_every_frozen_block_loads_and_says_where_each_value_comes_from(family, adapt):
    block = defaults.block(family, adapt)
    settings = Settings.from_paths({path: default.value for path, default in block.items()})
    assert (settings.method.encoder_prompts > 0) == (adapt == "encoder")
    assert (settings.recipe.views > 0) == (adapt == "decoder"), "a bank needs a frozen encoder, and only that"
    assert all(default.source for default in block.values())


RIVALS = [name for name in sam_methods.SAM_METHODS if name != "ptsam"]


@pytest.mark.parametrize("family", defaults.families())
@pytest.mark.parametrize("rival", RIVALS)
def test_a_rival_shares_our_recipe_but_for_its_learning_rate(family, rival):
    assert defaults.adaptations(family, rival)
    for adapt in defaults.adaptations(family, rival):
        block = defaults.block(family, adapt, rival)
        assert all(default.source for default in block.values())
        its = Settings.from_paths({path: default.value for path, default in block.items()})
        ours = Settings.from_paths(defaults.values(family, adapt))
        assert replace(its.recipe, learning_rate=ours.recipe.learning_rate) == ours.recipe
        assert its.augmentation == ours.augmentation
        assert (its.method.name, its.method.tunes_encoder) == (rival, adapt == "encoder")
        assert (its.method.mask_token, its.method.tiles) == (ours.method.mask_token, ours.method.tiles)


def test_a_method_with_one_adaptation_takes_it_whatever_the_hardware():
    assert defaults.adaptation("vit_b", "cuda", "autosam").value == "decoder"
    assert defaults.adaptation("nano", "cpu", "samed").value == "encoder"
    assert defaults.adaptation("vit_b", "cuda", "cellseg1").value == "encoder"


@pytest.mark.parametrize("family", ["vit_b", "vit_l", "vit_h", "nano"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_backbone_knows_what_to_adapt(family, device):
    assert defaults.adaptation(family, device).value in defaults.ADAPTATIONS

"""A bank gives what fresh views would, encodes once, and can be shared and continued."""

import pytest
import torch

from ptsam_auto.methods.ptsam import PTSAMConfig, build
from ptsam_auto.training.bank import FeatureBank
from ptsam_auto.training.recipe import Recipe
from ptsam_auto.training.views import FreshViews
from tests.toys import sampler, toy_sam

RECIPE = Recipe(epochs=2, steps_per_epoch=6, batch_size=2, views=100)


@pytest.fixture
def model():
    return build(toy_sam(), PTSAMConfig(), seed=0)


def bank(folder, model, images=3, backbone="b" * 64, recipe=RECIPE, progress=lambda done, total: None):
    prepared = FeatureBank(folder, model, backbone, sampler(images), recipe)
    prepared.prepare(progress)
    return prepared


def test_every_image_comes_once_before_any_comes_again():
    drawn = [place for step in range(6) for place in sampler(4).turns(step)]
    assert [sorted(image for image, _ in drawn[i : i + 4]) for i in (0, 4, 8)] == [[0, 1, 2, 3]] * 3
    assert [turn for _, turn in drawn] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({tuple(image for image, _ in drawn[i : i + 4]) for i in (0, 4, 8)}) > 1, "always the same order"


def test_with_a_view_a_turn_the_bank_is_the_papers_training(tmp_path, model):
    kept, fresh = bank(tmp_path, model), FreshViews(model, sampler(3))
    assert kept.views == 8, "12 steps of 2 show each of 3 images 8 times"
    for step in (0, 5, 11, 3):
        ours, theirs = kept.draw(step), fresh.draw(step)
        torch.testing.assert_close(ours.features_B256GG, theirs.features_B256GG, atol=5e-3, rtol=5e-3)
        assert torch.equal(ours.target_BSS, theirs.target_BSS)
        assert torch.equal(ours.inside_BSS, theirs.inside_BSS)
        assert ours.target_BSS.any()


def test_padding_is_outside(tmp_path, model):
    batch = bank(tmp_path, model).draw(0)  # images of 48 x 64 in a square of 64
    assert batch.inside_BSS[:, :48].all()
    assert not batch.inside_BSS[:, 48:].any()


def test_few_views_are_drawn_in_turn(tmp_path, model):
    few = bank(tmp_path, model, recipe=Recipe(epochs=2, steps_per_epoch=6, views=2))
    assert few.views == 2

    def of_turn(wanted):
        drawn = ((step, slot, *place) for step in range(6) for slot, place in enumerate(sampler(3).turns(step)))
        return {i: few.draw(step).features_B256GG[slot] for step, slot, i, turn in drawn if turn == wanted}

    first, second, third = of_turn(0), of_turn(1), of_turn(2)
    assert not torch.equal(first[0], second[0])
    assert all(torch.equal(first[image], third[image]) for image in range(3))


def test_with_fewer_steps_than_images_only_those_that_are_drawn_are_encoded(tmp_path, model):
    recipe = Recipe(epochs=2, steps_per_epoch=6, batch_size=2, views=4)
    few = bank(tmp_path, model, images=40, recipe=recipe)
    assert few.encoded_views == 24 * 2, "12 steps of 2 images, two views in a file"
    assert len(list(tmp_path.glob("*.arrow"))) == 24
    fresh = FreshViews(model, sampler(40))
    for step in range(12):
        torch.testing.assert_close(
            few.draw(step).features_B256GG, fresh.draw(step).features_B256GG, atol=5e-3, rtol=5e-3
        )


def test_what_is_encoded_is_not_encoded_again(tmp_path, model, monkeypatch):
    before = bank(tmp_path, model).draw(0)
    monkeypatch.setattr(model, "encode", None)  # any use would fail
    after = bank(tmp_path, model).draw(0)
    assert torch.equal(before.features_B256GG, after.features_B256GG)


def test_encoding_cut_short_continues_with_the_next_file(tmp_path, model):
    class Killed(Exception):
        pass

    def kill(done, _):
        if done == 8:
            raise Killed

    with pytest.raises(Killed):
        bank(tmp_path, model, progress=kill)
    assert len(list(tmp_path.glob("*.arrow"))) == 4
    seen = []
    bank(tmp_path, model, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 24) for done in range(8, 25, 2)]


def test_a_bank_with_more_views_encodes_only_those_that_are_new(tmp_path, model):
    def count(views):
        recipe = Recipe(epochs=2, steps_per_epoch=6, views=views)
        return FeatureBank(tmp_path, model, "b" * 64, sampler(3), recipe).prepare()

    assert [count(2), count(4), count(2)] == [6, 6, 0]


def test_other_weights_other_features(tmp_path, model):
    bank(tmp_path, model)
    before = len(list(tmp_path.glob("*.arrow")))
    bank(tmp_path, model, backbone="c" * 64)
    assert len(list(tmp_path.glob("*.arrow"))) == 2 * before


def test_one_more_image_costs_one_more_image(tmp_path, model):
    recipe = Recipe(epochs=2, steps_per_epoch=6, views=2)
    bank(tmp_path, model, recipe=recipe)
    seen = []
    bank(tmp_path, model, images=4, recipe=recipe, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 8), (8, 8)]


def test_pixels_that_take_no_part_are_padding_to_the_loss_in_banks_as_in_fresh_views(tmp_path, model):
    from dataclasses import replace

    from ptsam_auto.data.dataset import Pair, Sample
    from tests.toys import sample

    def load():
        whole = sample(0)
        ignored = whole.mask.copy()
        ignored[:, whole.mask.shape[1] // 2 :] = True
        return Sample(whole.name, whole.image, whole.mask & ~ignored, ignored)

    partly = replace(sampler(1), pairs=[Pair("a", "d" * 64, load)], batch_size=1)
    recipe = Recipe(epochs=1, steps_per_epoch=2, batch_size=1, views=100)
    kept, fresh = FeatureBank(tmp_path, model, "b" * 64, partly, recipe), FreshViews(model, partly)
    padding = FreshViews(model, replace(sampler(1), batch_size=1)).draw(0).inside_BSS
    for step in range(2):
        ours, theirs = kept.draw(step), fresh.draw(step)
        assert torch.equal(ours.inside_BSS, theirs.inside_BSS)
        assert torch.equal(ours.target_BSS, theirs.target_BSS)
        assert not (ours.target_BSS * (1 - ours.inside_BSS)).any()
    assert kept.draw(0).inside_BSS.sum() < padding.sum()


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_file_is_said_and_made_again(tmp_path, model, damage, caplog):
    whole = bank(tmp_path, model).draw(0)
    path = sorted(tmp_path.glob("*.arrow"))[0]
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        # In the middle of the features.
        content[len(content) // 2] ^= 1
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "flipped": content}[damage])
    again = bank(tmp_path, model).draw(0)
    assert f"{path} is damaged; it is made again." in caplog.text
    assert torch.equal(whole.features_B256GG, again.features_B256GG)
    caplog.clear()
    bank(tmp_path, model)
    assert not caplog.text

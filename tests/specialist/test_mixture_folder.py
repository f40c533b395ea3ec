"""A specialist of several members comes back as it went, with the models of its folds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptsam_auto.errors import SpecialistError
from ptsam_auto.methods import sam_methods
from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.specialist import artifact
from ptsam_auto.specialist.artifact import Specialist, load_folds, load_specialist, save
from ptsam_auto.training.scale import Scale
from tests.specialist.records import member, record
from tests.toys import sample, toy_checkpoint

WHOLE, TILES = Scale(1, 64, 64, 64), Scale(2, 36, 64, 64)
CONFIG = PTSAMConfig(decoder_prompts=3, prompt_std=0.5)


def mixture(backbones, scales, weights, seed=0):
    models = [
        sam_methods.build(backbone.sam, CONFIG, seed + number, scale.tiling).eval()
        for number, (backbone, scale) in enumerate(zip(backbones, scales, strict=True))
    ]
    return Mixture(models, weights)


def specialist(backbones, scales=(WHOLE, TILES), weights=(0.75, 0.25)):
    members = [
        member(backbone, CONFIG, weight, f"member-{number}", scale)
        for number, (backbone, scale, weight) in enumerate(zip(backbones, scales, weights, strict=True))
    ]
    return Specialist(mixture(backbones, scales, weights), record(*members))


@pytest.fixture
def made(toy):
    return specialist([checkpoint.load(toy)] * 2)


def written(folder, made, folds=()):
    folder.mkdir()
    save(folder, made, [one.trainable() for one in folds])
    return folder


def test_it_predicts_the_same_on_one_backbone_or_several(tmp_path, toy):
    one, other = checkpoint.load(toy), checkpoint.load(str(toy_checkpoint(tmp_path / "other.safetensors", seed=1)))
    image = sample(0, 100, 80).image
    for name, backbones in (("one", [one, one]), ("several", [one, other])):
        made = specialist(backbones)
        loaded = load_specialist(written(tmp_path / name, made))
        assert np.array_equal(loaded.probability(image), made.probability(image))
        assert loaded.identity == made.identity
        assert loaded.model.weights == (0.75, 0.25)
        assert (loaded.model.models[0].sam is loaded.model.models[1].sam) == (name == "one"), "loaded once"


def test_another_weight_is_another_specialist(made):
    first, second = made.record.members
    members = (replace(first, weight=0.5), replace(second, weight=0.5))
    other = Specialist(Mixture(made.model.models, (0.5, 0.5)), replace(made.record, members=members))
    assert other.identity != made.identity, "its masks are others"


def test_a_moved_backbone_of_several_can_be_named(tmp_path, toy):
    moved = toy_checkpoint(tmp_path / "other.safetensors", seed=1)
    made = specialist([checkpoint.load(toy), checkpoint.load(str(moved))])
    folder = written(tmp_path / "several", made)
    moved = moved.rename(tmp_path / "moved.safetensors")
    with pytest.raises(SpecialistError, match="cannot be used"):
        load_specialist(folder)
    image = sample(0).image
    loaded = load_specialist(folder, backbone=str(moved))
    assert np.array_equal(loaded.probability(image), made.probability(image))
    third = toy_checkpoint(tmp_path / "third.safetensors", seed=2)
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder, backbone=str(third))
    assert f"was trained with the backbones {toy} (SHA-256 " in str(error.value)


def test_another_tile_size_changes_all_members_by_one_factor(tmp_path, made):
    folder = written(tmp_path / "made", made)
    loaded = load_specialist(folder, tile=32)
    assert [one.scale.tile for one in loaded.record.members] == [32, 18]
    assert [model.tiling.side for model in loaded.model.models] == [32, 18]
    assert loaded.identity != made.identity


def test_a_tile_size_for_a_relative_scale_in_a_mixture_is_refused(tmp_path, toy):
    made = specialist([checkpoint.load(toy)] * 2, scales=(TILES, Scale(2, None, 64, 64)))
    folder = written(tmp_path / "made", made)
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder, tile=32)
    assert str(error.value) == f"{folder} is a mixture with a relative scale, which has no tile size. Remove --tile."


def test_there_are_as_many_models_of_the_folds_as_folds(tmp_path, toy, made):
    backbones = [checkpoint.load(toy)] * 2
    folds = [mixture(backbones, (WHOLE, TILES), (0.75, 0.25), seed=10 * (1 + number)) for number in range(2)]
    folder = written(tmp_path / "made", made, folds)
    loaded = load_specialist(folder)
    again = load_folds(folder, loaded)
    image = sample(0).image
    assert len(again) == len(made.record.data.folds) == 2
    for expected, found in zip(folds, again, strict=True):
        assert np.array_equal(found.probability(image), expected.probability(image))
    assert np.array_equal(loaded.probability(image), made.probability(image)), "the specialist itself is not changed"
    shared = {id(model.sam) for one in [loaded.model, *again] for model in one.models}
    assert len(shared) == 1, "so its features are computed once"


def test_without_the_models_of_the_folds_it_says_why(tmp_path, made):
    folder = written(tmp_path / "made", made)
    with pytest.raises(SpecialistError) as error:
        load_folds(folder, load_specialist(folder))
    assert str(error.value) == (
        f"{folder} has no folds.safetensors, so its uncertainty is not known.\n"
        "It is saved by fit if the specialist is cross-fitted and its learned parameters are small."
    )


@pytest.mark.parametrize("folds", [0, 1])
def test_damaged_models_of_the_folds_are_refused(tmp_path, made, folds):
    folder = written(tmp_path / "made", made, [made.model] * folds)
    if folds == 0:
        (folder / "folds.safetensors").write_bytes(b"nothing")
    with pytest.raises(SpecialistError) as error:
        load_folds(folder, load_specialist(folder))
    path = folder / "folds.safetensors"
    assert str(error.value) == f"{path} is damaged or does not belong to its specialist.json. Run fit again."


def test_large_models_of_the_folds_are_not_kept(tmp_path, made, monkeypatch):
    monkeypatch.setattr(artifact, "MAX_FOLDS_BYTES", 100)
    folder = written(tmp_path / "made", made, [made.model] * 2)
    assert not (folder / "folds.safetensors").exists()


def test_parameters_of_another_number_of_members_are_refused(tmp_path, made):
    folder = written(tmp_path / "made", made)
    about = json.loads((folder / "specialist.json").read_text())
    del about["members"][1]
    (folder / "specialist.json").write_text(json.dumps(about))
    with pytest.raises(SpecialistError, match=r"specialist.safetensors is damaged or does not belong to"):
        load_specialist(folder)


def test_a_specialist_without_members_is_damaged(tmp_path, made):
    folder = written(tmp_path / "made", made)
    about = json.loads((folder / "specialist.json").read_text())
    (folder / "specialist.json").write_text(json.dumps(about | {"members": []}))
    with pytest.raises(SpecialistError, match="is damaged"):
        load_specialist(folder)


def test_frozen_parts_are_not_saved(tmp_path, made):
    folder = written(tmp_path / "made", made)
    assert (folder / "specialist.safetensors").stat().st_size < 2 * 3 * 1024 + 400
    assert all(tensor.dtype == torch.float32 for tensor in made.model.trainable().values())

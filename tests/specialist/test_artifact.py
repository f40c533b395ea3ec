"""A specialist comes back as it went, or says why not."""

import json

import numpy as np
import pytest

from ptsam_auto.errors import SpecialistError
from ptsam_auto.methods.ptsam import PTSAMConfig, build
from ptsam_auto.sam import checkpoint
from ptsam_auto.specialist.artifact import load_specialist, save
from ptsam_auto.specialist.predict import predict, probability
from tests.toys import sample, toy_checkpoint


@pytest.fixture
def saved(tmp_path, toy):
    """A folder, and the model that was saved in it."""
    backbone = checkpoint.load(toy)
    config = {"decoder_prompts": 3, "encoder_prompts": 2, "mask_token": 2, "prompt_std": 0.3}
    model = build(backbone.sam, PTSAMConfig(**config), seed=5)
    folder = tmp_path / "specialist"
    folder.mkdir()
    save(folder, model, {"backbone": {"name": backbone.name, "sha256": backbone.sha256}, "method": config})
    return folder, model


def test_the_loaded_specialist_predicts_the_same(saved):
    folder, model = saved
    image = sample(0).image
    loaded = load_specialist(folder)
    assert np.array_equal(loaded.probability(image), probability(model, image))
    assert np.array_equal(loaded.predict(image), predict(model, image))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (70, 31), (500, 300)])
def test_masks_have_the_images_own_size(saved, height, width):
    mask = load_specialist(saved[0]).predict(sample(0, height, width).image)
    assert (mask.shape, mask.dtype) == ((height, width), np.bool_)


@pytest.mark.parametrize(("image", "found"), [
    (np.zeros((48, 64), np.uint8), "uint8, 48 x 64"),
    (np.zeros((48, 64, 3), np.uint16), "uint16, 48 x 64 x 3"),
    (np.zeros((3, 48, 64), np.uint8), "uint8, 3 x 48 x 64"),
])  # fmt: skip
def test_an_array_that_is_no_rgb_image_is_refused(saved, image, found):
    with pytest.raises(SpecialistError) as error:
        load_specialist(saved[0]).predict(image)
    assert str(error.value) == (
        f"The image is {found}; expected uint8, height x width x 3 (RGB).\n"
        "ptsam_auto.data.images.read_image reads any file as that."
    )


def test_a_moved_backbone_can_be_named(saved, toy, tmp_path):
    folder, _ = saved
    about = json.loads((folder / "specialist.json").read_text())
    about["backbone"]["name"] = str(tmp_path / "gone.safetensors")
    (folder / "specialist.json").write_text(json.dumps(about))
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (
        f"{folder} cannot be used: backbone {tmp_path}/gone.safetensors is not at {tmp_path}/gone.safetensors.\n"
        "Give the checkpoint it was made with (--backbone FILE), or fit the specialist again."
    )
    load_specialist(folder, backbone=toy)


def test_other_weights_are_refused(saved, tmp_path):
    folder, _ = saved
    other = toy_checkpoint(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(SpecialistError, match=r"was made with backbone .* \(SHA-256 [0-9a-f]{12}...\)"):
        load_specialist(folder, backbone=str(other))


def test_a_specialist_of_older_nano_weights_is_refused(saved):
    folder, _ = saved
    about = json.loads((folder / "specialist.json").read_text())
    about["backbone"] = {"name": "nano", "sha256": "0" * 64}
    (folder / "specialist.json").write_text(json.dumps(about))
    found = checkpoint.file_sha256(checkpoint.nano_path())
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (
        f"{folder} cannot be used: backbone nano is another version: SHA-256 {found[:12]}..., "
        "expected 000000000000....\n"
        "Give the checkpoint it was made with (--backbone FILE), or fit the specialist again."
    )


def test_an_unfinished_folder_is_not_a_specialist(tmp_path):
    with pytest.raises(SpecialistError) as error:
        load_specialist(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} is not a finished specialist: it has no specialist.json.\nMake one: ptsam-auto fit DIR"
    )


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_description(saved, content):
    folder, _ = saved
    (folder / "specialist.json").write_text(content)
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == f"{folder}/specialist.json is damaged; fit the specialist again."


def test_a_later_format(saved):
    folder, _ = saved
    (folder / "specialist.json").write_text('{"format": 99}')
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (
        f"{folder}/specialist.json has format 99, this version of ptsam-auto reads 1.\n"
        "Use the version that made it, or fit the specialist again."
    )


def test_damaged_tensors(saved):
    folder, _ = saved
    path = folder / "specialist.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (
        f"{path} is damaged or does not belong to its specialist.json; fit the specialist again."
    )

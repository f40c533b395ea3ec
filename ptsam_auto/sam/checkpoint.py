"""Where SAM's weights come from: the official files, verified; our embedded nano; or a file the user names."""

import hashlib
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from segment_anything.modeling import Sam
from torch import Tensor

from ptsam_auto.errors import BackboneError
from ptsam_auto.sam.generalist import ARCHITECTURES, from_state

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Official:
    """A checkpoint that the authors of SAM publish."""

    url: str
    sha256: str

    @property
    def filename(self) -> str:
        """As published."""
        return self.url.rpartition("/")[2]


_PUBLISHED = "https://dl.fbaipublicfiles.com/segment_anything/"
OFFICIAL = {
    "vit_b": Official(
        _PUBLISHED + "sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"
    ),
    "vit_l": Official(
        _PUBLISHED + "sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"
    ),
    "vit_h": Official(
        _PUBLISHED + "sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"
    ),
}
NETWORK_PATIENCE = 5  # seconds without an answer; a firewall that drops packets should not cost a user minutes


@dataclass(frozen=True)
class Backbone:
    """A frozen SAM, and what it takes to find the same one again.

    Args:
        name: "vit_b", "vit_l", "vit_h", "nano", or the path of the user's own file.
        sha256: of the weights file.
        sam: frozen, float32, in eval mode, on the CPU.
    """

    name: str
    sha256: str
    sam: Sam

    @property
    def family(self) -> str:
        """The block of defaults that fits: of the same encoder, whatever the weights; "nano" for any other size."""
        encoder = self.sam.image_encoder
        size = encoder.pos_embed.shape[-1], len(encoder.blocks)
        return next((name for name, known in ARCHITECTURES.items() if (known.width, known.depth) == size), "nano")


def cache_folder() -> Path:
    """Where official checkpoints are kept: $PTSAM_AUTO_CACHE, or ptsam-auto in the user's cache folder."""
    if folder := os.environ.get("PTSAM_AUTO_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ptsam-auto"


def nano_path() -> Path:
    """The embedded weights."""
    return Path(str(resources.files("ptsam_auto.sam") / "nano.safetensors"))


def choose(choice: str, *, say: Callable[[str], None], progress: Progress = lambda done, total: None) -> Backbone:
    """The backbone that a user asked for.

    Args:
        choice: "auto" (ViT-B if it is there or can be downloaded, else nano), a name, or a path to a checkpoint.
        say: told in one line what "auto" decided.
        progress: called with (bytes, total bytes) during a download.

    Raises:
        BackboneError: what was insisted on cannot be had, or is not a SAM.
    """
    if choice != "auto":
        return load(choice, progress=progress)
    try:
        backbone = load("vit_b", progress=progress)
    except BackboneError as error:
        reason = str(error).splitlines()[0]
        say(f"Backbone: nano, our embedded small SAM, since ViT-B cannot be had ({reason.rstrip('.')}).")
        return load("nano")
    say("Backbone: SAM ViT-B, official weights.")
    return backbone


def load(choice: str, *, progress: Progress = lambda done, total: None) -> Backbone:
    """A backbone by name or path; official weights are downloaded once and verified at every load.

    Raises:
        BackboneError: it cannot be had, or is not a SAM.
    """
    if choice == "nano":
        return _read(nano_path(), "nano")
    if choice in OFFICIAL:
        return _read(_fetched(OFFICIAL[choice], progress), choice, OFFICIAL[choice].sha256)
    path = Path(choice)
    if not path.is_file():
        names = ", ".join(["auto", *OFFICIAL, "nano"])
        raise BackboneError(f"{choice} is neither a backbone ({names}) nor a checkpoint file.")
    return _read(path, str(path.resolve()))


def find(name: str, sha256: str) -> Backbone:
    """The backbone that something was made with, without any download.

    Raises:
        BackboneError: it is not here, or no longer the same.
    """
    path = nano_path() if name == "nano" else Path(name)
    if name in OFFICIAL:
        path = cache_folder() / OFFICIAL[name].filename
    if not path.is_file():
        raise BackboneError(f"backbone {name} is not at {path}.")
    if (found := file_sha256(path)) != sha256:
        raise BackboneError(f"backbone {name} is another version: SHA-256 {found[:12]}..., expected {sha256[:12]}....")
    return _read(path, name)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetched(official: Official, progress: Progress) -> Path:
    path = cache_folder() / official.filename
    if path.exists():
        return path
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(official.url, timeout=NETWORK_PATIENCE) as answer, unfinished.open("wb") as file:
            total, done = int(answer.headers.get("Content-Length", 0)), 0
            while chunk := answer.read(1 << 20):
                file.write(chunk)
                progress(done := done + len(chunk), total)
        _verify(unfinished, official.sha256, f"the download from {official.url}")
        unfinished.replace(path)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise BackboneError(
            f"cannot download {official.url}: {reason}.\n"
            f"Download it on a machine that can, and put it at {path}; or use --backbone nano."
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _verify(path: Path, sha256: str, what: str) -> None:
    if (found := file_sha256(path)) != sha256:
        raise BackboneError(
            f"{what} is damaged: SHA-256 {found}, expected {sha256}.\nDelete it and run the command again."
        )


def _read(path: Path, name: str, sha256: str | None = None) -> Backbone:
    if sha256 is not None:
        _verify(path, sha256, str(path))
    try:
        sam = from_state(_tensors(path))
    except Exception as error:
        found = f"it has no {error}" if isinstance(error, KeyError) else type(error).__name__
        raise BackboneError(
            f"{path} is not a SAM checkpoint ({found}).\n"
            "Expected a .pth or .safetensors file with segment_anything's tensors: "
            "image_encoder.*, prompt_encoder.*, mask_decoder.*."
        ) from None
    return Backbone(name, sha256 or file_sha256(path), sam)


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    # weights_only: tensors and nothing else are unpickled.
    return torch.load(path, map_location="cpu", weights_only=True)

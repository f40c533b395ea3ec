"""Names of devices: which are valid, and which this machine has."""

import re

from ptsam_auto.errors import ConfigError

KNOWN = re.compile(r"cpu|mps|cuda(:\d+)?")


def check_name(device: str | None) -> None:
    """Check the name of a device without importing torch.

    Raises:
        ConfigError: It is not a name of a device.
    """
    if device is not None and not KNOWN.fullmatch(device):
        raise ConfigError(f"--device is {device}; expected cpu, cuda, cuda:0 (the first of several GPUs) or mps.")


def choose_device(device: str | None) -> str:
    """Return the device for the computation: the one that is asked for, else a GPU if there is one, else the CPU.

    Args:
        device: Name of the device, or None for the best.

    Raises:
        ConfigError: This machine does not have the device.
    """
    import torch

    check_name(device)
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if device is None:
        return "cuda" if gpus else "mps" if has_mps else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= gpus:
        found = f"{gpus} GPUs, cuda:0 to cuda:{gpus - 1}" if gpus else "no GPU that PyTorch can use"
        raise ConfigError(f"--device is {device}, but this machine has {found}. Choose another device, or cpu.")
    if kind == "mps" and not has_mps:
        raise ConfigError("--device is mps, but this machine has no Apple GPU. Choose cpu.")
    return device

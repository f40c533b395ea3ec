"""Some tests need a disk, processes or a network of their own: Linux namespaces, where they are allowed."""

import shutil
import subprocess


def runs(*command: str) -> bool:
    """Return whether a program is there, and ends well with these words."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0

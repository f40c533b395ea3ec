"""Chooses and loads the backbone of a command, with a progress bar."""

from ptsam_auto.sam import checkpoint
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.terminal import Terminal


def choose_backbone(choice: str, terminal: Terminal) -> Backbone:
    """Return the loaded backbone, and show the progress of a download; see `sam.checkpoint.choose`.

    Args:
        choice: Value of --backbone.
        terminal: Terminal that shows the progress.

    Raises:
        BackboneError: The weights are missing, cannot be downloaded, or have a wrong hash.
    """
    with terminal.bar("Backbone") as update:
        return checkpoint.choose(choice, say=terminal.say, progress=update)

"""The command `subset`: copies a part of a dataset."""

from ptsam_auto.commands.options import SubsetOptions
from ptsam_auto.data.subset import listed_names, write_subset
from ptsam_auto.terminal import Terminal


def subset(options: SubsetOptions, terminal: Terminal) -> None:
    """Copy a part of the images of a dataset."""
    names = None if options.names is None else listed_names(options.dataset, options.names)
    written = write_subset(options.dataset, options.out, names=names, first=options.first)
    terminal.result(f"{len(written)} annotated images: {options.out}/images and {options.out}/masks")

"""Summary of how a folder was read: what was found, assumed and left out, for users to check."""

from collections.abc import Sequence
from dataclasses import dataclass

from ptsam_auto.data.reading import READ_AS_STORED, ImageReading
from ptsam_auto.errors import Problem

SHOWN = 5  # number of files of a kind that are named; the others are counted


@dataclass(frozen=True)
class Understanding:
    """Summary of how a folder was read.

    Args:
        images: Number of annotated images; each page of a stack is one.
        blank: Number of these images whose mask has no foreground.
        stacks: Number of files with several pages.
        sizes: Sizes of the smallest and the largest image, (width, height) px.
        layout: Name of the folder layout.
        pattern: Names of images and masks.
        values: One line per mask value with its meaning and area; () if masks are not files.
        channels: Channels of the images, and which of them are shown.
        scaling: Scaling of the stored values to 0 to 255.
        reading: Rule for channels and scaling that is saved with a specialist.
        groups: Groups of images that stay in the same part of a split, with their source.
        split: Source of the split.
        unmasked: Images without a mask, which are left out.
        left_out: Files that are not used, with the reasons.
        notes: Other assumptions, one sentence each.
    """

    images: int = 0
    blank: int = 0
    stacks: int = 0
    sizes: tuple[tuple[int, int], ...] = ()
    layout: str = ""
    pattern: str = ""
    values: tuple[str, ...] = ()
    channels: str = ""
    scaling: str = ""
    reading: ImageReading = READ_AS_STORED
    groups: tuple[str, ...] = ()
    split: str = ""
    unmasked: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the lines "what: finding" for a terminal. They contain file names, so print them without markup."""
        return [f"{what + ':':<10} {finding}" for what, finding in self.rows()]

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as (what, finding), the most important facts first."""
        images = f"{self.images} annotated" + (f", {self.blank} of them blank" if self.blank else "")
        if self.stacks:
            images += f", each page of {self.stacks} stack{'s' if self.stacks > 1 else ''} for itself"
        if self.sizes:
            first, last = (f"{width} x {height}" for width, height in (self.sizes[0], self.sizes[-1]))
            images += f"; {first} px" if first == last else f"; {first} to {last} px"
        rows = [("images", images), ("layout", f"{self.layout}{': ' if self.pattern else ''}{self.pattern}")]
        rows += [("masks", line) for line in self.values]
        rows += [("channels", self.channels), ("scaling", self.scaling)]
        rows += [("groups", line) for line in self.groups]
        rows += [("split", self.split)]
        if self.unmasked:
            rows.append(
                (
                    "left out",
                    f"{_listed(self.unmasked)}: no mask, so left out of the training; predict finds theirs "
                    "(--unmasked-are-blank if they show nothing of what is to be found)",
                )
            )
        reasons = dict.fromkeys(problem.what for problem in self.left_out)
        for what in reasons:
            rows.append(("left out", f"{_listed([p.where for p in self.left_out if p.what == what])}: {what}"))
        rows += [("note", note) for note in self.notes]
        return [(what, finding) for what, finding in rows if finding]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name.replace("\r", "\\r") for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")

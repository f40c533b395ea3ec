"""What the server of a page knows: its specialists, its folders, its limits, and the fit that it runs."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from ptsam_auto.web.annotation import AnnotationFolder
from ptsam_auto.web.boxes import Boxes
from ptsam_auto.web.fits import FitCommand, Fits
from ptsam_auto.web.limits import Limits
from ptsam_auto.web.pairs_folder import PairsFolder
from ptsam_auto.web.ranking import rank
from ptsam_auto.web.shelf import Offered, Shelf
from ptsam_auto.web.work import OneAtATime

FEWEST_MASKS = 2  # for a fit, which predicts each image with a model that was trained without it


@dataclass
class Site:
    """Everything that requests share.

    Args:
        shelf: Specialists.
        limits: Limits.
        training: Folder into which corrected masks are saved, or None.
        annotation: Folder that is annotated, or None; then `training` is the same folder.
        fit: How a fit is started, or None if no fit can be started.
        boxes: Tool that finds the object in a box, or None.
        fit_every: Number of new masks after which a fit starts by itself; 0 for never.
        fitted_on: Number of masks that the last fit had, or of those that do not count as new.
    """

    shelf: Shelf
    limits: Limits = field(default_factory=Limits)
    training: PairsFolder | None = None
    annotation: AnnotationFolder | None = None
    fit: FitCommand | None = None
    boxes: Boxes | None = None
    fit_every: int = 0
    fitted_on: int = 0

    def __post_init__(self) -> None:
        self.work = OneAtATime(self.limits)
        self.fits = Fits(self.fit, self._fitted, self.shelf.names) if self.fit else None
        self.ranked: tuple[int, int] = (0, 0)
        self._ranking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def mode(self) -> str:
        """Return the command that shows the page."""
        return "annotate" if self.annotation else "serve"

    @property
    def masks(self) -> int:
        """Return the number of images with a mask in the folder of training images."""
        return len(self.training.annotated()) if self.training else 0

    def begin(self) -> None:
        """Start what runs in the background. It is called in the event loop."""
        self._loop = asyncio.get_running_loop()
        newest = self.shelf.get(None)
        if newest:
            self._order(newest)

    def end(self) -> None:
        """Stop what runs in the background."""
        if self._ranking:
            self._ranking.cancel()
        if self.fits:
            self.fits.stop()
        self.work.close()

    def fit_if_due(self, masks: int) -> bool:
        """Start a fit if enough masks are new; return whether one was started.

        Args:
            masks: Number of images with a mask.
        """
        if not self.fits or not self.fit_every or self.fits.is_running:
            return False
        if masks < FEWEST_MASKS or masks - self.fitted_on < self.fit_every:
            return False
        self.start_fit(masks)
        return True

    def start_fit(self, masks: int) -> None:
        """Start a fit; see `Fits.start`."""
        assert self.fits is not None
        self.fits.start(masks)
        self.fitted_on = masks

    def _fitted(self, folder: Path) -> None:
        """Offer the specialist of a fit. It is called in a thread of its own."""
        offered = self.shelf.add(folder, chosen=True)
        if self._loop:
            self._loop.call_soon_threadsafe(self._order, offered)

    def _order(self, offered: Offered) -> None:
        """Order the images to paint next with a new specialist."""
        if not self.annotation:
            return
        if self._ranking:
            self._ranking.cancel()

        def progress(done: int, total: int) -> None:
            self.ranked = done, total

        self._ranking = asyncio.ensure_future(rank(self.annotation, offered, self.work, progress))

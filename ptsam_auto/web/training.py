"""The part of the API that saves corrected masks, and fits again."""

from http import HTTPStatus
from typing import BinaryIO

import numpy as np
from fastapi import APIRouter, HTTPException

from ptsam_auto.data.reading import READ_AS_STORED
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.web.fits import BusyError, Fits
from ptsam_auto.web.models import FitProgress, Saved
from ptsam_auto.web.pairs_folder import PairsFolder
from ptsam_auto.web.predicting import REFUSALS, ImagePart, MaskPart, PageNumber
from ptsam_auto.web.site import Site
from ptsam_auto.web.uploads import mask_from, uploaded

NO_FOLDER = "No folder of training images was given: start the server with --training-images DIR."


def router(site: Site) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api", tags=["train"], responses=REFUSALS)

    @routes.post("/training-images")
    async def save(image: ImagePart, mask: MaskPart, page: PageNumber = 0) -> Saved:
        """Save an image and its corrected mask as training images.

        Another image of the same name is kept; the new one then has a number in its name. An old mask of the same image
        is kept in masks/.replaced/.
        """
        if site.training is None or site.annotation is not None:
            raise HTTPException(HTTPStatus.NOT_FOUND, NO_FOLDER)
        image_name, mask_name, masks = await site.work.run(
            _saved, site.training, image.file, image.filename, mask.file, page, site.limits.pixels
        )
        return Saved(image=image_name, mask=mask_name, masks=masks)

    @routes.post("/fits", status_code=HTTPStatus.ACCEPTED)
    def start() -> FitProgress:
        """Start a fit on the training images. The new specialist has a new folder, and is offered when it is done."""
        fits = _fits(site)
        try:
            site.start_fit(site.masks)
        except BusyError as error:
            raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
        return _progress(site, fits)

    @routes.get("/fits/current")
    def progress() -> FitProgress:
        """Say how far the last fit is."""
        return _progress(site, _fits(site))

    @routes.delete("/fits/current")
    def stop() -> FitProgress:
        """Stop the fit that runs. Nothing of it is kept; earlier specialists stay."""
        fits = _fits(site)
        fits.stop()
        return _progress(site, fits)

    return routes


def _saved(
    folder: PairsFolder, image: BinaryIO, name: str | None, mask: BinaryIO, page: int, most_pixels: int
) -> tuple[str, str, int]:
    """Save an image with its mask; return their paths in the folder, and the number of masks in it."""
    drawn = mask_from(mask.read(), most_pixels)
    with uploaded(image, name, page, READ_AS_STORED, most_pixels) as given:
        check_size(drawn, given.pixels)
        saved = folder.add(given, drawn)
    first, second = (path.relative_to(folder.folder).as_posix() for path in saved)
    return first, second, len(folder.annotated())


def check_size(mask: np.ndarray, pixels: np.ndarray) -> None:
    """Check that a mask has the size of its image; raises DatasetError."""
    if mask.shape != pixels.shape[:2]:
        found, expected = (f"{shape[1]} x {shape[0]} px" for shape in (mask.shape, pixels.shape))
        raise DatasetError(None, [Problem("mask", f"{found}, but its image is {expected}")], "Send another mask.")


def _fits(site: Site) -> Fits:
    if site.fits is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, NO_FOLDER)
    return site.fits


def _progress(site: Site, fits: Fits) -> FitProgress:
    return FitProgress(**fits.progress.as_json(), masks_now=site.masks)

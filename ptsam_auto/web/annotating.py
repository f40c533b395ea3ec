"""The part of the API behind `annotate`: images of a folder, drafts, masks, and proposals of the specialist."""

from http import HTTPStatus
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from ptsam_auto.specialist.masks import reading_of
from ptsam_auto.web import answers
from ptsam_auto.web.annotation import AnnotationFolder, Item
from ptsam_auto.web.boxes import Boxes
from ptsam_auto.web.models import DrawnBox, Finished, ImageList, ImageState, Opened, Prediction, RunLengths
from ptsam_auto.web.predicting import REFUSALS, chosen, shown
from ptsam_auto.web.shelf import Offered
from ptsam_auto.web.site import Site
from ptsam_auto.web.training import check_size
from ptsam_auto.web.uploads import mask_of_runs, runs_of_mask

RUNS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunLengths"}}},
    }
}


def router(site: Site, folder: AnnotationFolder) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api", tags=["annotate"], responses=REFUSALS)

    @routes.get("/images")
    def images() -> ImageList:
        """List the images of the folder, those to paint next first."""
        return ImageList(
            images=[ImageState(**about) for about in folder.listed()],
            left_out=[f"{problem.where}: {problem.what}" for problem in folder.left_out],
            looked_at=site.ranked[0],
            to_look_at=site.ranked[1],
        )

    @routes.get("/images/{name}")
    async def opened(name: str) -> Opened:
        """Return an image with its draft, or else its mask."""
        return Opened(**await site.work.run(_opened, folder, _item(folder, name)))

    @routes.put("/images/{name}/draft", status_code=HTTPStatus.NO_CONTENT, openapi_extra=RUNS_BODY)
    async def draft(name: str, request: Request) -> None:
        """Save a mask that is being painted. It is not used for a fit."""
        await run_in_threadpool(_drafted, folder, _item(folder, name), await request.body(), site.limits.pixels)

    @routes.delete("/images/{name}/draft", status_code=HTTPStatus.NO_CONTENT)
    def drop(name: str) -> None:
        """Remove a draft; a mask that was there before stays."""
        folder.drop_draft(_item(folder, name))

    @routes.put("/images/{name}/mask", openapi_extra=RUNS_BODY)
    async def finish(name: str, request: Request) -> Finished:
        """Save a mask that is done. An old mask is kept in masks/.replaced/."""
        item, content = _item(folder, name), await request.body()
        path, masks = await site.work.run(_finished, folder, item, content, site.limits.pixels)
        return Finished(mask=path, masks=masks, fit_started=site.fit_if_due(masks))

    @routes.get("/proposals/{name}")
    async def proposal(name: str, specialist: str | None = None, uncertainty: bool = False) -> Prediction:
        """Predict the mask of an image of the folder. The answer does not repeat the image."""
        item, offered = _item(folder, name), chosen(site, specialist)
        if uncertainty and not offered.has_folds:
            raise HTTPException(422, f"{offered.name} has no models of a cross-fit, so no uncertainty.")
        about = await site.work.run(_proposed, folder, item, offered, uncertainty)
        return Prediction(name=item.name, page=0, pages=1, image=None, pixel_size=None, **about)

    if site.boxes is not None:
        boxes = site.boxes

        @routes.post("/boxes/{name}")
        async def box(name: str, drawn: DrawnBox) -> RunLengths:
            """Find the object in a box on an image of the folder. Nothing is saved."""
            mask = await site.work.run(_boxed, folder, _item(folder, name), boxes, drawn)
            return RunLengths(**runs_of_mask(mask))

    return routes


def _item(folder: AnnotationFolder, name: str) -> Item:
    item = folder.get(name)
    if item is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such image in the folder.")
    return item


def _opened(folder: AnnotationFolder, item: Item) -> dict[str, Any]:
    pixels, mask = folder.read(item), folder.mask(item)
    if mask is not None and mask.shape != pixels.shape[:2]:
        folder.drop_draft(item)  # The image was exchanged since.
        mask = folder.mask(item)
        if mask is not None:
            check_size(mask, pixels)
    return {
        "name": item.name,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "image": answers.encoded(answers.png(pixels)),
        "state": folder.states()[item.name],
        "mask": None if mask is None else RunLengths(**runs_of_mask(mask)),
    }


def _drafted(folder: AnnotationFolder, item: Item, content: bytes, most_pixels: int) -> None:
    folder.save_draft(item, mask_of_runs(content, most_pixels))


def _finished(folder: AnnotationFolder, item: Item, content: bytes, most_pixels: int) -> tuple[str, int]:
    """Save a mask; return its path in the folder, and the number of masks."""
    mask = mask_of_runs(content, most_pixels)
    check_size(mask, folder.read(item))
    path = folder.finish(item, mask).relative_to(folder.pairs.folder).as_posix()
    return path, folder.count_done()


def _boxed(folder: AnnotationFolder, item: Item, boxes: Boxes, drawn: DrawnBox) -> np.ndarray:
    pixels = folder.read(item)
    height, width = pixels.shape[:2]
    right, bottom = min(drawn.right, width), min(drawn.bottom, height)
    if right - drawn.left < 1 or bottom - drawn.top < 1:
        raise HTTPException(422, f"The box is empty, or outside of the image of {width} x {height} px.")
    return boxes.mask(pixels, (drawn.left, drawn.top, right, bottom))


def _proposed(folder: AnnotationFolder, item: Item, offered: Offered, uncertainty: bool) -> dict[str, Any]:
    return shown(offered, lambda: folder.read(item, reading_of(offered.specialist)), uncertainty=uncertainty)

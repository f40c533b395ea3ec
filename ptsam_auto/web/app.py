"""Puts the server together: the page, the API, and what stands in front of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from importlib.metadata import version
from typing import Literal, cast

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ptsam_auto.errors import DatasetError, OutputError, PtsamError
from ptsam_auto.web import annotating, predicting, training
from ptsam_auto.web.guard import Guard
from ptsam_auto.web.models import About, Health, SpecialistInfo
from ptsam_auto.web.site import Site
from ptsam_auto.web.work import Admission

COMPUTING = ("/api/predict", "/api/objects", "/api/training-images", "/api/proposals", "/api/boxes")
DESCRIPTION = """
Masks of images, by specialists that `ptsam-auto fit` has made. A script sends an image and gets its mask:

    curl --form image=@a.tif 'http://127.0.0.1:8300/api/predict?answer=mask' --output a.png

One image is predicted at a time. If too many requests wait, the answer is 503 with the header Retry-After.
"""


def build(site: Site, host: str = "127.0.0.1", token: str | None = None) -> ASGIApp:
    """Return the server as an ASGI application.

    Args:
        site: What requests share.
        host: Name or address at which the server listens.
        token: Text that requests to the API must bring, or None.
    """

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        site.begin()
        yield
        site.end()

    app = FastAPI(
        title="PTSAM-auto",
        version=version("ptsam-auto"),
        description=DESCRIPTION,
        lifespan=life,
        docs_url=None,  # FastAPI's pages load scripts from another server.
        redoc_url=None,
    )
    app.add_exception_handler(PtsamError, _refused)
    static = resources.files("ptsam_auto.web") / "static"

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(str(static / "index.html"))

    @app.get("/health", tags=["server"])
    async def health() -> Health:
        """Say whether the server works, and how busy it is."""
        return Health(specialists=site.shelf.names(), running=site.work.running, waiting=site.work.waiting)

    @app.get("/api/about", tags=["server"])
    async def about() -> About:
        """Say which specialists there are, and what may be sent."""
        return _about(site)

    app.include_router(predicting.router(site))
    app.include_router(training.router(site))
    if site.annotation:
        app.include_router(annotating.router(site, site.annotation))
    app.mount("/static", StaticFiles(directory=str(static)))
    return Guard(Admission(app, site.work, COMPUTING), host, site.limits, token)


def _about(site: Site) -> About:
    specialists = []
    for offered in site.shelf:
        record = offered.specialist.record
        expected = record.scores.expected
        specialists.append(
            SpecialistInfo(
                name=offered.name,
                about=offered.about,
                uncertainty=offered.has_folds,
                expected_dice=expected.dice if expected else None,
                smallest=record.objects.smallest,
                largest_hole=record.objects.largest_hole,
                classes=list(record.classes),
            )
        )
    return About(
        mode=cast(Literal["serve", "annotate"], site.mode),
        version=version("ptsam-auto"),
        specialists=specialists,
        chosen=chosen.name if (chosen := site.shelf.get(None)) else None,
        upload_bytes=site.limits.upload_bytes,
        pixels=site.limits.pixels,
        folder=site.training.folder.resolve().name if site.training else None,
        fits=site.fits is not None,
        fit_every=site.fit_every,
        boxes=site.boxes is not None,
    )


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    """Answer an error that the user can correct: an image that cannot be read, for example."""
    if isinstance(error, DatasetError):
        detail = "; ".join(f"{problem.where} {problem.what}".strip() for problem in error.problems)
    else:
        detail = str(error)
    return JSONResponse({"detail": detail}, 507 if isinstance(error, OutputError) else 422)

"""Servers without a socket, and images to send to them."""

import io

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from ptsam_auto.web.app import build
from ptsam_auto.web.limits import Limits
from ptsam_auto.web.shelf import Shelf
from ptsam_auto.web.site import Site

ADDRESS = "http://127.0.0.1:8300"
QUICK = {"recipe.epochs": 4, "recipe.steps_per_epoch": 5, "recipe.views": 2}


def client(made=None, *, limits=Limits(), token=None, host="127.0.0.1", **parts):  # noqa: B008 - frozen
    """A client of a server; `made` is the folder of a specialist."""
    shelf = Shelf()
    if made:
        shelf.add(made)
    site = Site(shelf, limits, **parts)
    opened = TestClient(build(site, host, token), base_url=ADDRESS)
    opened.site = site
    return opened


def png(pixels):
    """An array as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(content):
    """The array in the bytes of a PNG or TIFF."""
    return np.asarray(Image.open(io.BytesIO(content)))

"""The walk of docs/walk.md, from its first command to its last, with a real browser in between."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ptsam_auto.data.images import read_image
from tests.data.folders import save as save_image
from tests.docs.pages import ROOT, calls
from tests.toys import sample
from tests.web.sites import QUICK
from tests.web.test_page import CHROMIUM, browser, opened, stroke  # noqa: F401 - a fixture

PROGRAM = [sys.executable, "-c", "from ptsam_auto.cli import main; main()"]
FIT = 60_000  # ms
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]


def paint(page, number):
    """Paint the disc of an image with strokes from left to right."""
    page.keyboard.press("b")
    rows = np.flatnonzero(sample(number).mask.any(axis=1))
    for y in range(int(rows[0]) + 4, int(rows[-1]) - 2, 6):
        columns = np.flatnonzero(sample(number).mask[y])
        stroke(page, (int(columns[0]) + 4, y), (int(columns[-1]) - 4, y))


def image_in(page):
    """The number of the image that is open, when it can be painted."""
    page.locator("#done:enabled").wait_for()
    return int(re.search(r"n(\d+)\.png", page.locator("[aria-current=true]").inner_text())[1])


def done(page):
    """Press Done, and wait for the next image."""
    name = page.locator("[aria-current=true]").inner_text().split(".png")[0].strip()
    page.keyboard.press("d")
    page.locator("#message", has_text=f"Saved as masks/{name}.png").wait_for()
    page.locator("[aria-current=true]").filter(has_not_text=f"{name}.png").wait_for()


def test_the_first_walk_ends_with_a_table_of_objects(browser, toy, tmp_path):  # noqa: F811
    for number in range(8):
        save_image(tmp_path / "cells" / f"n{number}.png", sample(number).image)
    annotate, predict = calls(ROOT / "docs" / "walk.md")
    assert (annotate.name, predict.name) == ("annotate", "predict")
    words = [{"nano": str(toy)}.get(word, word) for word in annotate.words]
    quick = [word for path, value in QUICK.items() for word in ("--set", f"{path}={value}")]
    server = subprocess.Popen(
        [*PROGRAM, "annotate", *words, "--port", "0", *quick],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        with opened(browser, address) as page:
            for _ in range(4):
                paint(page, image_in(page))
                done(page)
            page.locator("#fit-state", has_text="cells-specialist is ready").wait_for(timeout=FIT)
            for _ in range(2):
                number = image_in(page)
                page.locator("#threshold:enabled").wait_for()  # A mask is proposed.
                paint(page, number)
                done(page)
            page.click("#fit")
            page.locator("#fit-state", has_text="cells-specialist-2 is ready").wait_for(timeout=FIT)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert len(list((tmp_path / "cells" / "masks").glob("*.png"))) == 6
    ran = subprocess.run(
        [*PROGRAM, "predict", *predict.words],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    truth, found = sample(7).mask, read_image(tmp_path / "masks" / "n7.png")[..., 0] > 0
    assert found.shape == truth.shape
    objects = pd.read_csv(tmp_path / "masks" / "objects.csv")
    assert set(objects["image"]) <= {f"n{number}" for number in range(8)}
    assert (objects["area_px"] > 0).all()
    assert (tmp_path / "masks" / "measurements.html").exists()

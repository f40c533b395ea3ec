"""What people open: MLflow's page shows trials, their curves and order, and two side by side, in a browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.tracking.test_log_search import runs, send, trial, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 300  # seconds; MLflow's server takes long to start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url):
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    raise TimeoutError(url)


@pytest.fixture
def server(store, tmp_path):
    """MLflow's server over three trials of a search, one of them failed."""
    write(tmp_path, *trial(0), *trial(1, 0.6), *trial(2, 0.3, state="failed"))
    (tmp_path / "history.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    assert send(tmp_path, [tmp_path / "history.svg"])[0]
    port = free_port()
    running = subprocess.Popen(
        [sys.executable, "-c", "from ptsam_auto.cli import main; main()", "ui", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(f"http://127.0.0.1:{port}/health")
    yield f"http://127.0.0.1:{port}"
    os.killpg(running.pid, 15)
    running.wait()


@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = browser.new_page(viewport={"width": 1600, "height": 1200})
        found.set_default_timeout(60_000)
        yield found
        browser.close()


def wait_for_order(page, names):
    """Wait until these runs stand below each other in this order."""
    places = [page.get_by_text(name, exact=True).first for name in names]
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        boxes = [place.bounding_box() for place in places if place.count()]
        heights = [box["y"] for box in boxes if box]
        if len(heights) == len(names) and heights == sorted(set(heights)):
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"{names} are in another order: {page.inner_text('body')}")


def test_what_a_user_looks_for_is_on_the_pages_of_mlflow(server, page, store):
    """One test, because the server takes half a minute to start."""
    parent, children = runs(store)
    experiment = f"{server}/#/experiments/{parent.info.experiment_id}/runs"
    page.goto(experiment)
    page.get_by_text("toy", exact=True).first.wait_for()
    assert f"{1 + len(children)} matching runs" in page.inner_text("body")
    assert "trial 1" not in page.inner_text("body"), "children are folded into their parent"

    # The children, sorted by Dice.
    dice = {name: run.data.metrics["dice/held_out"] for name, run in children.items()}
    for ascending in (False, True):
        order = f"orderByKey=metrics.%60dice%2Fheld_out%60&orderByAsc={str(ascending).lower()}"
        page.goto(f"{experiment}?{order}")
        wait_for_order(page, sorted(children, key=dice.get, reverse=not ascending))

    # One click further: the same runs as charts.
    page.goto(f"{experiment}?compareRunsMode=CHART")
    page.locator(".js-plotly-plot, .main-svg").first.wait_for(state="attached")
    assert "dice" in page.inner_text("body")

    # Two of them side by side.
    first, second = (children[name].info.run_id for name in ("trial 0", "trial 1"))
    page.goto(f'{server}/#/compare-runs?runs=["{first}","{second}"]&experiments=["{parent.info.experiment_id}"]')
    page.get_by_text("Comparing 2 Runs").first.wait_for()
    body = page.inner_text("body")
    assert "trial 0" in body
    assert "recipe.epochs" in body

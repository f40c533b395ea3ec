"""What people open: MLflow's page shows trials, their curves and their order, and a fit's overlays, in a browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.tracking import log_fit
from tests.specialist.records import member, record
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
def server(store, toy, tmp_path, monkeypatch):
    """MLflow's server over three trials of a search, one of them failed, and a fit."""
    write(tmp_path, *trial(0), *trial(1, 0.6), *trial(2, 0.3, state="failed"))
    (tmp_path / "history.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    assert send(tmp_path, [tmp_path / "history.svg"])[0]
    (tmp_path / "report.html").write_text("<p>report</p>")
    monkeypatch.setattr(log_fit, "_register", lambda *_: None)  # a model takes seconds, and is tested elsewhere
    picture = np.full((40, 120, 3), 77, np.uint8)
    log_fit.log_fit("discs", tmp_path, record(member(checkpoint.load(toy), PTSAMConfig())), {}, {"disc07": picture})
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
        found.set_default_timeout(1000 * PATIENCE)
        yield found
        browser.close()


def unfolded(page, url, names):
    """Open a table of runs, and its only parent."""
    page.goto(url)
    page.get_by_text("toy", exact=True).first.wait_for()
    page.locator("[data-component-id*=runnamecell]").first.click()
    for name in names:
        page.get_by_text(name, exact=True).first.wait_for()


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
        unfolded(page, f"{experiment}?{order}", children)
        heights = {name: page.get_by_text(name, exact=True).first.bounding_box()["y"] for name in children}
        assert sorted(children, key=heights.get) == sorted(children, key=dice.get, reverse=not ascending)

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

    # The overlays of a fit.
    (fitted,) = store.search_runs(
        [store.get_experiment_by_name(log_fit.EXPERIMENT).experiment_id], "attributes.run_name = 'discs'"
    )
    page.goto(f"{server}/#/experiments/{fitted.info.experiment_id}/runs/{fitted.info.run_id}/model-metrics")
    page.get_by_text("disc07").first.wait_for()
    page.wait_for_function("[...document.images].some(image => image.naturalWidth >= 40 && image.complete)")

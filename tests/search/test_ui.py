"""What people open: MLflow's page shows the parent with its trials, and their curves, in a real browser."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import aiohttp
import pytest

from tests.search.test_log_search import runs, send, trial, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 300  # seconds; MLflow's server takes long to start
# The page's own text, without what is hidden.
TEXT = "document.body ? document.body.innerText : ''"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url):
    """Wait for a server."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            with urlopen(url, timeout=5) as answer:
                return answer.read()
        except (URLError, OSError):
            time.sleep(0.3)
    raise TimeoutError(url)


@pytest.fixture
def server(store, tmp_path):
    """MLflow's server over three trials of a search, one of them failed."""
    write(tmp_path, *trial(0), *trial(1, 0.6), *trial(2, state="failed"))
    (tmp_path / "history.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    assert send(tmp_path, [tmp_path / "history.svg"])[0]
    port = free_port()
    words = ["server", "--backend-store-uri", os.environ["MLFLOW_TRACKING_URI"], "--host", "127.0.0.1"]
    words += ["--port", str(port), "--workers", "1", "--artifacts-destination", str(tmp_path / "artifacts")]
    running = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    answers(f"http://127.0.0.1:{port}/health")
    yield f"http://127.0.0.1:{port}"
    os.killpg(running.pid, 15)
    running.wait()


@pytest.fixture
def browser(tmp_path):
    port = free_port()
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    running = subprocess.Popen(
        [CHROMIUM, *quiet, f"--user-data-dir={tmp_path / 'profile'}", f"--remote-debugging-port={port}",
         "--window-size=1600,1200", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    answers(f"http://127.0.0.1:{port}/json/version")
    (page,) = [one for one in json.loads(answers(f"http://127.0.0.1:{port}/json")) if one["type"] == "page"]
    yield page["webSocketDebuggerUrl"]
    os.killpg(running.pid, 15)
    running.wait()


class Page:
    """As much of the browser's protocol as a look at a page takes."""

    def __init__(self, socket_):
        self._socket, self._number = socket_, 0

    async def call(self, method, **values):
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": values})
        while True:
            answer = await self._socket.receive_json()
            if answer.get("id") == self._number:
                return answer["result"]

    async def value(self, script):
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    async def until(self, script):
        """Wait until a script says something true."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            if found := await self.value(script):
                return found
            await asyncio.sleep(0.3)
        raise TimeoutError(f"{script} on a page that says:\n{await self.value(TEXT)}")


def look(browser, visit):
    async def session():
        async with aiohttp.ClientSession() as client, client.ws_connect(browser, max_msg_size=0) as socket_:
            await visit(Page(socket_))

    asyncio.run(session())


def test_the_parent_opens_onto_its_trials_and_their_curves(server, browser, store):
    parent, children = runs(store)
    experiment = f"{server}/#/experiments/{parent.info.experiment_id}/runs"

    async def visit(page):
        await page.call("Page.navigate", url=experiment)
        await page.until(f"({TEXT}).includes('toy')")
        assert f"{1 + len(children)} matching runs" in await page.value(TEXT)
        assert "trial 1" not in await page.value(TEXT), "children are folded into their parent"
        await page.until("(b => b && (b.click(), true))(document.querySelector('[data-component-id*=runnamecell]'))")
        for name in children:
            await page.until(f"({TEXT}).includes({name!r})")
        # One click further: the same runs as charts.
        await page.call("Page.navigate", url=f"{experiment}?compareRunsMode=CHART")
        await page.until("document.querySelectorAll('.js-plotly-plot, .main-svg').length > 0")
        assert "dice" in await page.value(TEXT)

    look(browser, visit)

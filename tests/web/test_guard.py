"""What may not reach the server: foreign names, foreign pages, too much, too long, too many, and no token."""

import asyncio
import io
import threading

import numpy as np
import pytest
import tifffile

from ptsam_auto.web.limits import Limits
from ptsam_auto.web.work import Admission, OneAtATime
from tests.toys import sample
from tests.web.sites import client, png

SECRET = "0123456789abcdef"


def upload(pixels=None):
    return {"image": ("a.png", png(sample(1).image if pixels is None else pixels))}


@pytest.fixture(scope="module")
def bare():
    """A server without specialists."""
    with client() as opened:
        yield opened


def test_a_foreign_name_that_leads_here_is_refused(bare):
    """DNS rebinding: a page at evil.example, whose name now means 127.0.0.1, would read the answers."""
    for name in ("evil.example:8300", "127.0.0.1.evil.example", "evil.example", ""):
        assert bare.get("/api/about", headers={"host": name}).status_code == 421, name
    for name in ("127.0.0.1:8300", "localhost:8300", "[::1]:8300", "LOCALHOST"):
        assert bare.get("/api/about", headers={"host": name}).status_code == 200, name


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8300"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ],
)
def test_another_page_in_the_same_browser_can_neither_predict_nor_start_a_fit(bare, headers):
    for method, path in (("POST", "/api/predict"), ("POST", "/api/fits"), ("GET", "/api/about"), ("GET", "/health")):
        answer = bare.request(method, path, headers=headers)
        assert answer.status_code == 403
        assert "other web pages" in answer.json()["detail"]


def test_the_page_itself_and_a_link_to_it_are_answered(bare):
    own = {"origin": "http://127.0.0.1:8300", "sec-fetch-site": "same-origin"}
    assert bare.get("/api/about", headers=own).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert bare.get("/", headers=link).status_code == 200


def test_no_answer_may_be_framed_cached_or_load_anything_from_elsewhere(bare):
    for path in ("/", "/api/about", "/static/app.js", "/nowhere", "/openapi.json"):
        headers = bare.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    refused = bare.get("/", headers={"host": "evil.example"})
    assert "content-security-policy" in refused.headers


def test_pages_that_load_scripts_from_elsewhere_are_not_there(bare):
    assert bare.get("/docs").status_code == 404
    assert bare.get("/redoc").status_code == 404
    assert bare.get("/static/../app.py").status_code == 404
    assert bare.get("/static/%2e%2e/app.py").status_code == 404


def test_a_request_that_is_too_large_is_refused_also_if_it_hides_its_length(made):
    with client(made, limits=Limits(upload_bytes=10_000)) as opened:
        noise = sample(1, 200, 200).image
        answer = opened.post("/api/predict", files=upload(noise))
        assert answer.status_code == 413
        assert "larger than 0.01 MB" in answer.json()["detail"]
        body = opened.build_request("POST", "/api/predict", files=upload(noise))
        content = body.read()
        kind = {"content-type": body.headers["content-type"]}
        pieces = (content[i : i + 1000] for i in range(0, len(content), 1000))
        answer = opened.post("/api/predict", content=pieces, headers=kind)
        assert answer.status_code == 413, answer.text
        assert opened.post("/api/predict", files=upload()).status_code == 200, "the next one is answered"


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(made):
    with client(made, limits=Limits(pixels=5000)) as opened:
        assert opened.post("/api/predict", files=upload(sample(1, 48, 64).image)).status_code == 200
        answer = opened.post("/api/predict", files=upload(sample(1, 200, 300).image))
        assert answer.status_code == 422
        assert answer.json()["detail"] == "a.png 300 x 200 px; this server takes at most 0.005 million pixels"


def test_an_image_with_very_many_channels_is_refused_before_it_is_decoded(made):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((2000, 5, 6), np.uint8), metadata={"axes": "CYX"}, ome=True, compression="zlib")
    with client(made, limits=Limits(pixels=5000)) as opened:
        answer = opened.post("/api/predict", files={"image": ("a.tif", buffer.getvalue())})
        assert answer.status_code == 422
        what = "a.tif 6 x 5 px with 2000 channels, which is too large for this server"
        assert answer.json()["detail"] == what


def test_with_a_token_the_api_is_closed_to_those_who_lack_it():
    with client(token=SECRET, host="192.168.0.7") as opened:
        for path in ("/api/about", "/openapi.json"):
            assert opened.get(path).status_code == 401
            assert opened.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
            assert opened.get(path, headers={"authorization": f"Bearer {SECRET}"}).status_code == 200
        assert opened.post("/api/predict", files=upload()).status_code == 401
        assert opened.get("/").status_code == 200, "the page asks for it"
        named = {"host": "192.168.0.7:8300", "authorization": f"Bearer {SECRET}"}
        assert opened.get("/api/about", headers=named).status_code == 200


async def call(app, path="/api/predict"):
    """Send an empty request to an ASGI application; return status and headers."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app({"type": "http", "path": path, "headers": []}, receive, send)
    return sent[0]["status"], dict(sent[0].get("headers", ()))


def computing(work, gate):
    """An application that computes until the gate opens."""

    async def app(_scope, _receive, send):
        await work.run(gate.wait, 20)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    return Admission(app, work, ("/api/predict",))


def test_one_is_computed_a_few_wait_and_the_next_is_told_when_to_come_back():
    work, gate = OneAtATime(Limits(waiting=2)), threading.Event()
    app = computing(work, gate)

    async def story():
        first = [asyncio.create_task(call(app)) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert (work.running, work.waiting) == (1, 2)
        status, headers = await call(app)
        assert status == 503
        assert int(headers[b"retry-after"]) >= 1
        gate.set()
        assert [status for status, _ in await asyncio.gather(*first)] == [200, 200, 200]
        assert (await call(app))[0] == 200, "afterwards there is room again"

    asyncio.run(story())
    work.close()


def test_an_answer_that_takes_too_long_is_given_up_and_those_that_waited_are_not_computed():
    work, gate = OneAtATime(Limits(seconds=0.2)), threading.Event()
    app = computing(work, gate)

    async def story():
        statuses = [status for status, _ in await asyncio.gather(*[call(app) for _ in range(3)])]
        assert statuses == [504, 504, 504]
        assert work.running == 1, "what has begun cannot be stopped"
        gate.set()
        await asyncio.sleep(0.1)
        assert (work.running, work.admitted) == (0, 0)
        assert (await call(app))[0] == 200

    asyncio.run(story())
    work.close()

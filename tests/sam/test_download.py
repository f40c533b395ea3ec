"""A server that answers wrongly, slowly or for ever is a message, and leaves nothing behind."""

import hashlib
import socket
import threading
import time

import pytest

from ptsam_auto.errors import BackboneError
from ptsam_auto.sam import checkpoint, download
from ptsam_auto.sam.checkpoint import Official

HEADER = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def answering(monkeypatch, tmp_path):
    """A function that starts a server which sends some bytes, then repeats others with a pause until it is cut off."""
    monkeypatch.setenv("PTSAM_AUTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "TIMEOUT", 1.0)
    servers = []
    asked = {}

    def start(content, repeated=b"", pause=0.0):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve():
            try:
                connection, _ = server.accept()
                with connection:
                    asked[url] = connection.recv(10_000)
                    connection.sendall(content)
                    while repeated:
                        connection.sendall(repeated)
                        time.sleep(pause)
            except OSError:  # the client or the test has hung up
                pass

        url = f"http://127.0.0.1:{server.getsockname()[1]}/sam.pth"
        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setitem(checkpoint.OFFICIAL, "vit_b", Official(url, "0" * 64, most_bytes=100_000))
        return url

    start.asked = asked
    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(("content", "reason"), [
    (b"garbage\r\n\r\n", "garbage"),
    (b"", "Remote end closed connection without response"),
    (HEADER + b"Content-Length: many\r\n\r\nabc", "is damaged: SHA-256"),
    (HEADER + b"Content-Length: -5\r\n\r\nabc", "is damaged: SHA-256"),
    (HEADER + b"Content-Length: 5000\r\n\r\nabc", "the connection broke after 3 of 5,000 bytes"),
    (HEADER + b"Content-Length: 999999\r\n\r\n", "the server announces 999,999 bytes, expected at most 100,000"),
    (HEADER + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", "the connection broke after"),
    (HEADER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab", "the connection broke after 0 bytes (IncompleteRead)"),
    (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "file"),
    (b"HTTP/1.1 404 Not Found\r\n\r\n", "Not Found"),
])  # fmt: skip
def test_a_wrong_answer_is_a_message_and_leaves_nothing(answering, tmp_path, content, reason):
    url = answering(content)
    with pytest.raises(BackboneError) as error:
        checkpoint.load("vit_b")
    assert url in str(error.value)
    assert reason in str(error.value)
    assert not list((tmp_path / "cache").iterdir())


def test_a_download_that_broke_goes_on_where_it_was(answering, tmp_path, monkeypatch):
    content = bytes(range(256)) * 200
    sha256 = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(download, "WORTH_KEEPING", 1_000)
    first = answering(HEADER + f"Content-Length: {len(content)}\r\n\r\n".encode() + content[:20_000])
    with pytest.raises(BackboneError, match=r"20,000 of 51,200 bytes\. The same command goes on from 20,000"):
        checkpoint.load("vit_b")
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.read_bytes() == content[:20_000]

    second = answering(
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 20000-51199/51200\r\n"
        + f"Content-Length: {len(content) - 20_000}\r\n\r\n".encode()
        + content[20_000:]
    )
    monkeypatch.setitem(checkpoint.OFFICIAL, "vit_b", Official(second, sha256, most_bytes=100_000))
    with pytest.raises(BackboneError, match=r"sam\.pth"):
        checkpoint.load("vit_b")  # The file is whole; it is only no SAM.
    (whole,) = (tmp_path / "cache").iterdir()
    assert whole.read_bytes() == content
    assert answering.asked[second].count(b"Range: bytes=20000-") == 1
    assert b"Range" not in answering.asked[first]


@pytest.mark.parametrize("answer", [
    HEADER + b"Content-Length: 5000\r\n\r\n" + b"y" * 5000,
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-8/9\r\n\r\n" + b"y" * 5000,
])  # fmt: skip
def test_a_server_that_cannot_send_the_rest_spoils_nothing(answering, tmp_path, answer):
    """It sends the whole file, or another part."""
    answering(answer)
    begun = tmp_path / "cache" / "sam.pth.begun"
    begun.parent.mkdir()
    begun.write_bytes(b"x" * 3000)
    with pytest.raises(BackboneError, match=r"is damaged: SHA-256|sends another part"):
        checkpoint.load("vit_b")
    assert not list(begun.parent.iterdir())


def test_a_server_that_sends_for_ever_fills_no_disk(answering, tmp_path):
    answering(HEADER + b"\r\n", repeated=b"x" * 50_000)
    with pytest.raises(BackboneError, match="the server sends more than 100,000 bytes"):
        checkpoint.load("vit_b")
    assert not list((tmp_path / "cache").iterdir())


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(answering, monkeypatch):
    monkeypatch.setattr(download, "PERIOD", 0.3)
    answering(HEADER + b"\r\n", repeated=b"x", pause=0.02)
    with pytest.raises(BackboneError, match="bytes came in 0 s"):
        checkpoint.load("vit_b")


def test_a_server_that_says_nothing_more_is_given_up(answering):
    answering(HEADER + b"\r\n", repeated=b"x", pause=10)
    with pytest.raises(BackboneError, match="the connection broke after 1 bytes"):
        checkpoint.load("vit_b")

"""Downloads a file of known size, without hanging, filling the disk, or showing a traceback for a bad server.

What has come when a connection breaks is kept, and the next download asks the server for the rest only.
"""

import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

TIMEOUT = 5.0  # seconds without any answer; short, so that a firewall that drops packets does not delay the start
SLOWEST = 20_000  # bytes per second over a whole period; less is as good as no answer
PERIOD = 30.0  # seconds
PIECE = 1 << 18  # bytes
WORTH_KEEPING = 1 << 20  # smallest number of bytes that are kept when the connection breaks


class DownloadError(Exception):
    """The file could not be downloaded. The message is the reason, for the end of a sentence."""


class _BrokenError(DownloadError):
    """The connection broke or was too slow; what has come is the beginning of the file."""


def download(url: str, to: Path, most_bytes: int, progress: Callable[[int, int], None], begun: Path) -> None:
    """Download a file. Proxies are those of the environment.

    Args:
        url: Address, http or https.
        to: File to write.
        most_bytes: Largest size of the file; the download ends with an error if the server sends more.
        progress: Function that is called with (bytes, total bytes); the total is 0 if the server does not tell it.
        begun: File on the same disk with what has come of an earlier download that broke, if there is one. It is used
            up; if this download breaks, it is there again.

    Raises:
        DownloadError: The server does not answer, answers wrongly, is too slow, or sends too much or too little.
        OSError: The file cannot be written.
    """
    with suppress(FileNotFoundError):
        begun.replace(to)
    try:
        _download(url, to, most_bytes, progress)
    except (_BrokenError, KeyboardInterrupt) as error:
        if (size := to.stat().st_size) < WORTH_KEEPING:
            raise
        to.replace(begun)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise DownloadError(f"{error}. The same command goes on from {size:,} bytes") from None


def _download(url: str, to: Path, most_bytes: int, progress: Callable[[int, int], None]) -> None:
    """Download a file of which the first bytes may be there already."""
    before = to.stat().st_size if to.exists() else 0
    answer = _answer(url, before)
    goes_on = answer.status == HTTPStatus.PARTIAL_CONTENT
    if goes_on and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {before}-"):
        answer.close()
        raise DownloadError("the server sends another part of the file than the one that is missing")
    with answer, to.open("ab" if goes_on else "wb") as file:
        done = before if goes_on else 0
        rest = _announced(answer.headers.get("Content-Length"))
        total = done + rest if rest else 0
        if total > most_bytes:
            raise DownloadError(f"the server announces {total:,} bytes, expected at most {most_bytes:,}")
        began, at_begin = time.monotonic(), done
        while True:
            try:
                piece = answer.read1(PIECE)
            except (OSError, HTTPException, ValueError) as error:
                raise _BrokenError(f"the connection broke after {done:,} bytes ({type(error).__name__})") from None
            if not piece:
                break
            file.write(piece)
            done += len(piece)
            if done > most_bytes:
                raise DownloadError(f"the server sends more than {most_bytes:,} bytes")
            progress(done, total)
            if (passed := time.monotonic() - began) > PERIOD:
                if done - at_begin < SLOWEST * passed:
                    raise _BrokenError(f"only {done - at_begin:,} bytes came in {passed:.0f} s")
                began, at_begin = time.monotonic(), done
        if done < total:
            raise _BrokenError(f"the connection broke after {done:,} of {total:,} bytes")


def _answer(url: str, before: int) -> HTTPResponse:
    """Ask for a file, or for what is missing of it if the server can send a part."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={before}-"} if before else {})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # It is the answer, too.
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                return _answer(url, 0)
        raise DownloadError(str(getattr(error, "reason", None) or error or type(error).__name__)) from None


def _announced(length: str | None) -> int:
    return int(length) if length is not None and length.isascii() and length.isdigit() else 0

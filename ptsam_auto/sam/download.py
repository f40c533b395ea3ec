"""Downloads a file of known size, without hanging, filling the disk, or showing a traceback for a bad server."""

import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

TIMEOUT = 5.0  # seconds without any answer; short, so that a firewall that drops packets does not delay the start
SLOWEST = 20_000  # bytes per second over a whole period; less is as good as no answer
PERIOD = 30.0  # seconds
PIECE = 1 << 18  # bytes


class DownloadError(Exception):
    """The file could not be downloaded. The message is the reason, for the end of a sentence."""


def download(url: str, to: Path, most_bytes: int, progress: Callable[[int, int], None]) -> None:
    """Download a file. Proxies are those of the environment.

    Args:
        url: Address, http or https.
        to: File to write.
        most_bytes: Largest size of the file; the download ends with an error if the server sends more.
        progress: Function that is called with (bytes, total bytes); the total is 0 if the server does not tell it.

    Raises:
        DownloadError: The server does not answer, answers wrongly, is too slow, or sends too much or too little.
        OSError: The file cannot be written.
    """
    try:
        answer = urllib.request.urlopen(url, timeout=TIMEOUT)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # It is the answer, too.
        raise DownloadError(str(getattr(error, "reason", None) or error or type(error).__name__)) from None
    with answer, to.open("wb") as file:
        total, done = _announced(answer.headers.get("Content-Length")), 0
        if total > most_bytes:
            raise DownloadError(f"the server announces {total:,} bytes, expected at most {most_bytes:,}")
        began, at_begin = time.monotonic(), 0
        while True:
            try:
                piece = answer.read1(PIECE)
            except (OSError, HTTPException, ValueError) as error:
                raise DownloadError(f"the connection broke after {done:,} bytes ({type(error).__name__})") from None
            if not piece:
                break
            file.write(piece)
            done += len(piece)
            if done > most_bytes:
                raise DownloadError(f"the server sends more than {most_bytes:,} bytes")
            progress(done, total)
            if (passed := time.monotonic() - began) > PERIOD:
                if done - at_begin < SLOWEST * passed:
                    raise DownloadError(f"only {done - at_begin:,} bytes came in {passed:.0f} s")
                began, at_begin = time.monotonic(), done
        if done < total:
            raise DownloadError(f"the connection broke after {done:,} of {total:,} bytes")


def _announced(length: str | None) -> int:
    return int(length) if length is not None and length.isascii() and length.isdigit() else 0

"""The limits of a server: how large an upload may be, how long an answer may take, and how many may wait."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Args:
        upload_bytes: Largest body of a request, bytes.
        pixels: Most pixels of one page of an image.
        seconds: Longest time from the first byte of a request to its answer, seconds.
        waiting: Number of requests that wait while another one is computed; further ones are answered with 503.
    """

    upload_bytes: int = 256_000_000
    pixels: int = 36_000_000
    seconds: float = 120.0
    waiting: int = 8

"""Refuses requests that do not come from the page or from a script on this machine, before anything reads them.

A web page of somebody else can make a browser on this machine send requests to 127.0.0.1. Three checks refuse them. The
header Host must name this server: a foreign name that was made to lead here (DNS rebinding) is refused. The header
Origin, which a browser adds to a request that changes something, must be this server's own (cross-site request
forgery). The header Sec-Fetch-Site must not say cross-site. Where the server can be reached from the network, a token
is asked for.
"""

import hmac
import json
from collections.abc import Mapping, MutableMapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ptsam_auto.web.limits import Limits

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
# The page loads its own scripts, styles and pictures, and nothing else; no other page may show it in a frame.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
FOREIGN = "cross-site", "same-site"


class TooLargeError(Exception):
    """The body of a request is larger than the limit."""


class Guard:
    """ASGI middleware that refuses foreign and oversized requests, and adds headers to each answer.

    Args:
        app: The application.
        host: Name or address at which the server listens, as in a URL but without brackets.
        limits: Limits of the server.
        token: Text that a request to the API must bring as "Authorization: Bearer TOKEN", or None.
    """

    def __init__(self, app: ASGIApp, host: str, limits: Limits, token: str | None = None) -> None:
        self._app, self._limits, self._token = app, limits, token
        self._names = {*LOOPBACK_NAMES, in_url(host).lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} requests are not answered")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        started, body = False, _Body(receive, self._limits.upload_bytes)

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if body.is_too_large:  # The application answers that it cannot read the body.
                    raise TooLargeError
                started = True
                _add(message)
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal:
            await refuse(with_headers, *refusal)
            return
        try:
            await self._app(scope, body.receive, with_headers)
        except TooLargeError:
            if started:
                raise
            body.is_too_large = False
            await refuse(with_headers, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large)

    @property
    def _too_large(self) -> str:
        return f"The request is larger than {self._limits.upload_bytes / 1e6:g} MB, the limit of this server."

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[HTTPStatus, str] | None:
        """Return status and message if the request is refused."""
        host = headers.get("host", "")
        if _name_of(host) not in self._names:
            return HTTPStatus.MISDIRECTED_REQUEST, "This server does not answer to the name in the header Host."
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return HTTPStatus.FORBIDDEN, "Requests of other web pages are refused (header Origin)."
        navigation = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        if headers.get("sec-fetch-site") in FOREIGN and not navigation:
            return HTTPStatus.FORBIDDEN, "Requests of other web pages are refused (header Sec-Fetch-Site)."
        if self._token is not None and scope["path"].startswith(("/api", "/openapi")):
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return HTTPStatus.UNAUTHORIZED, "A token is needed: send the header Authorization: Bearer TOKEN."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._limits.upload_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large
        return None


class _Body:
    """Reads the body of a request and counts its bytes, because a request need not state its length.

    Args:
        receive: Function that reads.
        most: Largest number of bytes.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._total = receive, most, 0
        self.is_too_large = False

    async def receive(self) -> Message:
        """Return the next part; raises TooLargeError."""
        message = await self._receive()
        self._total += len(message.get("body", b""))
        if self._total > self._most:
            self.is_too_large = True
            raise TooLargeError
        return message


async def refuse(send: Send, status: HTTPStatus, what: str, headers: Mapping[str, str] | None = None) -> None:
    """Answer with a status and a message, as JSON, in the form of FastAPI's errors."""
    body = json.dumps({"detail": what}).encode()
    pairs = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    encoded = [(name.encode(), value.encode()) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": int(status), "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def is_loopback(host: str) -> bool:
    """Return whether a name or an address is that of this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def in_url(host: str) -> str:
    """Return a name or an address as it stands in a URL: an address of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _name_of(host: str) -> str:
    """Return the header Host without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _add(message: MutableMapping[str, Any]) -> None:
    present = {name.lower() for name, _ in message["headers"]}
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in present]
    message["headers"] = [*message["headers"], *added]

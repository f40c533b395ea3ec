"""Lets one computation run at a time, a few wait, and refuses the others with 503."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ptsam_auto.web.guard import refuse
from ptsam_auto.web.limits import Limits

Result = TypeVar("Result")
DRAIN_SECONDS = 5.0  # Longest time for which the body of a refused request is read.
KEPT = 0.7  # Share of the old value in the smoothed duration of a computation.


class OneAtATime:
    """Runs functions in a thread, one at a time, and knows how many requests wait for it.

    Args:
        limits: Limits of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.admitted = 0
        self.running = 0
        self._thread = ThreadPoolExecutor(1, "prediction")
        self._seconds = 1.0

    @property
    def waiting(self) -> int:
        """Return the number of requests that are admitted and not computed at this moment."""
        return max(0, self.admitted - self.running)

    @property
    def is_full(self) -> bool:
        """Return whether a further request is refused."""
        return self.admitted > self.limits.waiting

    @property
    def retry_after(self) -> int:
        """Return after how many seconds a refused request may be answered, at least 1."""
        return max(1, math.ceil(self._seconds * self.admitted))

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401
        """Return what a function returns. If the caller is cancelled before its turn, the function is not called."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, partial(self._timed, function, *arguments)
        )

    def _timed(self, function: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401
        started = time.monotonic()
        self.running = 1
        try:
            return function(*arguments)
        finally:
            self.running = 0
            self._seconds = KEPT * self._seconds + (1 - KEPT) * (time.monotonic() - started)

    def close(self) -> None:
        """Let the running function end, and drop those that wait."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class Admission:
    """ASGI middleware: a request that computes is refused while too many wait. Its body is dropped as it arrives.

    Every request has a time limit. A computation that has begun cannot be stopped; who asked for it is told, and those
    that come next wait for it.

    Args:
        app: The application.
        work: What the requests compute with.
        paths: Beginnings of the paths of the requests that compute something.
    """

    def __init__(self, app: ASGIApp, work: OneAtATime, paths: tuple[str, ...]) -> None:
        self._app, self._work, self._paths = app, work, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        computes = scope["path"].startswith(self._paths)
        work = self._work
        if computes and work.is_full:
            await _drained(receive)
            what = f"The server is busy: {work.admitted} requests are computed or wait. Try again later."
            await refuse(send, HTTPStatus.SERVICE_UNAVAILABLE, what, {"retry-after": str(work.retry_after)})
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        work.admitted += computes
        try:
            async with asyncio.timeout(work.limits.seconds):
                await self._app(scope, receive, noted)
        except TimeoutError:
            if started:
                raise
            what = f"The request took longer than {work.limits.seconds:g} s, the limit of this server."
            await refuse(send, HTTPStatus.GATEWAY_TIMEOUT, what, {"retry-after": str(work.retry_after)})
        finally:
            work.admitted -= computes


async def _drained(receive: Receive) -> None:
    """Read the body of a request and drop it: many clients see an answer only after they have sent everything."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass

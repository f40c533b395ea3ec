"""Runs the server until Ctrl-C."""

import socket

import uvicorn

from ptsam_auto.errors import ConfigError
from ptsam_auto.web.app import build
from ptsam_auto.web.guard import in_url
from ptsam_auto.web.site import Site

MOST_CONNECTIONS = 64  # at the same time; further ones are answered with 503


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; a port of 0 is any that is free.

    Raises:
        ConfigError: The host is not one of this machine, or the port is in use.
    """
    found = None
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()
    except OSError as error:
        if found:
            found.close()
        raise ConfigError(
            f"--host {host} --port {port} cannot be used: {error.strerror or error}.\n"
            f"Choose another port, such as --port {port + 1}."
        ) from None
    return found


def address_of(listener: socket.socket, host: str) -> str:
    """Return the address of the page."""
    return f"http://{in_url(host)}:{listener.getsockname()[1]}/"


def run(site: Site, listener: socket.socket, host: str, token: str | None = None) -> None:
    """Answer requests until Ctrl-C, which ends as KeyboardInterrupt."""
    config = uvicorn.Config(
        build(site, host, token),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])

"""The command `ui`: shows the runs in MLflow's own page, in a browser on this machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from ptsam_auto.commands.options import UiOptions
from ptsam_auto.errors import ConfigError, PtsamError
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.store import DEFAULT_STORE, SQLITE, without_secrets

LOOPBACK = "127.0.0.1"


def ui(options: UiOptions, terminal: Terminal) -> None:
    """Serve MLflow's page until Ctrl-C, on this machine only.

    Raises:
        ConfigError: There are no runs yet, MLflow is on a server that has a page of its own, or the port is in use.
        PtsamError: MLflow's server ended by itself.
    """
    store = os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_STORE)
    if store.startswith("http"):
        raise ConfigError(f"MLflow is on a server, which has a page of its own: open {without_secrets(store)}")
    database = Path(store.removeprefix(SQLITE))
    if store.startswith(SQLITE) and not database.is_file():
        raise ConfigError(
            f"There is no {database}, so nothing was logged here.\n"
            "Run this command in the folder in which fit or search was run, or set MLFLOW_TRACKING_URI."
        )
    _check_port(options.port)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--host", LOOPBACK, "--port", str(options.port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    terminal.say(f"Open http://{LOOPBACK}:{options.port} in a browser once the server has started. Ctrl-C ends it.")
    server = subprocess.Popen(command, env=environment)
    try:
        code = server.wait()
    except KeyboardInterrupt:
        server.wait()
        raise
    raise PtsamError(f"MLflow's server ended with exit code {code}; its messages are above.")


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ConfigError(
                f"--port {port} cannot be used: {error.strerror}.\nChoose another one, such as --port {port + 1}."
            ) from None

"""How `ptsam-auto serve` answers under load: throughput, latency, memory, and what is refused.

    python benchmarks/serve.py SPECIALIST

starts the server on 127.0.0.1 and sends it one image again and again, from 1, 4 and 32 clients at once, for --seconds
each. A client that is refused (503) waits for a tenth of a second. Nothing outside this machine is asked.
"""

import argparse
import http.client
import io
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from ptsam_auto.data.render import write_example

MOST_SECONDS, MOST_CLIENTS = 300, 64
PAUSE = 0.1  # seconds after a refusal
BOUNDARY = "boundary-of-the-parts"


@dataclass
class Load:
    """What happened while some clients sent requests.

    Args:
        statuses: Number of answers of each status; 0 is a broken connection.
        seconds: Duration of each answered prediction.
        refused: Duration of each refusal.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


def body_of(side: int) -> bytes:
    """A rendered image of a square of some px, as a form with one file."""
    with tempfile.TemporaryDirectory() as folder:
        write_example(Path(folder) / "example", count=1)
        image = Image.open(next((Path(folder) / "example" / "images").iterdir())).convert("RGB").resize((side, side))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head.encode() + buffer.getvalue() + f"\r\n--{BOUNDARY}--\r\n".encode()


def send(address: str, body: bytes, load: Load, until: float) -> None:
    """Send requests, one after the other, until a time."""
    host, port = urlsplit(address).hostname or "", urlsplit(address).port
    while time.monotonic() < until:
        started, status = time.monotonic(), 0
        connection = http.client.HTTPConnection(host, port, timeout=180)
        try:
            kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            connection.request("POST", "/api/predict?answer=mask", body, kind)
            answer = connection.getresponse()
            status = answer.status
            answer.read()
        except OSError:
            pass
        finally:
            connection.close()
        load.statuses[status] += 1
        took = time.monotonic() - started
        if status == 200:
            load.seconds.append(took)
        else:
            load.refused.append(took)
            time.sleep(PAUSE)


def under_load(address: str, body: bytes, clients: int, seconds: float) -> tuple[Load, float]:
    """Return what happened, and how long it took until the last answer."""
    load, started = Load(), time.monotonic()
    threads = [
        threading.Thread(target=send, args=(address, body, load, started + seconds), daemon=True)
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load, time.monotonic() - started


def percentile(values: list[float], share: float) -> str:
    return f"{np.percentile(values, share):.2f}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specialist", type=Path)
    parser.add_argument("--seconds", type=float, default=30, help="of each load")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 32])
    parser.add_argument("--side", type=int, default=512, help="of the image, px")
    parser.add_argument("--waiting", type=int, default=8, help="see ptsam-auto serve --waiting")
    given = parser.parse_args()
    if given.seconds > MOST_SECONDS or max(given.clients) > MOST_CLIENTS:
        parser.error(f"at most {MOST_SECONDS} seconds and {MOST_CLIENTS} clients")
    body = body_of(given.side)
    words = ["serve", str(given.specialist), "--port", "0", "--waiting", str(given.waiting)]
    program = "from ptsam_auto.cli import main; main()"
    server = subprocess.Popen([sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True)
    table = Table("clients", "predictions", "a second", "median, s", "95 %, s", "99 %, s", "refused (503)", "other",
                  "refusal 95 %, s", "memory, MB")  # fmt: skip
    try:
        assert server.stderr is not None
        address = next(line.split()[1] for line in server.stderr if line.startswith("Open "))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        process = psutil.Process(server.pid)
        under_load(address, body, 1, 3)  # The first predictions are slower.
        for clients in given.clients:
            load, took = under_load(address, body, clients, given.seconds)
            good, refused = load.statuses[200], load.statuses[503]
            table.add_row(
                str(clients), str(good), f"{good / took:.2f}", *(percentile(load.seconds, p) for p in (50, 95, 99)),
                str(refused), str(sum(load.statuses.values()) - good - refused), percentile(load.refused, 95),
                f"{process.memory_info().rss / 1e6:.0f}",
            )  # fmt: skip
    finally:
        server.terminate()
        server.wait(60)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

"""Python imports this at its start in every process of the test: whoever looks for a machine elsewhere is written down.

A name that is looked up counts, too: it leaves the machine before the connection does.
"""

import os
import sys

LOCAL = ("127.", "::1", "localhost", "0.0.0.0", "::ffff:127.", "")


def _watch(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = (arguments[0],)
    else:
        return
    if not isinstance(address, tuple) or address[0] is None:  # A socket in the file system.
        return
    host = address[0].decode() if isinstance(address[0], bytes) else str(address[0])
    if host == os.environ.get("PTSAM_AUTO_TEST_HOST") or any(
        host == one or (one.endswith(".") and host.startswith(one)) for one in LOCAL
    ):
        return
    with open(os.environ["PTSAM_AUTO_TEST_CALLS"], "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{event} {host} by {' '.join(sys.argv)}\n")


if "PTSAM_AUTO_TEST_CALLS" in os.environ:
    sys.addaudithook(_watch)

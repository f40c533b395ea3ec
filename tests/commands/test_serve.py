"""What keeps `serve` and `annotate` from starting is a message; their pages are opened in tests/web/test_page.py."""

import os
import signal
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest

from tests.data.folders import save
from tests.toys import sample

SECRET = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of images; the working folder is another one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for i in range(2):
        save(tmp_path / "cells" / f"n{i}.png", sample(i).image)
    return tmp_path / "cells"


@pytest.mark.parametrize("host", ["192.168.0.7", "lab-pc", "8.8.8.8", "::ffff:1.2.3.4"])
def test_the_network_is_not_let_in_unless_it_is_asked_for_and_a_secret_is_given(run, folder, host):
    code, _, err = run("annotate", folder, "--host", host)
    assert code == 1
    assert err.startswith(f"--host {host} may be reached by other machines, without encryption.\n")
    code, _, err = run("annotate", folder, "--host", host, "--network")
    assert (code, err) == (1, f"--host {host} needs a secret. Add --token-file FILE.\n")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_all_addresses_at_once_are_refused(run, folder, tmp_path, host):
    (tmp_path / "secret").write_text(SECRET)
    code, _, err = run("annotate", folder, "--host", host, "--network", "--token-file", tmp_path / "secret")
    assert code == 1
    assert "expected one address of this machine" in err


@pytest.mark.parametrize("secret", ["short", "0123456789 abcdefgh", "äöüäöüäöüäöüäöüäöü", ""])
def test_a_secret_that_can_be_guessed_or_not_be_sent_is_refused(run, folder, tmp_path, secret):
    (tmp_path / "secret").write_text(secret)
    code, _, err = run("annotate", folder, "--token-file", tmp_path / "secret")
    assert code == 1
    assert "holds no usable secret; expected one line of at least 16 letters and digits" in err
    assert secret not in err or not secret
    code, _, err = run("annotate", folder, "--token-file", tmp_path / "nowhere")
    assert err == f"--token-file {tmp_path / 'nowhere'} cannot be read: No such file or directory.\n"


def test_a_port_in_use_is_named(run, folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, err = run("annotate", folder, "--port", port)
    assert code == 1
    assert f"--port {port} cannot be used: Address already in use.\nChoose another port" in err
    assert run("annotate", folder, "--port", 70000)[2] == "--port is 70000; expected 0 to 65535.\n"


def test_what_is_not_there_is_named_before_anything_starts(run, folder, tmp_path):
    _, _, err = run("annotate", tmp_path / "nowhere")
    assert err.startswith(f"{tmp_path}/nowhere/ has 1 problem:\n  no such folder")
    assert "nowhere is not a finished specialist" in run("serve", tmp_path / "nowhere")[2]
    assert "--fit-backbone is nan" in run("annotate", folder, "--fit-backbone", "nan")[2]


def test_annotate_is_there_at_the_address_that_it_prints_until_ctrl_c(folder):
    words = ["-c", "from ptsam_auto.cli import main; main()", "annotate", str(folder), "--port", "0"]
    running = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    try:
        said = running.stderr.readline()
        assert said == f"2 images, 0 of them with a mask, in {folder}/.\n"
        said = running.stderr.readline()
        address = said.split()[1]
        assert said.startswith("Open http://127.0.0.1:")
        give_up = time.monotonic() + 60
        while True:
            try:
                with urlopen(address, timeout=60) as page:
                    assert b"PTSAM-auto" in page.read()
                break
            except OSError:
                assert time.monotonic() < give_up
                time.sleep(0.1)
        os.kill(running.pid, signal.SIGINT)
        rest = running.communicate(timeout=60)[1]
        assert (running.returncode, rest) == (130, "\nStopped. The same command goes on with what was painted.\n")
    finally:
        running.kill()
    assert sorted(path.name for path in folder.iterdir()) == ["n0.png", "n1.png"], "nothing is written unasked"

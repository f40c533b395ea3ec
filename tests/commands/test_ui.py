"""What keeps `ui` from starting is a message; the page itself is opened in tests/tracking/test_ui.py."""

import socket

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


def test_where_nothing_was_logged_it_says_so(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, _, err = run("ui")
    assert code == 1
    assert "There is no mlflow.db, so nothing was logged here." in err
    assert not list(tmp_path.iterdir())


def test_a_server_has_a_page_of_its_own_and_its_password_is_not_shown(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.lab.example:5000")
    code, _, err = run("ui")
    assert code == 1
    assert "open https://mlflow.lab.example:5000" in err
    assert "secret" not in err


def test_a_port_in_use_is_named(run, store):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, err = run("ui", "--port", port)
    assert code == 1
    assert f"--port {port} cannot be used: Address already in use.\nChoose another one" in err

"""The reference of the command line has every command, argument and option."""

import sys

import pytest
from typer.main import get_command

from ptsam_auto.cli import app
from tests.docs.pages import ROOT


@pytest.fixture
def command_line(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(ROOT / "docs" / "extensions")
    monkeypatch.delitem(sys.modules, "command_line", raising=False)
    import command_line

    return command_line


def test_the_reference_has_every_command_and_option(command_line):
    text = command_line.reference()
    for name, command in get_command(app).commands.items():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert f"ptsam-auto {name}" in section
        for parameter in command.params:
            for spelling in parameter.opts + parameter.secondary_opts:
                assert spelling in section, f"{name} lacks {spelling}"


def test_a_help_text_is_shown_as_it_stands(command_line):
    assert command_line.plain("NAME_masks.*, see `fit --help` <b>") == r"NAME\_masks.\*, see `fit --help` \<b\>"

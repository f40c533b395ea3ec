"""Progress is seen in a log file too, and never as a flood of lines."""

import io
import re

import pytest
from rich.console import Console
from rich.table import Table

from ptsam_auto import terminal
from ptsam_auto.terminal import NoteTerminal, Terminal, table_of


def test_a_log_file_gets_a_line_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with Terminal(Console(file=log, width=200)).bar("Training") as update:
        for done in range(1, 300):
            now[0] += 1.0
            update(done, 300, "loss 0.5")
    lines = [line for line in log.getvalue().splitlines() if line.startswith("Training ") and "━" not in line]
    assert lines == [f"Training {done}/300 loss 0.5" for done in (61, 122, 183, 244)]


def test_a_bar_without_a_total_has_no_total(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with Terminal(Console(file=log, width=200)).bar("Choosing") as update:
        now[0] = 100.0
        update(100, 0, "nano: training 3/20")
    assert "Choosing 100 nano: training 3/20\n" in log.getvalue()


def test_a_table_of_what_there_is_so_far_is_shown_in_a_terminal_and_not_in_a_log_file():
    for is_terminal in (True, False):
        shown = io.StringIO()
        with Terminal(Console(file=shown, width=80, force_terminal=is_terminal)).bar("Searching") as update:
            for number in range(3):
                table = Table("trial", "Dice")
                table.add_row(str(number), "81.4")
                update(number, 3, table=table)
        assert ("81.4" in shown.getvalue()) == is_terminal
        assert "Searching" in shown.getvalue()


def test_notes_stand_for_bars():
    notes = []
    with NoteTerminal(notes.append).bar("Encoding") as update:
        update(3, 20)
    assert notes == ["encoding 3/20"]


def test_a_hostile_file_name_cannot_command_the_terminal():
    log, out = io.StringIO(), io.StringIO()
    terminal = Terminal(Console(file=log, width=200), Console(file=out, width=200))
    name = "a\x1b]0;owned\x07 [red]b[/red]\x9b2J\udce4.png"
    terminal.say(f"Reading {name}\n\tnext")
    terminal.result(name)
    shown = r"a\x1b]0;owned\x07 [red]b[/red]\x9b2J\udce4.png"
    assert log.getvalue().splitlines()[0] == f"Reading {shown}"
    assert log.getvalue().splitlines()[1].strip() == "next"
    assert out.getvalue() == f"{shown}\n"


def test_a_notebook_has_a_bar_that_is_replaced_and_no_warning_about_widgets(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    program = """
from ptsam_auto.terminal import Terminal

terminal = Terminal.where_seen()
with terminal.bar("Fitting") as update:
    for done in range(20):
        update(done + 1, 20, "loss 0.5")
terminal.say("Chosen: nano-whole.")
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(program)])
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, timeout=60).execute()
    bar, message = notebook.cells[0].outputs
    assert bar["output_type"] == "display_data"
    text = re.sub(r"\x1b\[\d+m", "", bar["data"]["text/plain"])  # A kernel asks for colours.
    assert re.search(r"Fitting +━+ 20/20 .* loss 0\.5", text)
    assert (message["name"], message["text"]) == ("stdout", "Chosen: nano-whole.\n")


def test_a_name_that_is_too_long_for_a_column_is_folded_and_not_cut():
    """Three members of the portfolio were listed as "lite_medsam-encoder-..."; `--member` needs the whole name."""
    name = "".join(chr(ord("a") + number % 26) for number in range(90))
    table, out = table_of("image", "Dice", title="images"), io.StringIO()
    table.add_row(name, "81.2")
    Console(file=out, width=40).print(table)
    shown = "".join(line.split("│")[1].strip() for line in out.getvalue().splitlines() if "│" in line)
    assert shown == name
    assert "81.2" in out.getvalue()

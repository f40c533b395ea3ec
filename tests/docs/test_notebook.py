"""The notebook of the pages runs as it stands, and shows what it shows."""

import re
import sys

import pytest

from tests.docs.pages import ROOT

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")


@pytest.fixture
def notebook(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    monkeypatch.delitem(sys.modules, "notebook", raising=False)
    import notebook

    return notebook


def shown(cell):
    """Everything that a cell shows, as text."""
    return "".join(one.get("text", "") or one.get("data", {}).get("text/plain", "") for one in cell.outputs)


def code_cells(read):
    return [cell for cell in read.cells if cell.cell_type == "code"]


def test_the_stored_notebook_was_run_from_the_first_cell_to_the_last(notebook):
    cells = code_cells(nbformat.read(notebook.NOTEBOOK, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    text = "\n".join(map(shown, cells))
    assert not re.search(r"warning|error|Traceback|(?<!\w)/\w+/\w+", text, re.IGNORECASE)


@pytest.mark.slow
def test_the_notebook_runs_and_its_specialist_is_as_good_as_expected(notebook, tmp_path):
    cells = code_cells(notebook.executed(tmp_path))
    assert "expected Dice" in shown(cells[1])
    assert len(cells[1].outputs) < 30  # A bar is one output, which is replaced.
    assert any("image/png" in one.get("data", {}) for one in cells[3].outputs)
    assert "area_um2" in shown(cells[4])
    assert float(re.search(r"Dice (\d+\.\d) on 4 new images", shown(cells[-1]))[1]) > 80

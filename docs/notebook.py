"""Run the notebook of the pages anew, and store what its cells show.

    python docs/notebook.py           # writes docs/how-to/notebook.ipynb, about a minute on two CPU cores

Its images are rendered, so nobody's data is shown. The files that it writes are deleted.
"""

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "how-to" / "notebook.ipynb"


def executed(folder: Path) -> nbformat.NotebookNode:
    """Run all cells in a folder, and return the notebook with what they show.

    Raises:
        CellExecutionError: A cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=900, record_timing=False, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def main() -> None:
    """Run the notebook and store it."""
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)


if __name__ == "__main__":
    main()

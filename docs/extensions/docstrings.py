"""Docstrings as this code writes them, made into what Sphinx reads.

They are plain text with Google's sections, and code between backticks. An indented block in one is shown as it stands.
"""

from typing import Any

from sphinx.application import Sphinx


def keep_indented_blocks(_app: Sphinx, what: str, _name: str, _of: Any, _options: Any, lines: list[str]) -> None:  # noqa: ANN401
    """In the docstring of a module, mark each indented block as one that keeps its lines."""
    if what != "module":
        return
    marked: list[str] = []
    for line in lines:
        starts_block = line.startswith("    ") and marked and not marked[-1].strip()
        inside = len(marked) > 1 and any(before.strip() == "::" for before in marked) and marked[-1].startswith("    ")
        if starts_block and not inside:
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", keep_indented_blocks)
    return {"parallel_read_safe": True}

"""The directive `command-line`: every command, argument and option, written from the commands themselves.

A page that was typed goes stale with the next option; this one cannot. The words are those of
`ptsam-auto COMMAND --help`.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from ptsam_auto.cli import app

PROGRAM = "ptsam-auto"


def plain(text: str) -> str:
    """A help text as Markdown that shows the same characters; what stands between backticks stays code."""
    parts = text.split("`")
    for at in range(0, len(parts), 2):
        for sign in "\\*_<>[]{}|#$":
            parts[at] = parts[at].replace(sign, f"\\{sign}")
    return "`".join(parts)


def describe(name: str, command: Any) -> str:  # noqa: ANN401 - click's, or Typer's own copy of it
    """One command as Markdown: what it does, how it is called, and what each argument and option means."""
    context = command.make_context(f"{PROGRAM} {name}", [], resilient_parsing=True)
    lines = [f"## {name}", "", plain(command.help or ""), ""]
    lines += ["```text", command.get_usage(context).removeprefix("Usage: "), "```", ""]
    lines += [f"```{{program}} {PROGRAM} {name}", "```", ""]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and not parameter.hidden:
            spelling, meaning = record
            lines += [f"````{{option}} {spelling}", plain(meaning), "````", ""]
    return "\n".join(lines)


def reference() -> str:
    """All commands, in the order of `ptsam-auto --help`."""
    return "\n".join(describe(name, command) for name, command in get_command(app).commands.items())


class CommandLine(SphinxDirective):
    """Put the reference where the directive stands."""

    def run(self) -> list[nodes.Node]:
        """The sections of all commands."""
        return self.parse_text_to_nodes(reference(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}

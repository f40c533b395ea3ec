"""The command `ablate`: an exhaustive search over a search space."""

from dataclasses import fields

from ptsam_auto.commands.options import AblateOptions, SearchOptions
from ptsam_auto.commands.search import search
from ptsam_auto.search.record import Search
from ptsam_auto.terminal import Terminal


def ablate(options: AblateOptions, terminal: Terminal) -> Search:
    """Train every combination of a search space. Raises the same errors as `commands.search.search`."""
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    return search(SearchOptions(**values, exhaustive=True), terminal)

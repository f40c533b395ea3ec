"""The command `freeze`: selects the simplest good configuration of a search and saves it as the default of `fit`."""

from ptsam_auto.commands.options import FreezeOptions
from ptsam_auto.search.record import read_search
from ptsam_auto.search.selection import Selection, block_of, select, selection_table, write_defaults
from ptsam_auto.terminal import Terminal
from ptsam_auto.training import defaults


def freeze(options: FreezeOptions, terminal: Terminal) -> Selection:
    """Select a configuration within one standard error of the best, print a table, and save the defaults of `fit`.

    Raises:
        SearchError: The folder is not a search, or no trial finished.
        OutputError: The file cannot be written.
        ConfigError: The file is not valid TOML.
    """
    result = read_search(options.search)
    selection = select(result.trials)
    path = options.to if options.to is not None else defaults.user_file()
    terminal.out.print(selection_table(result, selection))
    write_defaults(path, result, selection)
    family, method, adapt = block_of(result)
    method_option = "" if method == "ptsam" else f" --method {method}"
    terminal.say(
        f"Saved as the default for {family},{method_option} --adapt {adapt}: {path}. "
        f"Show it with: ptsam-auto defaults {family}{method_option}"
    )
    return selection

"""Measures the cost of using the defaults without tuning: the defaults are compared with a search on the same dataset.

    python benchmarks/regret.py SPACE --data DIR [--data DIR ...] --backbone nano --trials 30

SPACE is a YAML file, benchmarks/regret.yaml or a search space of the package. Each dataset is searched separately, and
every configuration is trained to the last epoch: first the defaults, then the first configuration of the search space
(the paper's values), then the proposals of Optuna. The best configuration is selected on the images that it is
evaluated on, so its score is slightly too high, and the true regret (best minus defaults) is at most the printed one.
Use datasets on which the defaults were not selected; the table marks the others. If the command is interrupted, run it
again to continue.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from ptsam_auto.api import search
from ptsam_auto.errors import ConfigError
from ptsam_auto.sam import checkpoint
from ptsam_auto.search.record import Search, Trial, finished
from ptsam_auto.search.space import Configuration, Space, described, settings_of
from ptsam_auto.search.space_file import read_space
from ptsam_auto.terminal import Terminal
from ptsam_auto.training import defaults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--data", action="append", required=True, type=Path)
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("regret"), help="Output folder, with one search per dataset.")
    parser.add_argument(
        "--at-once",
        type=int,
        help="Maximum number of parallel trials. Default: as many as the machine has capacity for.",
    )
    options = parser.parse_args()

    terminal = Terminal()
    space = replace(read_space(options.space), stop_early=None, trials=options.trials, backbone=options.backbone)
    family = checkpoint.choose(options.backbone, say=terminal.say).family
    default = default_configuration(space, family)
    table = Table("dataset", "defaults", "paper", "best of the search", "regret", "best configuration")
    for folder in options.data:
        out = options.out / f"{folder.resolve().name}-{space.name}"
        result = search(
            space, [folder], out=out, first=(default,), track=False, terminal=terminal, at_once=options.at_once
        )
        digests = [digest for dataset in result.record.data for digest in dataset.images]
        overlap = defaults.searched_on(family, space.adapt, space.method, digests)
        best = finished(result.trials)[0]
        default_trial, paper_trial = (_finished(result, number) for number in (0, 1))
        table.add_row(
            folder.name + (" (the defaults were selected on its images)" if overlap else ""),
            *(_score(trial) for trial in (default_trial, paper_trial, best)),
            f"{100 * (best.dice - default_trial.dice):.1f}",
            ", ".join(described(best.configuration)),
        )
    terminal.out.print(table)


def default_configuration(space: Space, family: str) -> Configuration:
    """Return the default values of `fit` for the settings that the space searches."""
    base = defaults.values(family, space.adapt, space.method)
    settings = settings_of(base, replace(space, fixed={}), {}).as_paths()
    for path, values in space.search.items():
        if settings[path] not in values:
            raise ConfigError(f"The default of {path} is {settings[path]}, which {space.name} does not search.")
    return {path: settings[path] for path in space.search}


def _finished(result: Search, number: int) -> Trial:
    trial = result.trials[number]
    if trial.state != "finished":
        raise ConfigError(f"Trial {number} of {result.folder} is {trial.state}: {trial.error}")
    return trial


def _score(trial: Trial) -> str:
    return f"{100 * trial.dice:.1f} +- {100 * trial.standard_error:.1f}"


if __name__ == "__main__":
    main()

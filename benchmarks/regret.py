"""What zero hyperparameters cost: frozen defaults against the paper's, and against searching on the very dataset.

    python benchmarks/regret.py SPACE --data DIR [--data DIR ...] --backbone nano --trials 30

SPACE is a YAML file, benchmarks/regret.yaml or one that comes with the package. Each dataset is searched by itself,
every configuration to its end: first what is frozen, then the space's own first one (the paper's values), then what
Optuna proposes. The best one is chosen on the images that it is measured on, so its score is a little kind to it, and
the regret, best minus frozen, is at most what is printed. Give datasets that took no part in freezing; the command says
so where one did. Interrupted, it goes on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from ptsam_auto.errors import ConfigError
from ptsam_auto.sam import checkpoint
from ptsam_auto.search.records import Search, Trial, finished
from ptsam_auto.search.session import search
from ptsam_auto.search.space import Configuration, Space, described, read_space, settings_of
from ptsam_auto.show import Show
from ptsam_auto.training import defaults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--data", action="append", required=True, type=Path)
    parser.add_argument("--backbone", default="auto")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("regret"), help="a search a dataset goes here")
    parser.add_argument("--at-once", type=int, help="trials side by side; by default as many as there is room for")
    options = parser.parse_args()

    show = Show()
    space = replace(read_space(options.space), stop_early=None, trials=options.trials, backbone=options.backbone)
    family = checkpoint.choose(options.backbone, say=show.say).family
    frozen = frozen_configuration(space, family)
    table = Table("dataset", "frozen", "paper's", "best found on it", "regret", "best configuration")
    for folder in options.data:
        out = options.out / f"{folder.resolve().name}-{space.name}"
        found = search(space, [folder], out=out, first=(frozen,), track=False, show=show, at_once=options.at_once)
        digests = [digest for one in found.about["data"] for digest in one["images"]]
        met = defaults.met(family, space.adapt, space.method, digests)
        best = finished(found.trials)[0]
        ours, papers = (_finished(found, number) for number in (0, 1))
        table.add_row(
            folder.name + (" (took part in freezing)" if met else ""),
            *(_score(trial) for trial in (ours, papers, best)),
            f"{100 * (best.dice - ours.dice):.1f}",
            ", ".join(described(best.configuration)),
        )
    show.out.print(table)


def frozen_configuration(space: Space, family: str) -> Configuration:
    """What `fit` would use, of the settings that the space searches."""
    base = {default.path: default.value for default in defaults.block(family, space.adapt, space.method)}
    settings = settings_of(base, replace(space, fixed={}), {}).as_paths()
    for path, values in space.search.items():
        if settings[path] not in values:
            raise ConfigError(f"{path} is frozen at {settings[path]}, which {space.name} does not search.")
    return {path: settings[path] for path in space.search}


def _finished(found: Search, number: int) -> Trial:
    trial = found.trials[number]
    if trial.state != "finished":
        raise ConfigError(f"Trial {number} of {found.folder} {trial.state}: {trial.error}")
    return trial


def _score(trial: Trial) -> str:
    return f"{100 * trial.dice:.1f} +- {100 * trial.standard_error:.1f}"


if __name__ == "__main__":
    main()

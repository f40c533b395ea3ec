"""Draws the figures of a search as SVG files, from the journal alone."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from matplotlib.tri import Triangulation

from ptsam_auto.files import replacing
from ptsam_auto.search.proposals import distributions, to_optuna_trial
from ptsam_auto.search.record import SearchRequest, Trial, finished
from ptsam_auto.search.space import Choice, Range, Space
from ptsam_auto.svg import PALETTE, save_svg

MIN_FINISHED_TRIALS = 4  # Smallest number of finished trials for the figures importance and contour.
SHUFFLES = 100  # number of times that the scores are exchanged among the trials, to see what chance alone gives
MOST_IN_ROW = 4  # panels of a figure
CHANCE = 95  # percentile of the importance over these shuffles
PROMPT_COUNT_SETTINGS = ("method.decoder_prompts", "method.encoder_prompts")  # n_md and n_ie in the paper's Fig. 5.


def write_figures(folder: Path, trials: Sequence[Trial], request: SearchRequest) -> list[Path]:
    """Write all figures for which there are enough trials.

    Args:
        folder: Folder of the figures; it is created if it is missing. Figures of the same names are replaced.
        trials: Trials, at least one of which reached a rung.
        request: Request of the search, which contains the search space.

    Returns:
        The files: always history.svg, slice.svg and cost.svg; importance.svg and contour.svg if there are a few
        finished trials; prompt_counts.svg if a number of prompts was searched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    space = Space(request.space, "", request.search)
    paths = list(space.search)
    done = finished(trials)
    figures = {"history": _history(trials), "slice": _slice(trials, space, paths), "cost": _cost(trials)}
    weights = _importance(trials, space) if len(done) >= MIN_FINISHED_TRIALS and len(paths) > 1 else {}
    if sum(weights.values()):
        figures["importance"] = _bars(weights, _by_chance(trials, space))
        first, second = (sorted(weights, key=lambda path: -weights[path]) + paths)[:2]
        figures["contour"] = _contour(done, space, first, second)
    if done and any(path in paths for path in PROMPT_COUNT_SETTINGS):
        figures["prompt_counts"] = _prompt_counts(done, [path for path in PROMPT_COUNT_SETTINGS if path in paths])
    written = []
    for name, figure in figures.items():
        path = folder / f"{name}.svg"
        with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
            save_svg(figure, file)
        written.append(path)
    return written


def _axes(panels: int = 1, width: float = 7.0) -> tuple[Figure, list[Axes]]:
    """Return a figure of a few panels with one scale of Dice, at most four in a row, so that a page can show it."""
    columns = _in_row(panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width, 3.6 if rows == 1 else 2.8 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns, sharey=True)).ravel().tolist()
    axes = grid[:panels]
    for unused in grid[panels:]:
        unused.set_visible(False)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_prop_cycle(color=PALETTE)
    return figure, axes


def _in_row(panels: int) -> int:
    """Return how many panels are in a row; the rows are as long as each other, but for the last."""
    return -(-panels // -(-panels // MOST_IN_ROW))


def _label(path: str) -> str:
    return path.rpartition(".")[2].replace("_", " ")


def _by_state(trials: Sequence[Trial]) -> list[tuple[str, str, list[Trial]]]:
    """Return each state in which a trial has a Dice to draw, its marker, and its trials."""
    reached = [trial for trial in trials if trial.rungs]
    markers = {"finished": "o", "stopped": "x"}
    return [(state, marker, [t for t in reached if t.state == state]) for state, marker in markers.items()]


def _history(trials: Sequence[Trial]) -> Figure:
    """Draw the Dice of each trial in the order in which the trials started, and the best so far."""
    figure, (axes,) = _axes()
    for state, marker, of_state in _by_state(trials):
        axes.plot([t.number for t in of_state], [100 * t.dice for t in of_state], marker, label=state)
    done = [trial for trial in trials if trial.state == "finished"]
    if done:
        best = np.maximum.accumulate([100 * trial.dice for trial in done])
        axes.step([trial.number for trial in done], best, where="post", color="0.4", label="best so far")
    axes.set(xlabel="trial", ylabel="Dice, %")
    axes.legend(frameon=False)
    return figure


def _slice(trials: Sequence[Trial], space: Space, paths: Sequence[str]) -> Figure:
    """Draw a scatter plot of Dice for each setting."""
    figure, all_axes = _axes(len(paths), min(10.0, max(4.0, 2.6 * len(paths))))
    for number, (axes, path) in enumerate(zip(all_axes, paths, strict=True)):
        for state, marker, of_state in _by_state(trials):
            places = [_place(space, path, trial.configuration[path]) for trial in of_state]
            axes.plot(places, [100 * trial.dice for trial in of_state], marker, label=state)
        _scale(axes, space, path, "x")
        if number % _in_row(len(paths)) == 0:
            axes.set_ylabel("Dice, %")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper right", frameon=False, ncols=2)
    return figure


def _cost(trials: Sequence[Trial]) -> Figure:
    """Draw Dice against the training time in seconds, all folds together."""
    figure, (axes,) = _axes()
    by_state = _by_state(trials)
    sizes = [trial.trainable for _, _, of_state in by_state for trial in of_state]
    low, high = min(sizes, default=0), max(sizes, default=1)
    for state, marker, of_state in by_state:
        x, y = [trial.seconds for trial in of_state], [100 * trial.dice for trial in of_state]
        own = [trial.trainable for trial in of_state]
        points = axes.scatter(x, y, c=own, marker=marker, label=state, vmin=low, vmax=high)
    if all(of_state for _, _, of_state in by_state):
        axes.legend(frameon=False)
    figure.colorbar(points, ax=axes, label="learned numbers")
    axes.set(xlabel="seconds of training, all datasets and splits", ylabel="Dice, %", xscale="log")
    _label_log(axes.xaxis, (1, 2, 3, 5))
    return figure


def _importance(
    trials: Sequence[Trial], space: Space, order: Sequence[int] | np.ndarray | None = None
) -> dict[str, float]:
    """Return the importance of each setting for the score (PED-ANOVA, not normalised); {} if all scores are the same.

    Args:
        trials: Trials; only the finished ones are used.
        space: Search space.
        order: Index of the finished trial whose score each finished trial gets. Default: its own.
    """
    optuna_space = distributions(space)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    done = [to_optuna_trial(trial, optuna_space) for trial in trials if trial.state == "finished"]
    scores = [trial.value for trial in done]
    for trial, index in zip(done, range(len(done)) if order is None else order, strict=True):
        trial.value = scores[index]
    study = optuna.create_study(direction="maximize")
    study.add_trials(done)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings(action="ignore"):
        return optuna.importance.get_param_importances(
            study, evaluator=evaluator, params=list(optuna_space), normalize=False
        )


def _by_chance(trials: Sequence[Trial], space: Space) -> dict[str, float]:
    """Return the importance that a setting reaches by chance: the 95th percentile if scores are exchanged at random."""
    rng, count = np.random.default_rng(0), len(finished(trials))
    shuffled = [_importance(trials, space, rng.permutation(count)) for _ in range(SHUFFLES)]
    return {path: float(np.percentile([weights[path] for weights in shuffled], CHANCE)) for path in shuffled[0]}


def _bars(weights: dict[str, float], by_chance: dict[str, float]) -> Figure:
    """Draw the importance of each setting, and what it would be by chance; bars below that are grey."""
    figure, (axes,) = _axes()
    ordered = sorted(weights, key=lambda path: weights[path])
    labels, total = [_label(path) for path in ordered], sum(weights.values())
    for is_clear, colour, text in (
        (True, PALETTE[0], "more than chance"),
        (False, "0.75", "cannot be told from chance"),
    ):
        lengths = [weights[path] / total if (weights[path] > by_chance[path]) == is_clear else 0 for path in ordered]
        if any(lengths):
            axes.barh(labels, lengths, color=colour, label=text)
    chance = f"{CHANCE} % of {SHUFFLES} random exchanges of the scores are below"
    marks = [by_chance[path] / total for path in ordered]
    axes.plot(marks, labels, "k|", markersize=18, markeredgewidth=2, label=chance)
    axes.set(xlabel="importance for Dice (PED-ANOVA); all bars together are 1", xlim=(0, None))
    figure.legend(loc="outside lower center", frameon=False, ncols=2)
    return figure


def _contour(done: Sequence[Trial], space: Space, first: str, second: str) -> Figure:
    """Draw Dice over the two most important settings."""
    figure, (axes,) = _axes()
    x = np.array([_place(space, first, trial.configuration[first]) for trial in done], float)
    y = np.array([_place(space, second, trial.configuration[second]) for trial in done], float)
    dice = np.array([100 * trial.dice for trial in done])
    places = np.stack([x, y])
    # A contour plot needs points that are not all on one line.
    if np.linalg.matrix_rank(places - places.mean(axis=1, keepdims=True)) == 2:
        # Triangles are those of the points as they are seen, on logarithmic axes, too.
        seen = [np.log10(values) if _is_log(space, path) else values for path, values in ((first, x), (second, y))]
        flat = [(values - values.min()) / np.ptp(values) for values in seen]
        axes.tricontourf(Triangulation(x, y, Triangulation(*flat).triangles), dice, levels=12, alpha=0.6)
    points = axes.scatter(x, y, c=dice, edgecolors="black", clip_on=False, zorder=3)
    figure.colorbar(points, ax=axes, label="Dice, %")
    _scale(axes, space, first, "x")
    _scale(axes, space, second, "y")
    return figure


def _prompt_counts(done: Sequence[Trial], paths: Sequence[str]) -> Figure:
    """Draw Dice against the number of prompts, one line per number of the other kind of prompts (the paper's Fig. 5).

    A point is the best trial with these numbers. Its bar is the standard error over splits.
    """
    figure, all_axes = _axes(len(paths))
    for axes, path in zip(all_axes, paths, strict=True):
        others = [other for other in paths if other != path]
        lines: dict[Any, dict[Any, Trial]] = {}
        for trial in done:  # The best trials come first.
            line = lines.setdefault(tuple(trial.configuration[other] for other in others), {})
            line.setdefault(trial.configuration[path], trial)
        for key, line in sorted(lines.items()):
            counts = sorted(line)
            bars = [100 * line[count].standard_error for count in counts]
            label = ", ".join(f"{_label(other)} {count}" for other, count in zip(others, key, strict=True))
            errors = None if np.isnan(bars).any() else bars
            axes.errorbar(counts, [100 * line[c].dice for c in counts], errors, marker="o", capsize=3, label=label)
        axes.set(xlabel=_label(path))
        axes.set_xscale("symlog", base=2, linthresh=1)
        counts = sorted({trial.configuration[path] for trial in done})
        axes.set_xticks(counts, [str(count) for count in counts])
        if others:
            axes.legend(frameon=False)
    all_axes[0].set_ylabel("Dice, %; bars: standard error over splits")
    return figure


def _is_log(space: Space, path: str) -> bool:
    values = space.search[path]
    return isinstance(values, Range) and values.log


def _place(space: Space, path: str, value: Any) -> float:  # noqa: ANN401 - a setting's
    """Return the position of a value on its axis. Choices are numbered in the order of the search space."""
    values = space.search[path]
    return values.values.index(value) if isinstance(values, Choice) else value


def _scale(axes: Axes, space: Space, path: str, axis: str) -> None:
    values = space.search[path]
    axes.set(**{f"{axis}label": _label(path)})
    if _is_log(space, path):
        axes.set(**{f"{axis}scale": "log"})
        _label_log(axes.xaxis if axis == "x" else axes.yaxis, (1, 3))
    elif isinstance(values, Choice):
        labels = [str(value) for value in values.values]
        axes.set(**{f"{axis}ticks": range(len(labels)), f"{axis}ticklabels": labels})


def _label_log(axis: Axis, digits: Sequence[int]) -> None:
    """Label a logarithmic axis at numbers that begin with these digits; matplotlib's own labels can overlap."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")

"""Draws the figures of the paper from the results of a comparison. Fig. 5 is drawn by `ablate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from ptsam_auto.compare.entries import FROZEN_COUNTERPART, UNTUNED
from ptsam_auto.compare.results import Result, entries_in, mean_and_std, select, title_of
from ptsam_auto.compare.training import PANEL_IMAGES
from ptsam_auto.data.dataset import Pair
from ptsam_auto.files import replacing
from ptsam_auto.specialist.report import overlay
from ptsam_auto.svg import PALETTE, save_svg

PICTURE_SIDE = 320  # Longest side of a picture in the panel, px.


def write_figures(folder: Path, results: Sequence[Result]) -> list[Path]:
    """Draw the figures that the results allow: parameters.svg (Fig. 1), encoder.svg (Fig. 3), images.svg (Fig. 4)."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"parameters": _parameters(results), "encoder": _encoder(results), "images": _images(results)}
    written = []
    for name, figure in figures.items():
        if figure is not None:
            path = folder / f"{name}.svg"
            with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
                save_svg(figure, file)
            written.append(path)
    return written


def _datasets(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.dataset for result in results))


def _sizes(results: Sequence[Result]) -> list[int]:
    return sorted({result.size for result in results} - {0})


def _axes(count: int) -> tuple[Figure, list]:
    figure = Figure(figsize=(3.2 * count + 2.2, 3.8), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, count)).tolist()
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes


@dataclass(frozen=True)
class _Style:
    """How a method is drawn: the colour is that of its decoder, the mark says whether the encoder is tuned too."""

    colour: str
    mark: str
    line: Literal["-", "--"]


def _styles(names: Sequence[str]) -> dict[str, _Style]:
    """Return the style of each method, by name."""
    decoders = list(dict.fromkeys(FROZEN_COUNTERPART.get(name, name) for name in names))
    styles = {}
    for name in names:
        colour = PALETTE[decoders.index(FROZEN_COUNTERPART.get(name, name)) % len(PALETTE)]
        styles[name] = _Style(colour, "D", "--") if name in FROZEN_COUNTERPART else _Style(colour, "o", "-")
    return styles


def _mark(style: _Style, label: str, size: float = 6.0, line: Literal["-", "--", ""] = "") -> Line2D:
    """Return an entry of a legend."""
    return Line2D([], [], color=style.colour, marker=style.mark, linestyle=line, markersize=size, label=label)


def _legend(figure: Figure, marks: Sequence[Artist], note: str) -> None:
    """Draw one legend for all panels, and below the panels what a mark is."""
    figure.legend(handles=list(marks), loc="outside right upper", frameon=False)
    figure.supxlabel(note, fontsize=9, color="0.3")


def _mean_over(results: Sequence[Result], bars: str = "") -> str:
    """Return what a mark is, and what its error bar is; a single split has none."""
    count = len({result.split for result in results})
    return f"mean of {count} splits{bars}" if count > 1 else "a single split"


def _parameters(results: Sequence[Result]) -> Figure | None:
    """Draw Fig. 1: Dice against learned numbers, one panel per dataset. A larger mark means more training images."""
    tuned = [result for result in results if result.entry != UNTUNED.name]
    if not tuned:
        return None
    figure, all_axes = _axes(len(_datasets(tuned)))
    sizes, styles = _sizes(tuned), _styles(entries_in(tuned))
    widths = dict(zip(sizes, np.linspace(6, 11, len(sizes)), strict=True))
    for axes, dataset in zip(all_axes, _datasets(tuned), strict=True):
        for name, style in styles.items():
            for size in sizes:
                if selected := select(tuned, dataset=dataset, entry=name, size=size):
                    dice = 100 * mean_and_std(selected)[0]
                    look = {"color": style.colour, "marker": style.mark, "markersize": widths[size], "alpha": 0.8}
                    axes.plot(selected[0].trainable, dice, markeredgecolor="white", **look)
        axes.set(xscale="log", xlabel="learned numbers", title=dataset)
        axes.margins(x=0.1)
    all_axes[0].set_ylabel("Dice, %")
    marks = [_mark(style, title_of(name)) for name, style in styles.items()]
    if len(sizes) > 1:
        marks += [_mark(_Style("0.5", "o", "-"), f"{size} images", widths[size]) for size in sizes]
    _legend(figure, marks, _mean_over(tuned))
    return figure


def _encoder(results: Sequence[Result]) -> Figure | None:
    """Draw Fig. 3: the gain of a tuned encoder over a frozen one with the same decoder, in points of Dice.

    Both are trained and measured on the same images in each split, so the gains of the splits are drawn too.
    """
    names = set(entries_in(results))
    pairs = {name: frozen for name, frozen in FROZEN_COUNTERPART.items() if {name, frozen} <= names}
    if not pairs:
        return None
    figure, all_axes = _axes(len(_datasets(results)))
    styles = _styles(entries_in(results))
    for axes, dataset in zip(all_axes, _datasets(results), strict=True):
        own = [result for result in results if result.dataset == dataset]
        for number, (name, frozen) in enumerate(pairs.items()):
            for place, size in enumerate(_sizes(own)):
                by_split = [
                    {result.split: result.mean for result in select(own, entry=entry, size=size)}
                    for entry in (name, frozen)
                ]
                gains = [
                    100 * (by_split[0][split] - by_split[1][split]) for split in by_split[0] if split in by_split[1]
                ]
                if gains:
                    x = place + number * 0.8 / len(pairs)
                    axes.bar(x, np.mean(gains), 0.75 / len(pairs), color=styles[name].colour, alpha=0.8)
                    axes.plot([x] * len(gains), gains, "o", color="0.15", markersize=3.5)
        axes.axhline(0, color="0.4", linewidth=0.8)
        centre = 0.4 * (1 - 1 / len(pairs))
        axes.set_xticks([place + centre for place in range(len(_sizes(own)))], map(str, _sizes(own)))
        axes.set(xlabel="training images", title=dataset)
    all_axes[0].set_ylabel("gain by tuning the encoder, points")
    marks: list[Artist] = [Patch(color=styles[name].colour, alpha=0.8, label=title_of(name)) for name in pairs]
    _legend(figure, [*marks, _mark(_Style("0.15", "o", "-"), "one split", 3.5)], "bars: mean over the splits")
    return figure


def _images(results: Sequence[Result]) -> Figure | None:
    """Draw Fig. 4: Dice against the number of training images; the methods stand side by side at each number."""
    tuned = [result for result in results if result.entry != UNTUNED.name]
    if len(_sizes(tuned)) < 2:
        return None
    figure, all_axes = _axes(len(_datasets(tuned)))
    styles = _styles(entries_in(tuned))
    for axes, dataset in zip(all_axes, _datasets(tuned), strict=True):
        own = [result for result in tuned if result.dataset == dataset]
        sizes = _sizes(own)
        for number, (name, style) in enumerate(styles.items()):
            points = []
            for place, size in enumerate(sizes):
                if selected := select(own, entry=name, size=size):
                    points.append((place + 0.6 * (number / max(len(styles) - 1, 1) - 0.5), *mean_and_std(selected)))
            if points:
                x, mean, std = np.array(points).T
                look = {"color": style.colour, "marker": style.mark, "linestyle": style.line, "markersize": 5}
                axes.errorbar(x, 100 * mean, yerr=100 * std, linewidth=1, capsize=2, **look)
        axes.set_xticks(range(len(sizes)), map(str, sizes))
        axes.set(xlabel="training images", title=dataset, xlim=(-0.5, len(sizes) - 0.5))
    all_axes[0].set_ylabel("Dice, %")
    _legend(
        figure,
        [_mark(style, title_of(name), line=style.line) for name, style in styles.items()],
        _mean_over(tuned, "; bars: one standard deviation over them"),
    )
    return figure


def damaged_masks(masks: Path, entries: Sequence[str], held_out: Sequence[Pair]) -> list[Path]:
    """Return the masks for the panel that cannot be read; see `write_panel`."""
    shapes = [pair.load().mask.shape for pair in held_out[:PANEL_IMAGES]]
    paths = [(masks / name / f"{number}.png", shape) for name in entries for number, shape in enumerate(shapes)]
    return [path for path, shape in paths if path.parent.is_dir() and _mask(path, shape) is None]


def _mask(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a mask, or None if the file is missing or damaged."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            mask = np.asarray(image) > 0
    except (OSError, ValueError, SyntaxError):
        return None
    return mask if mask.shape == shape else None


def write_panel(path: Path, masks: Path, entries: Sequence[str], held_out: Sequence[Pair]) -> bool:
    """Draw Fig. 6: held-out images and the predictions of each method.

    Blue is a true positive, yellow a false negative (missed), red a false positive. Where a mask is damaged, the image
    is shown alone.

    Args:
        path: PNG file that is written.
        masks: Folder of the masks of one dataset, as `compare.training` saves them.
        entries: Names of the methods, one per column.
        held_out: Held-out images, in the order in which their masks were saved.

    Returns:
        Whether there are masks to draw.
    """
    columns = [name for name in entries if (masks / name).is_dir()]
    if not columns:
        return False
    samples = [pair.load() for pair in held_out[:PANEL_IMAGES]]
    figure = Figure(figsize=(2.1 * (1 + len(columns)), 2.0 * len(samples) + 0.4), layout="constrained")
    grid = figure.subplots(len(samples), 1 + len(columns), squeeze=False)
    for number, sample in enumerate(samples):
        pictures = [sample.image]
        for name in columns:
            mask = _mask(masks / name / f"{number}.png", sample.mask.shape)
            pictures.append(sample.image if mask is None else overlay(sample.image, mask, sample.mask))
        for axes, picture in zip(grid[number], pictures, strict=True):
            small = Image.fromarray(picture)
            small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            axes.imshow(small)
            axes.set_axis_off()
    for axes, title in zip(grid[0], ["image", *map(title_of, columns)], strict=True):
        axes.set_title(title, fontsize=8)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=150, format="png")
    return True

"""Draws the figures of the paper from the results of a comparison. Fig. 5 is drawn by `ablate`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ptsam_auto.compare.entries import FROZEN_COUNTERPART, UNTUNED
from ptsam_auto.compare.results import Result, entries_in, mean_and_std, select, title_of
from ptsam_auto.compare.training import PANEL_IMAGES
from ptsam_auto.data.dataset import Pair
from ptsam_auto.files import replacing
from ptsam_auto.specialist.report import overlay
from ptsam_auto.svg import save_svg

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


def _legend(figure: Figure, all_axes: list) -> None:
    """Draw one legend for all panels, without duplicates. A panel may lack some methods or sizes."""
    marks = {label: mark for axes in all_axes for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(marks.values()), list(marks), loc="outside right upper", frameon=False)


def _parameters(results: Sequence[Result]) -> Figure | None:
    """Draw Fig. 1: Dice against learned numbers, one panel per dataset. A larger mark means more training images."""
    tuned = [result for result in results if result.entry != UNTUNED.name]
    if not tuned:
        return None
    figure, all_axes = _axes(len(_datasets(tuned)))
    sizes = _sizes(tuned)
    for axes, dataset in zip(all_axes, _datasets(tuned), strict=True):
        for number, name in enumerate(entries_in(tuned)):
            mark = "X" if name in FROZEN_COUNTERPART else "o"
            for size in sizes:
                selected = select(tuned, dataset=dataset, entry=name, size=size)
                if selected:
                    scale = 40 + 110 * sizes.index(size) / max(len(sizes) - 1, 1)
                    dice = 100 * mean_and_std(selected)[0]
                    marker_style = {"s": scale, "color": f"C{number}", "marker": mark, "alpha": 0.75}
                    axes.scatter(selected[0].trainable, dice, **marker_style, label=title_of(name))
        axes.set(xscale="log", xlabel="learned numbers", title=dataset)
    all_axes[0].set_ylabel("Dice, %")
    _legend(figure, all_axes)
    return figure


def _encoder(results: Sequence[Result]) -> Figure | None:
    """Draw Fig. 3: the gain of a tuned encoder over a frozen one with the same decoder, in points of Dice."""
    names = set(entries_in(results))
    pairs = {name: frozen for name, frozen in FROZEN_COUNTERPART.items() if {name, frozen} <= names}
    tuned = [result for result in results if result.entry != UNTUNED.name]
    return _bars(tuned, {title_of(name): (name, frozen) for name, frozen in pairs.items()}) if pairs else None


def _bars(results: Sequence[Result], pairs: Mapping[str, tuple[str, str]]) -> Figure:
    figure, all_axes = _axes(len(_datasets(results)))
    sizes = _sizes(results)
    for axes, dataset in zip(all_axes, _datasets(results), strict=True):
        for number, (first, second) in enumerate(pairs.values()):
            for place, size in enumerate(sizes):
                both = [select(results, dataset=dataset, entry=name, size=size) for name in (first, second)]
                if all(both):
                    gain = 100 * (mean_and_std(both[0])[0] - mean_and_std(both[1])[0])
                    axes.bar(place + number * 0.8 / len(pairs), gain, 0.75 / len(pairs), color=f"C{number}")
        axes.axhline(0, color="0.4", linewidth=0.8)
        axes.set_xticks([place + 0.4 * (1 - 1 / len(pairs)) for place in range(len(sizes))], map(str, sizes))
        axes.set(xlabel="training images", title=dataset, xlim=(-0.5, len(sizes) - 0.2))
    all_axes[0].set_ylabel("gain by tuning the encoder, points")
    marks = [all_axes[0].bar(0, 0, color=f"C{number}") for number in range(len(pairs))]
    figure.legend(marks, list(pairs), loc="outside right upper", frameon=False)
    return figure


def _images(results: Sequence[Result]) -> Figure | None:
    """Draw Fig. 4: Dice against the number of training images. Bars are one standard deviation over splits."""
    tuned = [result for result in results if result.entry != UNTUNED.name]
    if len(_sizes(tuned)) < 2:
        return None
    figure, all_axes = _axes(len(_datasets(tuned)))
    for axes, dataset in zip(all_axes, _datasets(tuned), strict=True):
        for number, name in enumerate(entries_in(tuned)):
            by_size = {size: select(tuned, dataset=dataset, entry=name, size=size) for size in _sizes(tuned)}
            points = [(size, *mean_and_std(selected)) for size, selected in by_size.items() if selected]
            if points:
                x, mean, std = np.array(points).T
                style = "--" if name in FROZEN_COUNTERPART else "-"
                line_style = {"fmt": f"o{style}", "color": f"C{number}"}
                axes.errorbar(x, 100 * mean, yerr=100 * std, **line_style, label=title_of(name))
        axes.set(xlabel="training images", title=dataset, xticks=_sizes(tuned))
    all_axes[0].set_ylabel("Dice, %")
    _legend(figure, all_axes)
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

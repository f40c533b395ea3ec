"""Five of the commands as Python functions: fit, predict (of a folder), evaluate, search and compare.

    fit("new_dataset", backbone="nano", settings={"recipe.epochs": 10})

Their options are keyword arguments. Progress is shown in a terminal and in a notebook; `terminal=Terminal.silent()`
shows none, and `terminal=Terminal()` shows it everywhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptsam_auto.commands import options as command_options
from ptsam_auto.commands.command_line import signature
from ptsam_auto.compare.results import Result
from ptsam_auto.search.record import Search
from ptsam_auto.search.space import Space
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.scores import Scores
from ptsam_auto.terminal import Terminal

PATH_OPTIONS = ("out", "test", "overlays", "uncertainty")  # Options of type Path; a string is accepted too.


def fit(dataset: Path | str, *, terminal: Terminal | None = None, **options: Any) -> Specialist:  # noqa: ANN401
    """Train a specialist on a folder of annotated images; see `commands.fit.fit`.

    Args:
        dataset: Folder of annotated images, in any layout that `data.folder` reads.
        terminal: Terminal that shows the progress. Default: see `Terminal.where_seen`.
        options: Fields of `commands.options.FitOptions`. The run is logged to MLflow if `track` is True, and by default
            if MLflow is configured.

    Raises:
        PtsamError: See `ptsam_auto.errors`. Most errors are raised before the training starts.
    """
    from ptsam_auto.commands.fit import fit as run

    return run(command_options.FitOptions(Path(dataset), **_with_paths(options)), terminal or Terminal.where_seen())


def evaluate(
    specialist: Path | str,
    dataset: Path | str,
    *,
    terminal: Terminal | None = None,
    **options: Any,  # noqa: ANN401
) -> Scores:
    """Evaluate a specialist on annotated images; options are fields of `commands.options.EvaluateOptions`."""
    from ptsam_auto.commands.evaluate import evaluate as run

    filled = command_options.EvaluateOptions(Path(specialist), Path(dataset), **_with_paths(options))
    return run(filled, terminal or Terminal.where_seen())


def predict_folder(
    specialist: Path | str,
    images: Path | str | Sequence[Path | str],
    *,
    terminal: Terminal | None = None,
    **options: Any,  # noqa: ANN401
) -> Path:
    """Write the masks of all images in files and folders, and what else is asked for; see `commands.predict.predict`.

    Args:
        specialist: Folder of a specialist, or models:/NAME@ALIAS in MLflow.
        images: Image files, or folders of image files: one or several.
        terminal: Terminal that shows the progress. Default: see `Terminal.where_seen`.
        options: Fields of `commands.options.PredictOptions`, such as `measure=True`.

    Returns:
        Folder of the masks.

    Raises:
        PtsamError: See `ptsam_auto.errors`. An image that cannot be read is reported after all others are predicted.
    """
    from ptsam_auto.commands.predict import predict as run

    several = [images] if isinstance(images, str | Path) else images
    paths = [Path(image) for image in several]
    filled = command_options.PredictOptions(Path(specialist), paths, **_with_paths(options))
    return run(filled, terminal or Terminal.where_seen())


def search(
    space: str | Space,
    data: Sequence[Path | str],
    *,
    terminal: Terminal | None = None,
    **options: Any,  # noqa: ANN401
) -> Search:
    """Search for better default settings on datasets; options are fields of `commands.options.SearchOptions`."""
    from ptsam_auto.commands.search import search as run

    name, space_object = (space, None) if isinstance(space, str) else (space.name, space)
    filled = command_options.SearchOptions(name, [Path(folder) for folder in data], **_with_paths(options))
    return run(filled, terminal or Terminal.where_seen(), space_object)


def compare(
    datasets: Sequence[Path | str],
    *,
    terminal: Terminal | None = None,
    **options: Any,  # noqa: ANN401
) -> list[Result]:
    """Compare the paper's methods on datasets; options are fields of `commands.options.CompareOptions`."""
    from ptsam_auto.commands.compare import compare as run

    filled = command_options.CompareOptions([Path(folder) for folder in datasets], **_with_paths(options))
    return run(filled, terminal or Terminal.where_seen())


def _with_paths(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Path(value) if name in PATH_OPTIONS and isinstance(value, str) else value
        for name, value in options.items()
    }


for _function, _options in (
    (fit, command_options.FitOptions),
    (predict_folder, command_options.PredictOptions),
    (evaluate, command_options.EvaluateOptions),
    (search, command_options.SearchOptions),
    (compare, command_options.CompareOptions),
):
    # help() and notebooks show this signature: every option with its default.
    _function.__dict__["__signature__"] = signature(_options, {"terminal": None})

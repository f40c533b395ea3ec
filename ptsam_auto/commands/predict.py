"""The command `predict`: writes the masks of new images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.commands.options import PredictOptions
from ptsam_auto.data.legend import LEGEND_FILE, legend_of, read_legend
from ptsam_auto.data.names import stem
from ptsam_auto.data.new_images import NewImages, Source, find_new_images
from ptsam_auto.data.raster import is_folder
from ptsam_auto.errors import DatasetError, OutputError, Problem
from ptsam_auto.files import write_json
from ptsam_auto.objects.pixel_size import PixelSize
from ptsam_auto.objects.results import LABELS, SUMMARY, ObjectResults
from ptsam_auto.objects.separation import ObjectSettings
from ptsam_auto.own_files import OwnFiles
from ptsam_auto.specialist.artifact import Specialist, load_specialist
from ptsam_auto.specialist.expected_table import TABLE_FILE, read_rows, write_table
from ptsam_auto.specialist.masks import Destination, PredictionResult, predict_source, reading_of
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.models import local_folder
from ptsam_auto.training.scale import MUCH_LARGER, is_much_larger

LOWEST = 5  # Number of images whose expected Dice is printed.


@dataclass(frozen=True)
class Loader:
    """Function object that loads the specialist, in this process or in a worker process.

    Args:
        specialist: Folder of the specialist.
        backbone: Path of the SAM checkpoint if the file was moved.
        device: Device, such as "cpu" or "cuda:0". Default: the GPU if there is one.
        tile: Side of a tile in px of the image, instead of the value that is saved with the specialist.
        folds: Whether to load the models of the cross-fit too, for the uncertainty.
        tta: Whether predictions are the mean over all flips and quarter turns.
    """

    specialist: Path
    backbone: str | None = None
    device: str | None = None
    tile: int | None = None
    folds: bool = False
    tta: bool = False

    def __call__(self) -> Specialist:
        """Return the specialist; see `load_specialist`."""
        return load_specialist(
            self.specialist,
            backbone=self.backbone,
            device=self.device,
            tile=self.tile,
            folds=self.folds,
            tta=self.tta,
        )


def predict(options: PredictOptions, terminal: Terminal) -> Path:
    """Write the masks of all images, and return their folder.

    Existing masks are kept. Unreadable images are reported at the end.

    Raises:
        DatasetError: There are no images, two images have the same name, or some images could not be predicted. The
            last is raised after all other images are predicted.
        SpecialistError: See `load_specialist`.
        ClusterError: Ray does not start or answer, or the cluster has too few CPUs or GPUs.
        OutputError: A folder cannot be written to, or a result would overwrite an image.
    """
    # The specialist is loaded here as well, so that errors are reported before the workers start.
    folds = options.uncertainty is not None
    load = Loader(local_folder(options.specialist), options.backbone, options.device, options.tile, folds, options.tta)
    specialist = load()
    new = find_new_images(options.images, reading_of(specialist), recursive=options.recursive)
    for note in new.notes:
        terminal.say(note)
    destination = Destination(
        options.out or _default_folder(options.images[0]),
        options.overlays,
        replace=options.force,
        uncertainty=options.uncertainty,
        probability=options.probability,
        threshold=options.threshold,
    )
    objects = _object_results(options, specialist, destination.masks) if options.with_objects else None
    destination.refuse_inputs(new.sources, objects.paths(new.sources) if objects else ())
    own_files = _own_files(destination, objects, new.sources, specialist)
    destination.create_folders()
    if specialist.classes:
        _write_legend(destination.masks / LEGEND_FILE, specialist)
    written = kept = 0
    problems, much_larger = list(new.unreadable), []
    with terminal.bar("Predicting") as update:
        if options.workers == 1:
            results = _predicted(specialist, new.sources, destination, update)
        else:
            from ptsam_auto.distributed.workers_prediction import predict_parallel

            use_gpu = specialist.model.device.type == "cuda"
            results = predict_parallel(load, use_gpu, new.sources, destination, options.workers, options.address)
        for done, result in enumerate(results, start=1):
            written, kept = written + result.written, kept + result.kept
            if result.problem:
                problems.append(Problem(result.path, result.problem))
            if any(is_much_larger(result.longest, member.scale) for member in specialist.record.members):
                much_larger.append(result.path)
            update(done, len(new.sources))
    terminal.say(f"{written} masks written: {destination.masks}/" + (f" ({kept} existed already)" if kept else ""))
    if destination.uncertainty is not None:
        with own_files[destination.uncertainty].being_written():
            _write_expected(destination.uncertainty, specialist, new, problems, terminal)
    if objects:
        failed = {problem.where for problem in problems}
        predicted = [source for source in new.sources if source.label not in failed]
        with own_files[destination.masks].being_written():
            problems += _write_objects(objects, predicted, terminal)
    if much_larger:
        largest = max(member.scale.largest for member in specialist.record.members if member.scale)
        terminal.say(
            f"WARNING: {len(much_larger)} images, such as {much_larger[0]}, are more than {MUCH_LARGER:g} times as "
            f"large as the images that the specialist was trained on (at most {largest} px). Check their masks, or set "
            "--tile."
        )
    _print_left_out(new, terminal)
    if problems:
        advice = "All other masks are written. Fix or remove these files, then run the command again."
        raise DatasetError(None, sorted(problems, key=lambda problem: problem.where), advice)
    return destination.masks


def _write_legend(path: Path, specialist: Specialist) -> None:
    """Write the names of the classes in the masks."""
    try:
        write_json(path, legend_of(specialist.classes))
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.\nChoose another --out.") from None


def _predicted(
    specialist: Specialist, sources: Sequence[Source], destination: Destination, update: Callable[..., None]
) -> Iterator[PredictionResult]:
    """Predict one image after another; within a large image, the finished share is shown."""
    for number, source in enumerate(sources):

        def show(share: float, number: int = number, label: str = source.label) -> None:
            update(number, len(sources), f"{label}: {100 * share:.0f} %")

        yield predict_source(specialist, source, destination, show)


def _own_files(
    destination: Destination, objects: ObjectResults | None, sources: Sequence[Source], specialist: Specialist
) -> dict[Path, OwnFiles]:
    """Return the tables and the files of objects, by their folder.

    Raises:
        OutputError: There are other files of these names, and they are not to be replaced.
    """
    files: dict[Path, list[Path]] = {}
    if objects:
        files[destination.masks] = list(objects.paths(sources))
    legend_file = destination.masks / LEGEND_FILE
    if specialist.classes and legend_file.exists() and not destination.replace:
        stated = read_legend(destination.masks)
        if stated != {name: (str(number),) for name, number in legend_of(specialist.classes).items()}:
            raise OutputError(f"{legend_file} exists and names other classes.\nChoose another --out.")
    if destination.uncertainty is not None:
        files[destination.uncertainty] = [destination.uncertainty / TABLE_FILE]
    return {folder: OwnFiles(folder, paths, replace=destination.replace) for folder, paths in files.items()}


def _object_results(options: PredictOptions, specialist: Specialist, folder: Path) -> ObjectResults:
    learned = specialist.record.objects
    return ObjectResults(
        folder,
        ObjectSettings(
            smallest=learned.smallest if options.smallest is None else options.smallest,
            largest_hole=learned.largest_hole if options.largest_hole is None else options.largest_hole,
        ),
        measure=options.measure,
        exports=tuple(options.export),
        pixel_size=PixelSize.parse(options.pixel_size) if options.pixel_size else None,
        class_name=specialist.record.data.folder,
        classes=specialist.classes,
    )


def _write_objects(objects: ObjectResults, sources: Sequence[Source], terminal: Terminal) -> list[Problem]:
    """Write everything about the objects. Return the images that could not be read again."""
    with terminal.bar("Objects") as update:
        try:
            written = objects.write(sources, update)
        except OSError as error:
            raise OutputError(f"Cannot write to {objects.folder}: {error.strerror}.\nChoose another --out.") from None
    settings = objects.settings
    removed = f"smaller than {settings.smallest} px removed" if settings.smallest else "none removed"
    filled = f"smaller than {settings.largest_hole} px filled" if settings.largest_hole else "none filled"
    terminal.say(
        f"{written.objects} objects in {written.images} images: {objects.folder / LABELS}/ "
        f"(objects: {removed}; holes: {filled})"
    )
    if written.cut:
        terminal.say(
            f"WARNING: {written.cut} of them are pieces of objects that are so tall that they do not fit into memory."
        )
    if objects.measure:
        terminal.say(f"Measurements: {objects.folder / SUMMARY}, and objects and images as .csv and .parquet beside it")
        if written.unknown:
            terminal.say(f"{written.unknown} images do not state the size of a pixel; give it with --pixel-size.")
    return list(written.problems)


def _write_expected(
    folder: Path, specialist: Specialist, new: NewImages, problems: Sequence[Problem], terminal: Terminal
) -> None:
    """Write the table of the expected Dice, and name the images with the lowest.

    Images with a problem have no row: a map of theirs may be of an earlier image of the same name.
    """
    failed = {problem.where for problem in problems}
    names = [name for source in new.sources if source.label not in failed for name in source.names]
    rows, calibration = read_rows(folder, names, specialist.identity), specialist.record.scores.calibration
    path = folder / TABLE_FILE
    try:
        write_table(path, rows, calibration)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.\nChoose another folder.") from None
    terminal.say(f"Expected Dice of each image: {path}; maps of the uncertainty: {folder}/")
    if calibration is None or not rows:
        return
    expected = sorted((calibration.expected_dice(row.confidence), row.name) for row in rows)
    lowest = ", ".join(f"{name} {100 * dice:.0f}" for dice, name in expected[:LOWEST])
    terminal.say(f"Lowest expected Dice: {lowest} (+- {100 * calibration.error:.0f} points, one standard deviation).")


def _default_folder(first_input: Path) -> Path:
    """Return NAME-masks in the working folder, or next to the input if NAME-masks would be inside the input."""
    resolved = first_input.resolve()
    folder = Path(f"{resolved.name if is_folder(resolved) else stem(resolved)}-masks")
    return resolved.parent / folder if folder.resolve().is_relative_to(resolved) else folder


def _print_left_out(new: NewImages, terminal: Terminal) -> None:
    """Print every file that was not used, and the reason."""
    if new.left_out:
        terminal.say(f"{len(new.left_out)} files were not used:")
        for problem in new.left_out:
            terminal.say(f"  {problem.where}  {problem.what}")

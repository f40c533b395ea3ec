"""Finds the images to predict on in files and folders, and reports the files that are left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ptsam_auto.data.formats.cellpose import split_by_name
from ptsam_auto.data.formats.layout import ImageFiles, image_files, visible
from ptsam_auto.data.formats.nnunet import CHANNEL
from ptsam_auto.data.names import IMAGE_FOLDERS, MASK_FOLDERS, stem
from ptsam_auto.data.pages import attempt
from ptsam_auto.data.raster import SUFFIXES, Pages, is_folder, is_ours, named_as_image
from ptsam_auto.data.reading import READ_AS_STORED, ImageReading
from ptsam_auto.errors import DatasetError, Problem

NEW_OF_NNUNET = ("imagesTs", "imagesTr")  # nnU-Net's folders of images; the first one that exists is used


@dataclass(frozen=True)
class Source:
    """An image to predict on: a file, a stack, or one file per channel.

    Args:
        names: Names of the results, one per page.
        image: Files of the image.
    """

    names: tuple[str, ...]
    image: ImageFiles

    @property
    def label(self) -> str:
        """Return its name in messages: the path of its first file, as given by the user."""
        return str(self.image.files[0])


@dataclass(frozen=True)
class NewImages:
    """Images to predict on, and files that are left out.

    Args:
        sources: Images with distinct names.
        left_out: Files and folders that are not predicted on, with the reasons; they are reported at the end.
        unreadable: Images that cannot be read, with the reasons.
        notes: Assumptions, one sentence each.
    """

    sources: tuple[Source, ...]
    left_out: tuple[Problem, ...] = ()
    unreadable: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def find_new_images(
    inputs: Sequence[Path], reading: ImageReading = READ_AS_STORED, *, recursive: bool = False
) -> NewImages:
    """Find the images in files and folders; the headers of the files are read for the number of pages.

    In a folder, masks and by-products of other files, masks that ptsam-auto predicted, and files that are not images
    are left out. If a folder contains images/, or nnU-Net's imagesTs/, that subfolder is used. One file per channel is
    read as one image if the specialist was trained on such images, or if the folder has a name of nnU-Net's.

    Args:
        inputs: Image files and folders.
        reading: Rule of the specialist by which channels are selected and scaled.
        recursive: Also search subfolders; otherwise they are left out and reported.

    Raises:
        DatasetError: There is no image, an input does not exist, or two results would have the same name.
    """
    found = _Found(reading, recursive)
    problems: list[Problem] = []
    for given in dict.fromkeys(inputs):
        if is_folder(given):
            before = len(found.sources)
            found.folder(given)
            if len(found.sources) == before:
                problems += found.unreadable or [Problem(str(given), _nothing(found.left_out))]
        elif given.is_file() or given.is_dir():  # OME-Zarr is a folder
            found.files([given], given.parent)
        else:
            problems.append(Problem(str(given), "no such file or folder"))
    first: dict[str, Source] = {}
    for source in found.sources:
        for name in source.names:
            other = first.setdefault(name, source)
            if other is not source:
                problems.append(
                    Problem(source.label, f"would overwrite the mask of {other.label}: both are {name}; rename one")
                )
    if problems or not found.sources:
        raise DatasetError(None, problems or found.unreadable or found.left_out or [Problem("", "no images given")])
    return NewImages(tuple(found.sources), tuple(found.left_out), tuple(found.unreadable), tuple(found.notes))


def source_of(path: Path, reading: ImageReading = READ_AS_STORED) -> Source:
    """Return a single file as a source.

    Raises:
        DatasetError: The file cannot be opened.
    """
    return _source(stem(path), ImageFiles((path,)).known_to(reading))


def _nothing(left_out: Iterable[Problem]) -> str:
    inner = [problem for problem in left_out if "--recursive" in problem.what]
    if inner:
        return f"no images here, but in subfolders such as {inner[0].where}; add --recursive"
    return f"no images; expected {', '.join(SUFFIXES)} files"


def _source(name: str, image: ImageFiles) -> Source:
    count = image.count_pages()
    return Source((name,) if count == 1 else tuple(f"{name}_p{page:03d}" for page in range(count)), image)


class _Found:
    """Collects the sources and the files that are left out."""

    def __init__(self, reading: ImageReading, recursive: bool) -> None:
        self.reading, self.recursive = reading, recursive
        self.sources: list[Source] = []
        self.left_out: list[Problem] = []
        self.unreadable: list[Problem] = []
        self.notes: list[str] = []
        self._sets: dict[frozenset[Path], Path] = {}

    def folder(self, given: Path) -> None:
        """Add the images of a folder."""
        folder = _meant(given)
        if folder != given:
            self.notes.append(f"{given} holds {folder.name}/, which is predicted on.")
            self._say_subfolders(given, besides=folder)
        self._within(folder, folder)

    def _within(self, folder: Path, root: Path) -> None:
        files, left_out = image_files(folder, folder)
        self.left_out += [Problem(str(folder / problem.where), problem.what) for problem in left_out]
        ours = [file for file in files if is_ours(file)]
        self._leave_out(ours, "a mask that ptsam-auto predicted")
        files = [file for file in files if file not in set(ours)]
        masks, images = split_by_name(files)
        self._leave_out(masks, "called as a mask of another image is")
        self._leave_out(
            [file for file in files if file not in {*masks, *images}], "called as Cellpose calls what it writes"
        )
        self.files(images, root)
        inner = [path for path in visible(folder) if is_folder(path)]
        if not self.recursive:
            self._say_subfolders(folder)
            return
        for path in inner:
            if path.name.lower() in MASK_FOLDERS:
                self.left_out.append(Problem(f"{path}/", "a folder of masks"))
            else:
                self._within(path, root)

    def files(self, files: Sequence[Path], root: Path) -> None:
        """Add these image files; the channels of a case are one image."""
        for name, parts in self._joined(files, root):
            problems: list[Problem] = []
            known = attempt(partial(self._known, parts), parts[0].parent, problems, parts[0].name)
            self.unreadable += [Problem(str(parts[0]), problem.what) for problem in problems]
            if known is None:
                continue
            image, pages = known
            key = frozenset(parts[0].with_name(other) for other in pages.files)
            if key and self._sets.setdefault(key, parts[0]) != parts[0]:
                what = f"a part of the OME-TIFF set that {self._sets[key].name} begins"
                self.left_out.append(Problem(str(parts[0]), what))
                continue
            if pages.unnamed:
                self.notes.append(f"{parts[0]}: {pages.unnamed} planes without a name are taken for pages.")
            self.sources.append(_source(name, image))

    def _known(self, parts: tuple[Path, ...]) -> tuple[ImageFiles, Pages]:
        image = ImageFiles(parts).known_to(self.reading)
        return image, image.pages()

    def _joined(self, files: Sequence[Path], root: Path) -> list[tuple[str, tuple[Path, ...]]]:
        """Return the name and the files of each image."""
        named = {file: "_".join([*file.parent.relative_to(root).parts, stem(file)]) for file in files}
        cases: dict[str, dict[int, Path]] = {}
        for file, name in named.items():
            matched = CHANNEL.fullmatch(name)
            if matched and (self.reading.files > 1 or file.parent.name in NEW_OF_NNUNET):
                cases.setdefault(matched["case"], {})[int(matched["channel"])] = file
        wanted = self.reading.files if self.reading.files > 1 else max((len(c) for c in cases.values()), default=1)
        images: list[tuple[str, tuple[Path, ...]]] = []
        for case, channels in cases.items():
            channels = channels | self._siblings(channels, wanted)
            if sorted(channels) == list(range(wanted)):
                images.append((case, tuple(channels[number] for number in range(wanted))))
            else:
                what = f"has {len(channels)} of the {wanted} channels of an image"
                self.left_out += [Problem(str(file), what) for file in channels.values()]
        known = {file for channels in cases.values() for file in channels.values()}
        return images + [(name, (file,)) for file, name in named.items() if file not in known]

    def _siblings(self, channels: dict[int, Path], wanted: int) -> dict[int, Path]:
        """Return the other channels of a case if the user has given some of them."""
        some = next(iter(channels.values()))
        known = some.name[: len(stem(some))]
        found = {
            n: some.with_name(f"{known[:-4]}{n:04d}{some.name[len(known) :]}")
            for n in range(wanted)
            if n not in channels
        }
        return {number: file for number, file in found.items() if file.is_file()}

    def _leave_out(self, files: Iterable[Path], what: str) -> None:
        self.left_out += [Problem(str(file), what) for file in files]

    def _say_subfolders(self, folder: Path, besides: Path | None = None) -> None:
        for path in visible(folder):
            if is_folder(path) and path != besides and (count := _count_images(path)):
                masks = path.name.lower() in MASK_FOLDERS
                images = f"{count} image{'s' if count > 1 else ''}"
                what = "a folder of masks" if masks else f"a subfolder with {images}; to predict on it, add --recursive"
                self.left_out.append(Problem(f"{path}/", what if not besides or masks else f"holds {images} beside it"))


def _meant(given: Path) -> Path:
    """Return the subfolder of images if a folder contains none itself, otherwise the folder."""
    inner = {path.name.lower(): path for path in visible(given) if is_folder(path)}
    for name in NEW_OF_NNUNET:
        if name.lower() in inner:
            return inner[name.lower()]
    if image_files(given, given)[0]:
        return given
    return next((inner[name] for name in IMAGE_FOLDERS if name in inner), given)


def _count_images(folder: Path) -> int:
    return sum(named_as_image(path) and not is_ours(path) for path in visible(folder) if not is_folder(path))

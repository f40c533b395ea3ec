"""Remembers which files of an output folder are ours, so that a file of the user's is never replaced unasked.

The list is in the folder itself. A file counts as ours if it is in the list and has not been changed since: labels that
somebody has corrected by hand are theirs.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ptsam_auto.errors import OutputError
from ptsam_auto.files import file_sha256, write_text
from ptsam_auto.records import RecordError, read_json, to_json

LIST_FILE = "ptsam-auto.json"
BEING_WRITTEN = ""  # instead of the hash of a file, until all files are written
MOST_NAMED = 5  # files in the message
MOST_BYTES = 200_000_000  # of the list; a file of the folder takes about a hundred


@dataclass(frozen=True)
class _Files:
    """The contents of the list: SHA-256 of each file, by its path relative to the folder."""

    files: dict[str, str]


class OwnFiles:
    """The files that a command writes into a folder.

    Args:
        folder: The folder; it need not exist.
        paths: Paths of the files in the folder.
        replace: Whether other files at these paths are replaced.

    Raises:
        OutputError: There are other files at these paths, or files that were changed.
    """

    def __init__(self, folder: Path, paths: Iterable[Path], *, replace: bool = False) -> None:
        self.folder, self._paths = folder, tuple(paths)
        self._known = _read(folder / LIST_FILE)
        others = [path for path in self._paths if path.exists() and not self._is_ours(path)]
        if others and not replace:
            names = ", ".join(str(path) for path in others[:MOST_NAMED])
            more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
            exist, them = ("exists", "it") if len(others) == 1 else ("exist", "them")
            raise OutputError(
                f"{names}{more} {exist}, and ptsam-auto did not write {them}, or somebody has changed {them} since.\n"
                "Choose another folder for the results, or move what is there."
            )

    @contextmanager
    def being_written(self) -> Iterator[None]:
        """Note the files that the `with` block writes into the folder. After an interruption all of them count as ours.

        Raises:
            OutputError: The list cannot be written.
        """
        self._note(dict.fromkeys(self._paths, BEING_WRITTEN))
        yield
        self._note({path: file_sha256(path) for path in self._paths if path.exists()})

    def _is_ours(self, path: Path) -> bool:
        known = self._known.get(self._name(path))
        return known is not None and (known == BEING_WRITTEN or known == file_sha256(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _note(self, hashes: Mapping[Path, str]) -> None:
        """Replace what the list says of the files; one that was not written in the end is not ours."""
        names = set(map(self._name, self._paths))
        self._known = {name: known for name, known in self._known.items() if name not in names}
        self._known |= {self._name(path): known for path, known in hashes.items()}
        path = self.folder / LIST_FILE
        try:
            write_text(path, to_json(_Files(self._known), indent=2))
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror}.\nChoose another folder.") from None


def _read(path: Path) -> dict[str, str]:
    """Return the list; {} if there is none. A file of this name that is no list is somebody else's.

    Raises:
        OutputError: The file is not a list of ours.
    """
    try:
        return dict(read_json(_Files, path, MOST_BYTES).files)
    except FileNotFoundError:
        return {}
    except (OSError, RecordError):
        raise OutputError(
            f"{path} is not the list of files that ptsam-auto writes there, or is damaged.\n"
            "Choose another folder for the results, or move this file."
        ) from None

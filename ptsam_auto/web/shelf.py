"""The specialists that a server offers, by name."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ptsam_auto.errors import ConfigError
from ptsam_auto.specialist.artifact import Specialist, load_descriptors, load_specialist
from ptsam_auto.specialist.layout import FOLDS_FILE

MOST_OF_FITS = 3  # specialists of fits of this server that stay in memory


@dataclass(frozen=True)
class Offered:
    """A specialist that is loaded.

    Args:
        name: Name of its folder.
        specialist: The specialist, with its folds if it has any.
        descriptors: Descriptors of its training images, N 512, or None without folds.
    """

    name: str
    specialist: Specialist
    descriptors: np.ndarray | None

    @property
    def has_folds(self) -> bool:
        """Return whether it has the models of its cross-fit, and so an uncertainty."""
        return bool(self.specialist.folds)

    @cached_property
    def about(self) -> str:
        """Return one line about it."""
        return repr(self.specialist).removeprefix("Specialist(").removesuffix(")")


@dataclass
class Shelf:
    """All specialists of a server. One of them is used where none is named: that of the last fit, or else the first.

    Args:
        backbone: Path of the SAM checkpoint if the file was moved, or None.
        device: Device, or None for the best.
    """

    backbone: str | None = None
    device: str | None = None
    _offered: dict[str, Offered] = field(default_factory=dict)
    _chosen: str | None = None
    _of_fits: list[str] = field(default_factory=list)

    def add(self, folder: Path, *, chosen: bool = False) -> Offered:
        """Load a specialist; it takes seconds.

        Args:
            folder: Its folder.
            chosen: Whether it is that of a fit of this server, which is used from now on where none is named.

        Raises:
            ConfigError: Another one has this name.
            SpecialistError: See `load_specialist`.
        """
        name = folder.resolve().name
        if name in self._offered:
            raise ConfigError(f"Two specialists are called {name}. Rename the folder of one of them.")
        folds = (folder / FOLDS_FILE).is_file()
        specialist = load_specialist(folder, backbone=self.backbone, device=self.device, folds=folds)
        descriptors = load_descriptors(folder, specialist.record) if folds else None
        self._offered[name] = Offered(name, specialist, descriptors)
        if chosen or self._chosen is None:
            self._chosen = name
        if chosen:
            self._of_fits.append(name)
            if len(self._of_fits) > MOST_OF_FITS:
                del self._offered[self._of_fits.pop(0)]
        return self._offered[name]

    def get(self, name: str | None) -> Offered | None:
        """Return the specialist of a name, or the one that is used without a name; None if there is none."""
        name = self._chosen if name is None else name
        return self._offered.get(name) if name is not None else None

    def names(self) -> list[str]:
        """Return the names of the specialists."""
        return list(self._offered)

    def __iter__(self) -> Iterator[Offered]:
        """Iterate over the specialists."""
        return iter(tuple(self._offered.values()))

import pytest

from ptsam_auto import fit
from tests.toys import write_folder, write_scenes
from tests.web.sites import QUICK


@pytest.fixture(scope="session")
def made(tmp_path_factory, toy):
    """A specialist on four discs, with the models of its cross-fit."""
    folder = tmp_path_factory.mktemp("served")
    fit(write_folder(folder / "discs", 4), out=folder / "made", backbone=toy, settings=QUICK, folds=2, track=False)
    return folder / "made"


@pytest.fixture(scope="session")
def of_classes(tmp_path_factory, toy):
    """A specialist that finds discs (1) and bars (2)."""
    folder = tmp_path_factory.mktemp("classes")
    fit(
        write_scenes(folder / "scenes"),
        out=folder / "scenes-specialist",
        backbone=toy,
        settings=QUICK,
        folds=2,
        track=False,
    )
    return folder / "scenes-specialist"

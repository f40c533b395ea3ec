import numpy as np
import pytest
from PIL import Image

from ptsam_auto import fit
from tests.toys import sample, write_folder
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
    for part in ("images", "masks"):
        (folder / "scenes" / part).mkdir(parents=True)
    for number in range(6):
        one = sample(number)
        image, mask = one.image.copy(), one.mask.astype(np.uint8)
        image[2:6, 4:40], mask[2:6, 4:40] = (250, 250, 20), 2
        for part, pixels in (("images", image), ("masks", mask)):
            Image.fromarray(pixels).save(folder / "scenes" / part / f"scene{number}.png")
    (folder / "scenes" / "classes.json").write_text('{"background": 0, "disc": 1, "bar": 2}')
    fit(folder / "scenes", out=folder / "scenes-specialist", backbone=toy, settings=QUICK, folds=2, track=False)
    return folder / "scenes-specialist"

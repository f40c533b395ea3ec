"""No test image was pretrained on, checked by the content of files rather than by their names."""

import hashlib
from pathlib import Path

import pytest

from nano.sources import image_of, open_folder
from ptsam_auto.data.images import read_image
from ptsam_auto.data.subset import listed_names
from ptsam_auto.files import file_sha256

SHARED = Path(__file__).parents[3] / "shared" / "data"
PRETRAINED_ON = ("generalist", "nuclei_dsb2018")
TESTED_ON = ("nuclei_dsb2018", "livecell_mini", "membranes_isbi2012", "cracks_crackforest", "cropweed_cwfid")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_images,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the shared images are not here"),
]


@pytest.fixture(scope="module")
def read():
    """Every image that pretraining opens, also those that it holds out."""
    return [entry.image for name in PRETRAINED_ON for part in open_folder(SHARED / name) for entry in part.entries]


@pytest.fixture(scope="module")
def tested():
    """The val and test images of the set whose train list is pretrained on, and every image of the others."""
    found = []
    for name in TESTED_ON:
        if name in PRETRAINED_ON:
            stems = [stem for part in ("val", "test") for stem in listed_names(SHARED / name, part)]
            found += [image_of(SHARED / name, stem) for stem in stems]
        else:
            found += sorted((SHARED / name / "images").iterdir())
    return found


def test_no_file_is_pretrained_on_and_tested_on(read, tested):
    assert len(read) == 855 + 64
    assert len(tested) == 66 + 20 + 30 + 118 + 60
    assert not {file_sha256(path) for path in read} & {file_sha256(path) for path in tested}


def test_no_picture_is_either_however_its_file_was_written(read, tested):
    assert not {shown(path) for path in read} & {shown(path) for path in tested}


def shown(path):
    image = read_image(path)
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()

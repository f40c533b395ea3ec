"""One truth stored in random ways is read as that truth, or refused with the cause named."""

import os
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ptsam_auto.data.folder import read_folder
from ptsam_auto.errors import DatasetError
from tests.data.stored import IMAGES, LAYOUTS, MASKS, NAMES, scene, store

EXAMPLES = int(os.environ.get("PTSAM_AUTO_EXAMPLES", "100"))
ENOUGH = 0.9  # Dice of a mask that was stored with loss


def dice(mask, truth):
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def read_or_refuse(folder):
    try:
        return read_folder(folder), ""
    except DatasetError as error:
        return None, str(error)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    mask=st.sampled_from(sorted(MASKS)),
    image=st.sampled_from(sorted(IMAGES)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    name=st.sampled_from(sorted(NAMES)),
    nfd=st.booleans(),
    dark=st.booleans(),
    objects=st.integers(1, 5),
    images=st.integers(2, 5),
    seed=st.integers(0, 10_000),
)
def test_a_truth_is_read_as_it_is_or_refused_with_its_cause(
    mask, image, layout, name, nfd, dark, objects, images, seed
):
    way = MASKS[mask]
    scenes = [scene(seed + place, objects, dark=dark) for place in range(images)]
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder), scenes, way, image, LAYOUTS[layout], name, nfd=nfd)
        dataset, refusal = read_or_refuse(Path(folder))
        if dataset is None:
            event(f"refused: {mask}")
            assert way.cause in refusal
            assert not way.certain, refusal
            return
        event(f"read: {mask}")
        named = {unicodedata.normalize("NFC", pair.name): pair for pair in dataset.pairs}
        for place, (pixels, labels) in enumerate(scenes):
            called = LAYOUTS[layout].name.format(NAMES[name].format(place))
            sample = named.pop(next(key for key in (called, f"{called}.ome") if key in named)).load()
            seen = np.ones(labels.shape, bool) if sample.ignored is None else ~sample.ignored
            truth = labels > 0
            if way.exact:
                assert np.array_equal(sample.mask & seen, truth & seen), mask
            else:
                assert dice(sample.mask & seen, truth & seen) > ENOUGH, mask
            assert seen.any()
            assert np.corrcoef(sample.image[..., 0][:-3].ravel(), pixels[:-3].ravel())[0, 1] > 0.94, (
                image
            )  # a JPEG of noise
        assert not named


@pytest.mark.parametrize("mask", [name for name, way in MASKS.items() if way.certain])
def test_what_is_certain_is_read(mask, tmp_path):
    scenes = [scene(place) for place in range(3)]
    store(tmp_path, scenes, MASKS[mask], "PNG", LAYOUTS["images, masks"], "plain", nfd=False)
    for pair, (_, labels) in zip(read_folder(tmp_path).pairs, scenes, strict=True):
        sample = pair.load()
        seen = np.ones(labels.shape, bool) if sample.ignored is None else ~sample.ignored
        assert dice(sample.mask & seen, (labels > 0) & seen) > (0.999 if MASKS[mask].exact else ENOUGH)

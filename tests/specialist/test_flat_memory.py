"""A service that predicts for days needs no more memory than one that has just begun."""

import numpy as np
import psutil
import pytest

from ptsam_auto.methods.mixture import Mixture
from ptsam_auto.methods.ptsam import PTSAMConfig, build
from ptsam_auto.sam import checkpoint
from ptsam_auto.specialist.artifact import Specialist, load_specialist, save
from tests.specialist.records import member, record
from tests.toys import sample

PREDICTIONS, WARM = 1000, 100
MOST_GROWTH = 10_000_000  # bytes; the features of each image, if they were kept, would be more (256 x 4 x 4 floats)


@pytest.mark.slow
def test_a_thousand_predictions_need_no_more_memory_than_a_hundred(toy, tmp_path):
    backbone, config = checkpoint.load(toy), PTSAMConfig(decoder_prompts=3)
    model = Mixture([build(backbone.sam, config, seed=5)], [1.0])
    save(tmp_path, Specialist(model, record(member(backbone, config))))
    specialist = load_specialist(tmp_path)
    images = [sample(number, 48 + 8 * (number % 5), 64).image for number in range(10)]
    process, before, first = psutil.Process(), 0, [specialist.predict(image) for image in images]
    for number in range(PREDICTIONS):
        mask = specialist.predict(images[number % len(images)])
        assert np.array_equal(mask, first[number % len(images)])
        if number == WARM:
            before = process.memory_info().rss
    assert process.memory_info().rss - before < MOST_GROWTH

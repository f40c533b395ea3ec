"""The record of a specialist that nobody measured."""

from dataclasses import asdict

from ptsam_auto.data.reading import READ_AS_STORED
from ptsam_auto.specialist.record import (
    FORMAT,
    BackboneRecord,
    CostRecord,
    DataRecord,
    ScoresRecord,
    SpecialistRecord,
)
from ptsam_auto.specialist.scores import ImageScore, Scores
from ptsam_auto.training.scale import Scale


def record(backbone, config):
    return SpecialistRecord(
        format=FORMAT,
        created="2026-11-23T01:02:03+00:00",
        backbone=BackboneRecord(backbone.name, backbone.sha256),
        adapt="encoder",
        method=asdict(config),
        recipe=None,
        augmentation=None,
        design=None,
        scale=Scale(config.tiles, None, 64, 64),
        settings={},
        searched=None,
        seed=0,
        data=DataRecord("discs", "f" * 64, ("a",), (), "discs", ("b",), READ_AS_STORED, ()),
        scores=ScoresRecord(Scores.of([ImageScore("b", 0.5, 0.4, 0.3)]), None),
        warnings=(),
        cost=CostRecord(1, 4, 1, 0, 1.0, "cpu", 1),
        versions={},
    )

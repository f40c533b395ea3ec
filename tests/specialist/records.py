"""The record of a specialist that nobody measured."""

from dataclasses import asdict

from ptsam_auto.data.reading import READ_AS_STORED
from ptsam_auto.specialist.expected import Expected
from ptsam_auto.specialist.record import (
    FORMAT,
    BackboneRecord,
    CostRecord,
    DataRecord,
    MemberRecord,
    ScoresRecord,
    SpecialistRecord,
)
from ptsam_auto.specialist.scores import ImageScore, Scores
from ptsam_auto.training.scale import Scale


def member(backbone, config, weight=1.0, name="ptsam", scale=None):
    """One member on a backbone."""
    return MemberRecord(
        name=name,
        weight=weight,
        backbone=BackboneRecord(backbone.name, backbone.sha256),
        adapt="encoder",
        method=asdict(config),
        recipe=None,
        augmentation=None,
        design=None,
        scale=scale or Scale(config.tiles, None, 64, 64),
        settings={},
        searched=None,
        steps=1,
        views=0,
    )


def record(*members):
    """A specialist of these members, cross-fitted in two folds."""
    return SpecialistRecord(
        format=FORMAT,
        created="2026-11-23T01:02:03+00:00",
        members=members,
        choice=None,
        seed=0,
        data=DataRecord("discs", "f" * 64, ("a", "b"), (), (("a",), ("b",)), None, (), READ_AS_STORED, ()),
        scores=ScoresRecord(
            crossfit=Scores.of([ImageScore("a", 0.7, 0.6, 0.3), ImageScore("b", 0.5, 0.4, 0.3)]),
            expected=Expected(0.58, 0.4, 0.8, 0.02),
            untuned=None,
            test=None,
            untuned_test=None,
        ),
        warnings=(),
        cost=CostRecord(1, 4, 1.0, "cpu", 1),
        versions={},
    )

"""The tiny bundle with evidence for three references at once, measured as calibrate measures it."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from app.core.bundle import Bundle
from app.core.evidence import Calibration, GenuineScores, PairScores, Units, add_references
from app.core.modalities.base import Limits
from app.core.scoring import similarity_matrix
from model_export.references import Drawn, draw_references
from tests.tiny import UNITS, make_tiny, open_tiny, tiny_item

K, ITEMS = 3, 5


@functools.cache
def draw_tiny(first: int = 0) -> Drawn:
    """UNITS identities from `first` on, ITEMS pictures each, compared with K references of each."""
    unit = np.repeat(np.arange(UNITS), ITEMS)
    items = [tiny_item(first + at, variant) for at in range(UNITS) for variant in range(ITEMS)]
    rows = open_tiny(make_tiny(calibrated=False)).embed(items, Limits())
    drawn = draw_references(similarity_matrix(rows, rows, "cosine"), unit, K, seed=1)
    return Drawn(drawn.score, unit[drawn.probe], unit[drawn.reference])


@functools.cache
def with_references() -> Bundle:
    """The bundle tiny, whose evidence also has curves for K references, `max` and `mean`."""
    bundle, drawn = make_tiny(), draw_tiny()
    calibration = bundle.calibration
    assert calibration is not None
    same = drawn.probe == drawn.reference
    for how, score in drawn.score.items():
        calibration = add_references(
            calibration,
            Units(UNITS),
            GenuineScores(score[same], drawn.probe[same]),
            {"random": PairScores(score[~same], drawn.probe[~same], drawn.reference[~same])},
            k=K,
            aggregation=how,
            seed=1,
        )
    return replace(bundle, calibration=calibration)


def evidence() -> Calibration:
    """The evidence of that bundle."""
    calibration = with_references().calibration
    assert calibration is not None
    return calibration

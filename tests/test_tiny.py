"""The tiny bundle that the other tests rest on is what it says: real, reproducible, and honest about its rates."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest

from app.core.bundle import read_bundle
from app.core.evidence import Selectors, choose, is_outside, judge
from app.core.modalities.base import Limits
from app.core.scoring import Metric, similarity_matrix
from tests.tiny import OTHERS_FROM, make_tiny, open_tiny, tiny_item, tiny_png


def test_pictures_are_the_same_on_every_run() -> None:
    assert tiny_png(3, 1) == tiny_png(3, 1)
    assert len({tiny_png(identity, variant) for identity in range(20) for variant in range(5)}) == 100


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_evidence_holds_for_identities_that_were_never_measured(metric: Metric) -> None:
    bundle = make_tiny(metric=metric)
    calibration = bundle.calibration
    assert calibration is not None
    choice = choose(calibration, "released", Selectors(operating_point="fmr_1e-2"))
    identities = range(OTHERS_FROM, OTHERS_FROM + 120)
    rows = open_tiny(bundle).embed([tiny_item(one, variant) for one in identities for variant in (0, 1)], Limits())
    scores = similarity_matrix(rows[::2], rows[1::2], metric)

    def is_match(score: np.float32) -> bool:
        judged = judge(choice, score, prior=None, outside=(), identical=False, today=datetime.date(2030, 1, 1))
        return judged.verdict == "match"

    impostors = [is_match(score) for score in scores[np.triu_indices(len(scores), k=1)]]
    assert np.mean(impostors) < 0.02
    assert np.mean([is_match(score) for score in np.diag(scores)]) > 0.9
    outside = [is_outside(calibration.applicability, row) for row in rows]
    assert np.mean(outside) < 0.1


def test_every_operating_point_is_verified_on_others() -> None:
    calibration = make_tiny().calibration
    assert calibration is not None
    names = {point.name for point in calibration.operating_points}
    assert {"fmr_1e-1", "fmr_1e-2"} <= names
    assert all(point.verified is not None for point in calibration.operating_points)


def test_the_shared_folders_hold_what_they_promise(tiny_models: Path, uncalibrated_models: Path) -> None:
    assert read_bundle(tiny_models / "tiny" / "1.0.0").calibration is not None
    assert read_bundle(uncalibrated_models / "tiny" / "1.0.0").calibration is None

"""What `calibrate` measures, whatever it was given: the members of calibration.json but `verified`. Writes no file."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np
import numpy.typing as npt

from app.core.evidence import (
    Calibration,
    Counts,
    GenuineScores,
    MeasuredWith,
    PairScores,
    Units,
    estimate,
)
from app.core.modalities.base import Item
from app.core.scoring import GUARD_BAND_FLOORS
from app.runtime.encoder import Encoder
from model_export.errors import CommandError
from model_export.measure import Embeddings, encoders_at_hand, guard_band, sample_for_band
from model_export.own_kind import fit_where_possible

GUARD_BAND_ITEMS = 300


@dataclass(frozen=True)
class Study:
    """What is measured, in the words of the evidence, and how."""

    population: str
    unit: str
    impostors: Mapping[str, str]
    source: Literal["shipped", "yours"]
    valid_for_days: int
    draws: int
    seed: int
    folds: int


@dataclass(frozen=True)
class Sample:
    """What was measured: items with the unit and the group of each, int64 (items,), their rows, and their scores.

    group is None where items come in no groups, genuine where nobody knows which items match.
    """

    items: Sequence[Item]
    unit: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64] | None
    rows: Embeddings
    units: Units
    genuine: GenuineScores | None
    impostors: Mapping[str, PairScores]


def measure_evidence(study: Study, encoder: Encoder, sample: Sample, number: str) -> Calibration:
    """Everything in calibration.json but `verified`; `number` is the version that it will be part of.

    Raises CommandError for scores that are no evidence.
    """
    bundle, genuine = encoder.bundle, sample.genuine
    encoders = encoders_at_hand(encoder)
    band = guard_band(
        encoders,
        [sample.items[at] for at in sample_for_band(sample.rows, GUARD_BAND_ITEMS, study.seed).tolist()],
        bundle.manifest.embedding.metric,
        GUARD_BAND_FLOORS[bundle.manifest.graph.precision],
    )
    print(f"guard band {band:.1e}, on {', '.join(dict.fromkeys(one.provider for one in encoders))}")
    try:
        estimated = estimate(
            sample.units,
            genuine,
            sample.impostors,
            study.impostors,
            guard_band=band,
            draws=study.draws,
            seed=study.seed,
        )
    except ValueError as error:
        raise CommandError(f"this is no evidence, so nothing is written: {error}") from error
    for one in estimated.impostors:
        strictest = [p.name for p in estimated.operating_points if p.impostor == one.type and p.name != "eer"][-1:]
        print(f"{one.type}: P = {one.unit_pairs}, strictest operating point: {', '.join(strictest) or 'none'}")
    today = datetime.datetime.now(datetime.UTC).date()
    return Calibration(
        id=f"{bundle.name}-{number}-{today:%Y%m%d}",
        population=study.population,
        unit=study.unit,
        source=study.source,
        date=today,
        valid_for_days=study.valid_for_days,
        measured_with=MeasuredWith(
            provider=encoder.provider, onnxruntime=version("onnxruntime"), tf32=bundle.manifest.numerics.tf32
        ),
        counts=Counts(
            units=sample.units.count,
            genuine_units=0 if genuine is None else len(np.unique(genuine.unit)),
            groups=None if sample.group is None else len(np.unique(sample.group)),
            items=len(sample.items),
            genuine_pairs=0 if genuine is None else genuine.pairs,
            impostor_pairs={name: len(pairs.score) for name, pairs in sample.impostors.items()},
        ),
        failure_to_acquire=sample.rows.failure_to_acquire,
        **fit_where_possible(sample.rows, sample.unit, study.seed),
        **estimated.members(),
    )

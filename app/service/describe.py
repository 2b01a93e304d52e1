"""A served model in plain values, for GET /models. No decisions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.core.evidence import Calibration, describe_points, measured_sizes
from app.core.scoring import Aggregation
from app.runtime.registry import Model

AGGREGATIONS: tuple[Aggregation, ...] = ("max", "mean")
"""By which of them a reference's items may be measured together; one item needs neither."""


def describe_model(model: Model) -> dict[str, Any]:
    """What the model is, what it takes, what its evidence supports, and what runs it."""
    manifest, calibration = model.bundle.manifest, model.bundle.calibration
    # A demonstration's points cannot be asked for, so they are not offered.
    points = describe_points(calibration) if manifest.status == "released" else []
    return {
        "name": manifest.name,
        "version": manifest.version,
        "status": manifest.status,
        "fingerprint": manifest.fingerprint,
        "relation": manifest.relation.model_dump(by_alias=True),
        "modality": manifest.modality.model_dump(),
        "item_form": model.encoder.modality.form,
        "limits": asdict(model.encoder.modality.narrow(model.limits)),
        "embedding": manifest.embedding.model_dump(),
        "operating_points": points,
        "default_operating_point": next((point["name"] for point in points if point["default"]), None),
        "impostors": [] if calibration is None else [one.model_dump() for one in calibration.impostors],
        "calibration": None if calibration is None else _calibration(calibration),
        "licence": manifest.licence.model_dump(),
        "intended_use": manifest.intended_use,
        "provider": model.encoder.provider,
        "golden_source": model.bundle.golden.vouched_by,
    }


def _calibration(calibration: Calibration) -> dict[str, Any]:
    return {
        "id": calibration.id,
        "population": calibration.population,
        "unit": calibration.unit,
        "counts": calibration.counts.model_dump(),
        "date": calibration.date.isoformat(),
        "valid_for_days": calibration.valid_for_days,
        "source": calibration.source,
        "default_impostor": calibration.default_impostor,
        "measured_with": calibration.measured_with.model_dump(),
        "references": {how: measured_sizes(calibration, calibration.default_impostor, how) for how in AGGREGATIONS},
        "failure_to_acquire": dict(calibration.failure_to_acquire),
        "applicability": calibration.applicability is not None or calibration.input_applicability is not None,
    }

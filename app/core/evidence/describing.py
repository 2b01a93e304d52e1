"""Operating points as GET /models shows them. No judging."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.core.evidence.calibration import Calibration


def describe_points(calibration: Calibration | None) -> list[dict[str, Any]]:
    """The stored operating points: name, threshold, impostor, fmr, fnmr, verified, default (of the whole bundle)."""
    if calibration is None:
        return []
    return [
        {
            "name": point.name,
            "threshold": np.float32(point.threshold),
            "impostor": point.impostor,
            "fmr": point.fmr.model_dump(),
            "fnmr": None if point.fnmr is None else point.fnmr.model_dump(),
            "verified": None if point.verified is None else point.verified.model_dump(),
            "default": point.impostor == calibration.default_impostor
            and calibration.defaults.get(point.impostor) == point.name,
        }
        for point in calibration.operating_points
    ]

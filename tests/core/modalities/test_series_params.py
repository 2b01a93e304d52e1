"""The closed set of params of the series modality: what refuses a bundle, and what its manifest must say."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from app.core.errors import BundleRefused
from app.core.modalities import create
from app.core.modalities.series.params import MAX_NUMBERS
from tests.core.modalities.recordings import PARAMS


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sharpen": True}, "sharpen"),
        ({"channels": []}, "channels"),
        ({"channels": ["lead I", "lead II"]}, "channels"),
        ({"channels": [{"name": "a", "unit": "V"}] * 2}, "channels"),
        ({"channels": [{"name": "a"}, {"name": "b", "unit": "V"}]}, r"channels\.0\.unit"),
        ({"rate": 0}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": math.inf}, "rate"),
        ({"rate": None}, "resample"),
        ({"rate": None, "resample": None}, "min_rate"),
        ({"resample": "linear"}, "resample"),
        ({"resample": None}, "min_rate"),
        ({"min_rate": None}, "min_rate"),
        ({"min_rate": 251.0}, "min_rate"),
        ({"max_rate": 249.0}, "min_rate"),
        ({"max_rate": 4000.1}, "min_rate"),
        ({"min_rate": 15.0}, "min_rate"),
        ({"min_steps": 1}, "min_steps"),
        ({"min_steps": 1001}, "min_steps"),
        ({"min_steps": 100.0}, "min_steps"),
        ({"max_steps": MAX_NUMBERS}, "max_steps"),
        ({"max_steps": 999}, "window_steps"),
        ({"ladder": []}, "ladder"),
        ({"ladder": [0, 1000]}, "ladder"),
        ({"ladder": [500, 250, 1000]}, "ladder"),
        ({"ladder": [500, 500, 1000]}, "ladder"),
        ({"ladder": [250, 500]}, "ladder"),
        ({"ladder": [250, 1001]}, "ladder"),
        ({"long": "truncate"}, "long"),
        ({"long": "refuse"}, "window_steps"),
        ({"window_steps": None}, "window_steps"),
        ({"hop_steps": None}, "window_steps"),
        ({"hop_steps": 1001}, "window_steps"),
        ({"hop_steps": 1}, "hop_steps"),
        ({"gaps": "interpolate"}, "max_gap"),
        ({"max_gap": 3}, "max_gap"),
        ({"gaps": "zero"}, "gaps"),
        ({"normalisation": "declared"}, "mean"),
        ({"normalisation": "declared", "mean": [0.0, 1.0]}, "scale"),
        ({"mean": [0.0, 1.0]}, "mean"),
        ({"normalisation": "declared", "mean": [0.0], "scale": [1.0, 1.0]}, "mean"),
        ({"normalisation": "declared", "mean": [0.0, 1.0], "scale": [1.0, 0.0]}, "scale"),
        ({"normalisation": "declared", "mean": [0.0, math.nan], "scale": [1.0, 1.0]}, "mean"),
    ],
)
def test_params_outside_the_closed_set_refuse_the_bundle(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BundleRefused, match=rf"^modality\.params\.{field}"):
        create("series", PARAMS | change, {})


@pytest.mark.parametrize("field", sorted(PARAMS))
def test_every_step_of_the_preparation_must_be_named(field: str) -> None:
    with pytest.raises(BundleRefused, match=r"^modality\.params\."):
        create("series", {name: value for name, value in PARAMS.items() if name != field}, {})


def test_params_survive_json() -> None:
    assert create("series", json.loads(json.dumps(PARAMS)), {}).form == "values"

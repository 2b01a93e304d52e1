"""What a request's answer says of its items beside the verdict, and embeddings that came back looked at. No pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.evidence import is_outside
from app.runtime.engine import Encoded
from app.runtime.registry import Model
from app.service.items import Given

INPUT_UNSEEN = "input_unseen"
"""Notice of an item that came as an embedding: whether its input was like those measured, only /embed could say."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What was done to an item, such as `first_frame`; pointer to it as in errors."""

    code: str
    pointer: str


def look_at(given: Sequence[Given], model: Model) -> list[Encoded]:
    """Embeddings that came back, at least one: are they like those that were measured?"""
    calibration = model.bundle.calibration
    if calibration is None:
        return [Encoded(one.vector, False, ()) for one in given]
    unseen = () if calibration.input_applicability is None else (INPUT_UNSEEN,)
    return [Encoded(one.vector, is_outside(calibration.applicability, one.vector), unseen) for one in given]

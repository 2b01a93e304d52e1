"""The distinct items of a request, each looked at once: is it like those measured? No pairs, no verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.core.errors import TwinserveError
from app.core.evidence import is_outside
from app.runtime.registry import Model
from app.service.inference import Encoded
from app.service.items import Key

INPUT_UNSEEN = "input_unseen"
"""Notice of an item that came as an embedding: whether its input was like those measured, only /embed could say."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What was done to an item, such as `first_frame`; pointer to it as in errors."""

    code: str
    pointer: str


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """One distinct item of a request, embedded, and the codes of what its user must know of it."""

    encoded: Encoded
    outside: bool
    notices: tuple[str, ...]


def place_all(outcomes: Mapping[Key, Encoded | TwinserveError], model: Model) -> dict[Key, Placed | TwinserveError]:
    """Look once at each distinct item, however often the request has it."""
    return {
        key: outcome if isinstance(outcome, TwinserveError) else _place(outcome, model)
        for key, outcome in outcomes.items()
    }


def _place(outcome: Encoded, model: Model) -> Placed:
    calibration = model.bundle.calibration
    if calibration is None:
        return Placed(outcome, False, outcome.notices)
    outside = is_outside(calibration.applicability, outcome.vector)
    if calibration.input_applicability is None:
        return Placed(outcome, outside, outcome.notices)
    if outcome.prepared is None:
        return Placed(outcome, outside, (INPUT_UNSEEN,))
    summary = model.encoder.summarize(outcome.prepared)
    return Placed(outcome, outside or is_outside(calibration.input_applicability, summary), outcome.notices)

"""Are answers the same under load, in batches and alone? From bodies to numbers, and how far they are apart."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from app.core.bundle import Bundle
from app.core.scoring import GUARD_BAND_FLOORS
from benchmarks.samples import OK, Load

Values = npt.NDArray[np.float32]

PEER_TOLERANCE = 1e-4
"""How far a component of a peer's embedding may be from ours; another engine on the same weights rounds otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What one answer gives: scores (pairs,) and their verdicts where it has any, or embeddings (inputs, dimension)."""

    values: Values
    verdicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Answers against the answers to the same items alone.

    `largest` is of any score or component, infinite where a pair or a number was missing; `beyond` counts answers
    that differ by more than the tolerance, `verdicts` the verdicts that differ, `answers` what was compared: distinct
    bodies, since equal bytes need no second look.
    """

    largest: float
    beyond: int
    verdicts: int
    answers: int


def guard_band(bundle: Bundle) -> float:
    """How far scores of one pair may be apart: what the bundle's evidence allows for."""
    floor = GUARD_BAND_FLOORS[bundle.manifest.graph.precision]
    return floor if bundle.calibration is None else bundle.calibration.guard_band


def read_answer(body: bytes) -> Given:
    """The numbers of an answer of the service, the tutorial service, LitServe or infinity. A failed pair is NaN."""
    answer = orjson.loads(body)
    if "results" in answer:
        results = [_pair(one) for one in answer["results"]]
        return Given(np.array([score for score, _ in results], np.float32), tuple(verdict for _, verdict in results))
    if "score" in answer:
        score, verdict = _pair(answer)
        return Given(np.array([score], np.float32), (verdict,) if verdict else ())
    rows = answer["embeddings"] if "embeddings" in answer else [one["embedding"] for one in answer["data"]]
    return Given(np.stack([_row(row) for row in rows]))


def join(parts: Sequence[Given]) -> Given:
    """Answers to single items as one answer to all of them."""
    return Given(
        np.concatenate([part.values for part in parts]), tuple(verdict for part in parts for verdict in part.verdicts)
    )


def differences(given: Iterable[tuple[int, Given]], alone: Sequence[Given], tolerance: float) -> Difference:
    """Compare answers, each with the number of its request, with those to the same requests alone."""
    largest, beyond, verdicts, answers = 0.0, 0, 0, 0
    for request, one in given:
        apart = _apart(one.values, alone[request].values)
        largest, beyond = max(largest, apart), beyond + (not apart <= tolerance)
        if one.verdicts:
            verdicts += sum(a != b for a, b in zip(one.verdicts, alone[request].verdicts, strict=True))
        answers += 1
    return Difference(largest, beyond, verdicts, answers)


def distinct_answers(load: Load) -> list[tuple[int, Given]]:
    """Every answer of a load that was 200, each body of a request once."""
    bodies = {(one.request, one.answer.body) for one in load.samples if one.answer.status == OK}
    return [(request, read_answer(body)) for request, body in sorted(bodies)]


def _apart(left: Values, right: Values) -> float:
    if left.shape != right.shape:
        return float("inf")
    apart = float(np.abs(left.astype(np.float64) - right).max())
    return apart if np.isfinite(apart) else float("inf")


def _pair(answer: Any) -> tuple[float, str]:
    return (answer["score"], answer.get("verdict", "")) if "score" in answer else (float("nan"), "failed")


def _row(row: Any) -> Values:
    if isinstance(row, str):
        return np.frombuffer(binascii.a2b_base64(row), "<f4")
    return np.array(row, dtype=np.float32)

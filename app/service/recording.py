"""From judged comparisons to their records, and those to the file of decisions. No HTTP; what a record is, is records'.

A record holds digests of the items, never the items: whoever has them can show what was compared, and nobody else
learns it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from app import __version__
from app.core.bundle import Bundle
from app.core.errors import NotReady
from app.core.evidence import Choice, Judgement, Selectors
from app.core.observe import Observer
from app.core.scoring import Aggregation
from app.records import FORMAT_VERSION, AuditFile, Signer, seal
from app.service.items import EMBEDDING, Content, Given
from app.service.matching import Matched
from app.service.usecases import Comparison

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What the records of one request have in common; `route` is the template."""

    id: str
    route: str
    selectors: Selectors


@dataclass(frozen=True, slots=True)
class _Decision:
    """One verdict: the first item was compared with the others, of one reference out of `references`."""

    pointer: str
    bundle: Bundle
    provider: str
    items: Sequence[Content | Given]
    aggregation: Aggregation
    references: int
    choice: Choice
    score: np.float32
    judgement: Judgement


class Recorder:
    """Makes records, signed where a `signer` is given, and keeps them where there is an `audit` file.

    `refuses`: whether a request fails whose records cannot be kept. `now` tells the time in UTC.
    """

    def __init__(
        self,
        observer: Observer,
        now: Callable[[], datetime],
        *,
        signer: Signer | None = None,
        audit: AuditFile | None = None,
        refuses: bool = True,
    ) -> None:
        self._observer = observer
        self._now = now
        self._signer = signer
        self._audit = audit
        self._refuses = refuses
        self._failing = False

    @property
    def keeps(self) -> bool:
        """Whether every verdict is to be recorded, asked for or not."""
        return self._audit is not None

    def close(self) -> None:
        """Close the file."""
        if self._audit is not None:
            self._audit.close()

    def compared(self, request: Request, results: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
        """The records of pairs, by pointer as the results are. Raises NotReady where they must be kept and cannot."""
        return self._record(
            request,
            [
                _Decision(
                    pointer, one.bundle, one.provider, one.pair, "single", 1, one.choice, one.score, one.judgement
                )
                for pointer, one in results.items()
            ],
        )

    def matched(self, request: Request, result: Matched) -> list[dict[str, Any]]:
        """The records of a file's references, in the order of the result. Errors as in `compared`."""
        decisions = [
            _Decision(
                f"/references/{one.place}",
                result.bundle,
                result.provider,
                one.compared,
                "single" if one.items == 1 else result.aggregation,
                len(result.references),
                one.choice,
                one.score,
                one.judgement,
            )
            for one in result.references
        ]
        return list(self._record(request, decisions).values())

    def _record(self, request: Request, decisions: Sequence[_Decision]) -> dict[str, dict[str, Any]]:
        time = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        records = {one.pointer: seal(_content(request, one, time), self._signer) for one in decisions}
        if self._audit is not None and records:
            self._keep(self._audit, [orjson.dumps(record) for record in records.values()])
        return records

    def _keep(self, audit: AuditFile, lines: Sequence[bytes]) -> None:
        try:
            audit.append(lines)
        except OSError as error:
            self._observer.unrecorded(len(lines))
            if not self._failing:
                logger.error("decisions cannot be recorded: %s", error.strerror or error)
            self._failing = True
            if self._refuses:
                raise NotReady("this verdict cannot be recorded, so it is not given; try again later") from None
        else:
            if self._failing:
                logger.warning("decisions are recorded again")
            self._failing = False


def _content(request: Request, decision: _Decision, time: str) -> dict[str, Any]:
    bundle, judgement = decision.bundle, decision.judgement
    calibration = bundle.calibration
    return {
        "format_version": FORMAT_VERSION,
        "request_id": request.id,
        "route": request.route,
        "pointer": decision.pointer,
        "time": time,
        "service": __version__,
        "model": bundle.name,
        "version": bundle.version,
        "fingerprint": bundle.fingerprint,
        "calibration": None if calibration is None else calibration.id,
        "provider": decision.provider,
        "inputs": [_input(item) for item in decision.items],
        "aggregation": decision.aggregation,
        "asked": {**asdict(request.selectors), "references": decision.references},
        "operating_point": None if judgement.operating_point is None else _point(judgement.operating_point),
        "guard_band": decision.choice.guard_band,
        "score": shortest(decision.score),
        "verdict": judgement.verdict,
        "reasons": [{"code": reason.code, "side": reason.side} for reason in judgement.reasons],
    }


def _point(shown: Mapping[str, Any]) -> dict[str, Any]:
    low = shown["threshold_low"]
    return {
        "name": shown["name"],
        "source": shown["source"],
        "impostor": None if shown["impostor"] is None else shown["impostor"]["type"],
        "threshold": shortest(shown["threshold"]),
        "threshold_low": None if low is None else shortest(low),
    }


def shortest(value: np.float32) -> float:
    """The number that answers print: a float64 whose shortest form is that of the float32."""
    return float(str(np.float32(value)))


def _input(item: Content | Given) -> dict[str, Any]:
    if isinstance(item, Given):
        return {"form": EMBEDDING, "sha256": _sha256(item.vector.astype("<f4").tobytes()), "options": {}}
    form, content, _ = item.key
    options = {name: _plain(value) for name, value in item.item.items() if name not in (form, "bytes")}
    data = pack_values(item.item["values"]) if form == "values" else content
    return {"form": form, "sha256": _sha256(data), "options": options}


def pack_values(rows: Sequence[Sequence[float | None]]) -> bytes:
    """The values of a series, row by row, as little-endian float64; null is the quiet NaN 0x7ff8000000000000."""
    values = [math.nan if value is None else float(value) for row in rows for value in row]
    return struct.pack(f"<{len(values)}d", *values)


def _plain(value: Any) -> Any:
    """A number as JSON has it: integers beyond 53 bits have no canonical form."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

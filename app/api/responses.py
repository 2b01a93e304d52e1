"""From results to response bodies. JSON is written by orjson, which prints a float32 as the shortest float32.

Embeddings never become Python lists: the array is serialised as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from starlette.responses import Response

from app.api import errors
from app.core.errors import Overloaded, TwinserveError
from app.core.evidence import Reason
from app.service import Comparison, Embedded, Matched, Notice

PROBLEM = "application/problem+json"
SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""Headers of every answer: it is what its type says, and no cache keeps what may be about a person."""


class JsonResponse(Response):
    """Mappings, sequences, dates, numpy scalars and contiguous numpy arrays. Made without starlette's way from names
    and values to headers, since they are always these two.
    """

    def __init__(self, value: Any, *, status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.body = dump(value)
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", b"application/json")]


def problem_response(error: TwinserveError, request_id: str, extra: Mapping[str, str] | None = None) -> Response:
    """One error as problem details, with Retry-After where it applies and the `extra` headers."""
    return Response(
        dump(errors.problem(error, request_id)),
        status_code=errors.kind(error).status,
        headers={**errors.headers(error), **(extra or {})},
        media_type=PROBLEM,
    )


@lru_cache(maxsize=1024)
def overloaded_on_the_wire(detail: str, retry_after_s: int, *, id_bytes: int, keep_alive: bool) -> tuple[bytes, ...]:
    """The problem `overloaded` as it is written, in pieces between which a request id of so many bytes goes.

    It is the answer that is given where there is time for nothing, so what is the same in all of them is made once.
    """
    mark = "~" * id_bytes  # in no request id, and in nothing else
    error = Overloaded(detail, retry_after_s=retry_after_s)
    response = problem_response(error, mark, {"X-Request-ID": mark})
    status = HTTPStatus(response.status_code)
    head = [f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()]
    head += [b"%b: %b\r\n" % header for header in (*response.raw_headers, *SAFE)]
    head += [b"\r\n" if keep_alive else b"connection: close\r\n\r\n"]
    return tuple(b"".join([*head, bytes(response.body)]).split(mark.encode()))


def dump(value: Any) -> bytes:
    """JSON in UTF-8."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):  # read-only views of a mapping
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def notices(given: Sequence[Notice], prefix: str = "") -> list[dict[str, str]]:
    """What was done to items, each with the pointer to its item."""
    return [{"code": notice.code, "pointer": prefix + notice.pointer} for notice in given]


def reasons(given: Sequence[Reason]) -> list[dict[str, str | None]]:
    """Why a verdict is undetermined, or what its rates do not cover."""
    return [{"code": reason.code, "side": reason.side, "detail": reason.detail} for reason in given]


def comparison(
    result: Comparison, prefix: str = "", *, scores: bool = True, record: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The answer for one pair: all keys, always, but `record`. Without `scores` whatever is told from the score is
    null.
    """
    judgement = result.judgement
    answer = {
        "verdict": judgement.verdict,
        "reasons": reasons(judgement.reasons),
        "score": result.score if scores else None,
        "distance": result.distance if scores else None,
        "log_likelihood_ratio": judgement.log_likelihood_ratio if scores else None,
        "fmr_at_score": judgement.fmr_at_score if scores else None,
        "operating_point": judgement.operating_point,
        "posterior": judgement.posterior if scores else None,
        "notices": notices(result.notices, prefix),
        "model": result.bundle.name,
        "version": result.bundle.version,
        "fingerprint": result.bundle.fingerprint,
    }
    return answer if record is None else {**answer, "record": record}


def matched(result: Matched, records: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The answer of /match: every reference, the highest score first, each with its record where there are any."""
    own = [{"record": record} for record in records] or [{}] * len(result.references)
    return {
        "verdict": result.verdict,
        "best": result.best,
        "reasons": reasons(result.reasons),
        "references": [
            {
                "id": reference.id,
                "items": reference.items,
                "score": reference.score,
                "verdict": reference.judgement.verdict,
                "reasons": reasons(reference.judgement.reasons),
                "log_likelihood_ratio": reference.judgement.log_likelihood_ratio,
                "fmr_at_score": reference.judgement.fmr_at_score,
                "operating_point": reference.judgement.operating_point,
                **record,
            }
            for reference, record in zip(result.references, own, strict=True)
        ],
        "family": result.family,
        "aggregation": result.aggregation,
        "notices": notices(result.notices),
        "model": result.bundle.name,
        "version": result.bundle.version,
        "fingerprint": result.bundle.fingerprint,
    }


def _base64(row: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(row.astype("<f4", copy=False).tobytes()).decode()


def embeddings(result: Embedded, encoding: Literal["float", "base64"]) -> dict[str, Any]:
    """The answer of /embed; base64 is one string an input, little-endian float32."""
    bundle = result.bundle
    rows = result.vectors if encoding == "float" else [_base64(row) for row in result.vectors]
    return {
        "embeddings": rows,
        "dimension": bundle.manifest.embedding.dimension,
        "normalized": bundle.manifest.embedding.normalized,
        "notices": notices(result.notices),
        "model": bundle.name,
        "version": bundle.version,
        "fingerprint": bundle.fingerprint,
    }

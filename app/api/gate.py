"""What the key of a request lets its caller do, at the edge: the door admits by it, endpoints ask it for the rest.

app/access knows keys, scopes and rates; here they meet headers, routes and envelopes. Where the service has no keys,
nothing of this is called.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as HttpScope

from app.access import Access, Caller, Scope
from app.api.schemas import Envelope, pointer
from app.core.errors import Forbidden, InvalidRequest, UnknownModel
from app.service import EMBEDDING, RawItem, Service

CALLER = "caller"
"""The scope's key under which the layers inside find who calls; it is not there where the service has no keys."""

Need = Scope | Literal["key", "nothing"]
"""What a route asks for: a key with this scope, any key, or no key at all."""
Endpoint = Callable[[Request], Awaitable[Response]]

KEYLESS = re.compile(r"(/v1)?/(health/(live|ready)|docs(/.*)?|openapi\.json)")
"""Paths that need no key: probes send none, and the documentation is the same for every installation."""

PLAIN = frozenset({"model", "a", "b", "pairs"})
"""Members that a key which sees verdicts only may send. Whatever else there is or will be moves the threshold or
shows more than the verdict, so that it is refused unless it stands here.
"""
SCORES = "this key sees verdicts only"


def admit(access: Access, scope: HttpScope, headers: Mapping[str, str]) -> None:
    """Put into `scope` who calls, from X-API-Key or else Authorization: Bearer.

    Raises Unauthorized without a valid key, RateLimited for one that is over its rate.
    """
    if KEYLESS.fullmatch(scope["path"]):
        return
    secret = headers.get("x-api-key")
    if secret is None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        secret = given.strip() if scheme.lower() == "bearer" else None
    scope[CALLER] = caller = access.admit(secret)
    access.enter(caller)


def caller_of(scope: HttpScope) -> Caller | None:
    """Who calls, None where the service asks for no keys."""
    caller: Caller | None = scope.get(CALLER)
    return caller


def guard(endpoint: Endpoint, need: Need) -> Endpoint:
    """The endpoint behind what it needs, which is looked at before a body is read."""
    if need in ("key", "nothing"):
        return endpoint

    async def guarded(request: Request) -> Response:
        caller = caller_of(request.scope)
        if caller is not None:
            caller.need(need)
        return await endpoint(request)

    return guarded


def need_scores(request: Request) -> None:
    """Raises Forbidden for a key that sees verdicts only: the answer of this route ranks."""
    caller = caller_of(request.scope)
    if caller is not None and not caller.key.sees_scores:
        raise Forbidden(f"{SCORES}, and this route ranks: compare with each reference")


def sees_scores(request: Request) -> bool:
    """Whether the answer may hold more than the verdict."""
    caller = caller_of(request.scope)
    return caller is None or caller.key.sees_scores


def check_pairs(request: Request, body: Envelope, pairs: Sequence[tuple[RawItem, RawItem]], service: Service) -> None:
    """Hold a request for verdicts against its caller's key: the model, the cost, and what a key that sees verdicts
    only may send. Raises Forbidden, and InvalidRequest as check_model does.
    """
    caller = caller_of(request.scope)
    if caller is None:
        return
    check(request, body.model, len(pairs), service)
    if caller.key.sees_scores:
        return
    for name in sorted(body.model_fields_set - PLAIN):
        raise Forbidden(f"{SCORES}, at the model's default operating point: remove {name}", pointer=pointer([name]))
    for index, pair in enumerate(pairs):
        for side, item in zip("ab", pair, strict=True):
            if isinstance(item, Mapping) and EMBEDDING in item:
                where = f"/pairs/{index}/{side}" if "pairs" in body.model_fields_set else f"/{side}"
                raise Forbidden(f"{SCORES}, and compares no embeddings: send the content", pointer=where)


def check(request: Request, model: str | None, cost: int, service: Service) -> None:
    """Hold the model against the caller's key, and have the caller pay for so many comparisons or embeddings.

    Raises Forbidden for a model that the key does not allow, whether or not there is one of that name; InvalidRequest
    where a model must be named.
    """
    caller = caller_of(request.scope)
    if caller is None:
        return
    allowed = caller.key.models
    if allowed is not None and not caller.key.may_use(*_meant_by(model, allowed, service)):
        raise Forbidden(f"this key may not use this model; it may use {_listed(allowed)}", pointer="/model")
    caller.pay(cost - 1)


def _meant_by(model: str | None, allowed: Iterable[str], service: Service) -> tuple[str, str]:
    try:
        return service.meant_by(model)
    except UnknownModel:
        return "", ""
    except InvalidRequest:  # none is named and there is no default; the error itself would list all that there are
        raise InvalidRequest(f"set `model` to one of {_listed(allowed)}", pointer="/model") from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

"""The routes: read the body, call the service, write the answer. Errors are raised; the door answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from app.api import bodies, docs, errors, gate
from app.api.door import REQUEST_ID, STEPS
from app.api.responses import JsonResponse, comparison, embeddings, matched, notices
from app.api.schemas import Judging, Selecting
from app.core.errors import TwinserveError
from app.core.observe import Observer, Readiness
from app.service import Comparison, Recorder, Reference, Service
from app.service import Request as Recorded

Metrics = Callable[[], tuple[bytes, str]]


class Endpoints:
    """One method a route."""

    def __init__(
        self,
        service: Service,
        readiness: Callable[[], Readiness],
        observer: Observer,
        max_items: int,
        recorder: Recorder,
    ) -> None:
        self._service = service
        self._recorder = recorder
        self._readiness = readiness
        self._observer = observer
        self._max_items = max_items

    async def compare(self, request: Request) -> Response:
        """One pair; its items' errors are the request's."""
        judging, a, b = await bodies.read_compare(request, self._max_items)
        gate.check_pairs(request, judging, [(a, b)], self._service)
        [result] = await self._service.compare(
            judging.model, [(a, b)], judging.selectors, judging.prior, steps=request.scope[STEPS]
        )
        if isinstance(result, TwinserveError):
            raise result
        records = self._records(request, judging, {"": result})
        record = records.get("") if judging.include else None
        return JsonResponse(comparison(result, scores=gate.sees_scores(request), record=record))

    async def compare_batch(self, request: Request) -> Response:
        """Many pairs; an item's error is its pair's answer."""
        body = await bodies.read_pairs(request, self._max_items)
        pairs = [(pair.a, pair.b) for pair in body.pairs]
        gate.check_pairs(request, body, pairs, self._service)
        scores = gate.sees_scores(request)
        results = await self._service.compare(body.model, pairs, body.selectors, body.prior, steps=request.scope[STEPS])
        places = {f"/pairs/{index}": result for index, result in enumerate(results)}
        judged = {place: result for place, result in places.items() if not isinstance(result, TwinserveError)}
        records = self._records(request, body, judged)
        answers, noticed = [], []
        for place, result in places.items():
            if isinstance(result, TwinserveError):
                self._observer.refused(errors.code(result))
                answers.append({"error": errors.problem(errors.below(result, place), request.scope[REQUEST_ID])})
            else:
                record = records.get(place) if body.include else None
                answers.append(comparison(result, place, scores=scores, record=record))
                noticed += notices(result.notices, place)
        return JsonResponse({"results": answers, "notices": noticed})

    async def match(self, request: Request) -> Response:
        """One probe against a file of references; an item's error is the request's."""
        gate.need_scores(request)
        body = await bodies.read_match(request, self._max_items)
        gate.check(request, body.model, sum(len(one.items) for one in body.references), self._service)
        references = [Reference(one.id, one.items) for one in body.references]
        result = await self._service.match(
            body.model, body.probe, references, body.aggregation, body.selectors, steps=request.scope[STEPS]
        )
        records: list[dict[str, Any]] = []
        if body.include or self._recorder.keeps:
            records = self._recorder.matched(_recorded(request, body), result)
        return JsonResponse(matched(result, records if body.include else ()))

    async def embed(self, request: Request) -> Response:
        """Embeddings of all inputs, or the first bad input's error."""
        embedding, inputs = await bodies.read_inputs(request, self._max_items)
        gate.check(request, embedding.model, len(inputs), self._service)
        result = await self._service.embed(embedding.model, inputs, steps=request.scope[STEPS])
        return JsonResponse(embeddings(result, embedding.encoding_format))

    async def models(self, request: Request) -> Response:
        """All served models that the caller may use."""
        bodies.no_query(request)
        caller = gate.caller_of(request.scope)
        found = self._service.models()
        if caller is not None:
            found = [entry for entry in found if caller.key.may_use(entry["name"], entry["version"])]
        return JsonResponse({"models": [self._with_max_items(entry) for entry in found]})

    async def model(self, request: Request) -> Response:
        """One served model, by name or name@version."""
        bodies.no_query(request)
        name = request.path_params["name"]
        gate.check(request, name, 1, self._service)
        return JsonResponse(self._with_max_items(self._service.describe(name)))

    async def live(self, _: Request) -> Response:
        """The process answers."""
        return JsonResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """Whether requests can be answered, and each model's state."""
        readiness = self._readiness()
        models = {key: asdict(state) for key, state in readiness.models.items()}
        return JsonResponse({"ready": readiness.ready, "models": models}, status=200 if readiness.ready else 503)

    def _records(
        self, request: Request, judging: Judging, results: Mapping[str, Comparison]
    ) -> Mapping[str, dict[str, Any]]:
        """The records of pairs by pointer, where the caller wants them or all are kept; else none."""
        if not judging.include and not self._recorder.keeps:
            return {}
        return self._recorder.compared(_recorded(request, judging), results)

    def _with_max_items(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "limits": {**entry["limits"], "max_items": self._max_items}}


def _recorded(request: Request, selecting: Selecting) -> Recorded:
    route = request.scope["route"].path.removeprefix("/v1")
    return Recorded(request.scope[REQUEST_ID], route, selecting.selectors)


def make_routes(endpoints: Endpoints, metrics: Metrics | None, *, keys: bool, root_path: str = "") -> list[BaseRoute]:
    """Every route, once as it is and once under /v1, each with what it needs where `keys` are asked for.

    None is below `root_path`, which only their description names.
    """
    table: list[tuple[str, gate.Endpoint, str, gate.Need]] = [
        ("/compare", endpoints.compare, "POST", "compare"),
        ("/compare/batch", endpoints.compare_batch, "POST", "compare"),
        ("/match", endpoints.match, "POST", "compare"),
        ("/embed", endpoints.embed, "POST", "embed"),
        ("/models", endpoints.models, "GET", "key"),
        ("/models/{name}", endpoints.model, "GET", "key"),
        ("/health/live", endpoints.live, "GET", "nothing"),
        ("/health/ready", endpoints.ready, "GET", "nothing"),
        *((path, endpoint, "GET", "nothing") for path, endpoint in docs.endpoints(root_path).items()),
    ]
    if metrics is not None:
        table.append(("/metrics", _metrics_endpoint(metrics), "GET", "admin"))
    return [
        KnownRoute(prefix + path, gate.guard(endpoint, need) if keys else endpoint, methods=[method])
        for prefix in ("", "/v1")
        for path, endpoint, method, need in table
    ]


class KnownRoute(Route):
    """A route that the door finds in the scope; FastAPI's router leaves only routes of its own kind there."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it matches, and what the scope is to hold then."""
        match, inner = super().matches(scope)
        return match, {**inner, "route": self}


def _metrics_endpoint(metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        body, media_type = await asyncio.to_thread(metrics)  # reads every worker's file
        return Response(body, headers={"Content-Type": media_type})

    return endpoint

"""GET /models, /health and /metrics."""

from __future__ import annotations

import httpx
import pytest

from app.api import answers
from app.runtime.registry import Registry
from tests.serving import LIMITS, client_of, make_app, problem

pytestmark = pytest.mark.anyio


async def test_models_lists_every_bundle_with_its_evidence(client: httpx.AsyncClient) -> None:
    response = await client.get("/models")
    answers.Models.model_validate_json(response.content)
    by_name = {entry["name"]: entry for entry in response.json()["models"]}
    assert set(by_name) == {"tiny", "plain", "trial", "far"}
    tiny = by_name["tiny"]
    assert (tiny["item_form"], tiny["modality"]["name"], tiny["modality"]["params"]["width"]) == ("base64", "image", 8)
    assert (tiny["default_operating_point"], tiny["provider"]) == ("fmr_1e-3", "CPUExecutionProvider")
    assert {point["name"] for point in tiny["operating_points"]} == {"fmr_1e-1", "fmr_1e-2", "fmr_1e-3", "eer"}
    assert tiny["relation"] == {"match_means": "of the same pattern", "not": "of the same noise"}
    assert tiny["calibration"]["counts"]["units"] == 80
    assert tiny["limits"] == {
        "max_body_bytes": LIMITS.max_body_bytes,
        "max_items": 32,
        "max_pixels": LIMITS.max_pixels,
        "max_seconds": 600.0,
        "max_tokens": 8192,
    }
    plain = by_name["plain"]
    assert (plain["calibration"], plain["default_operating_point"], plain["operating_points"]) == (None, None, [])


async def test_one_model_by_name_or_by_name_and_version(client: httpx.AsyncClient) -> None:
    by_name, by_version = await client.get("/models/tiny"), await client.get("/v1/models/tiny@1.0.0")
    answers.Model.model_validate_json(by_name.content)
    assert by_name.json() == by_version.json()


async def test_live_ready_and_metrics(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"live": True}
    ready = await client.get("/health/ready")
    assert ready.json() == {"ready": True, "models": {"tiny@1.0.0": {"ready": True, "reason": None}}}
    metrics = await client.get("/metrics")
    assert metrics.text == "up 1\n"
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_head_is_answered_where_get_is(client: httpx.AsyncClient) -> None:
    assert (await client.head("/health/live")).status_code == 200


async def test_metrics_with_a_port_of_their_own_are_not_found_here(registry: Registry) -> None:
    async with client_of(make_app(registry, metrics=None)) as client:
        problem(await client.get("/metrics"), 404, "not_found")


async def test_demonstration_offers_no_operating_point_that_it_would_refuse(client: httpx.AsyncClient) -> None:
    entry = (await client.get("/models/trial")).json()
    assert entry["status"] == "demonstration"
    assert entry["calibration"] is not None
    assert entry["operating_points"] == []
    assert entry["default_operating_point"] is None

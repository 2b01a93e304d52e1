"""An impostor type of another population over HTTP: reported in every verdict, never a selector."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from app.api import answers
from app.core.bundle import seal
from app.core.evidence import PairScores, Units, add_external
from tests.serving import client_of, load, make_app, picture, problem
from tests.tiny import make_tiny

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service whose one bundle was also measured against imitations, elsewhere."""
    bundle = make_tiny()
    assert bundle.calibration is not None
    unit = np.repeat(np.arange(8), 30)
    score = np.random.default_rng(1).uniform(0.5, 1.0, len(unit)).astype(np.float32)
    calibration = add_external(
        bundle.calibration,
        Units(9),
        {"skilled": PairScores(score, unit, np.full_like(unit, 8))},
        {"skilled": "an imitation"},
        population="patterns of other people",
        seed=1,
    )
    draft = bundle.manifest.draft(version="1.0.1")
    registry = load(seal(draft, graph=bundle.graph, golden=bundle.golden, calibration=calibration))
    async with client_of(make_app(registry)) as client:
        yield client


async def test_a_verdict_reports_the_external_type_beside_its_own(client: httpx.AsyncClient) -> None:
    response = await client.post("/compare", json={"a": picture(0), "b": picture(0, 1)})
    assert response.status_code == 200, response.text
    answers.Comparison.model_validate_json(response.content)
    point = response.json()["operating_point"]
    assert point["impostor"]["type"] == "random"
    rates = point["fmr_by_impostor"]
    assert {name: rate["external"] for name, rate in rates.items()} == {"random": False, "skilled": True}
    assert rates["skilled"]["value"] > point["fmr"]["high"]


@pytest.mark.parametrize("selector", [{}, {"max_fmr": 0.1}, {"operating_point": "fmr_1e-1"}, {"threshold": 0.5}])
async def test_an_external_type_is_refused_as_a_selector(
    client: httpx.AsyncClient, selector: dict[str, float | str]
) -> None:
    body = {"a": picture(0), "b": picture(0, 1), "impostor": "skilled", **selector}
    told = problem(await client.post("/compare", json=body), 422, "operating_point_unavailable", "/impostor")
    assert "another population only; this model has random" in told["detail"]


async def test_models_names_the_population_of_an_external_type(client: httpx.AsyncClient) -> None:
    (model,) = (await client.get("/models")).json()["models"]
    types = {one["type"]: one for one in model["impostors"]}
    assert types["skilled"]["external"]
    assert types["skilled"]["population"] == "patterns of other people"
    assert {point["impostor"] for point in model["operating_points"]} == {"random"}

"""fp16 and int8 bundles behind a running service: their golden vectors replayed, their own evidence in each verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.core.bundle import read_bundle, write_bundle
from model_export.__main__ import main
from model_export.precisions import facts
from tests.model_export.pair_tables import write_pictures
from tests.serving import picture
from tests.supervisor.live import live_service
from tests.tiny import make_tiny, write_tiny

PRECISIONS = ("fp16", "int8")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny without evidence; tiny-int8 quantised from it; tiny-fp16 built by hand and calibrated."""
    folder = tmp_path_factory.mktemp("served")
    table = ["--pairs", str(write_pictures(folder / "table"))]
    whole = write_tiny(folder / "models", calibrated=False, status="demonstration")
    half = make_tiny(name="tiny-fp16", calibrated=False, status="demonstration", half=True)
    written = write_bundle(folder / "models", half, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "ROUND_SECONDS", 1e-4)
        assert main(["quantize", str(whole), "--precision", "int8", *table]) == 0
        assert main(["calibrate", str(written), *table]) == 0
    return folder / "models"


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[httpx.Client]:
    with live_service(models, workers=1, default_model="tiny") as service:
        service.wait_ready(1)  # each worker has replayed the golden vectors of all three
        with httpx.Client(base_url=service.url, timeout=60) as session:
            yield session


def test_each_precision_is_a_model_of_its_own(client: httpx.Client, models: Path) -> None:
    listed = {one["name"]: one for one in client.get("/models").json()["models"]}
    assert set(listed) == {"tiny", "tiny-fp16", "tiny-int8"}
    assert len({one["fingerprint"] for one in listed.values()}) == 3
    for precision in PRECISIONS:
        one = listed[f"tiny-{precision}"]
        assert one["status"] == "released"
        assert one["calibration"]["id"].startswith(f"tiny-{precision}-1.0.1-")
        assert read_bundle(models / one["name"] / one["version"]).manifest.graph.precision == precision
    assert client.get("/health/ready").json()["ready"] is True


@pytest.mark.parametrize("precision", PRECISIONS)
def test_compare_and_embed_answer_with_the_evidence_of_that_precision(client: httpx.Client, precision: str) -> None:
    name = f"tiny-{precision}"
    a, alike, other = picture(3000, 0), picture(3000, 1), picture(3001, 0)
    given = client.post("/embed", json={"model": name, "inputs": [a, alike]}).json()
    vectors = np.array(given["embeddings"], np.float64)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    match = client.post("/compare", json={"model": name, "a": a, "b": alike}).json()
    assert match["verdict"] == "match"
    assert match["score"] == pytest.approx(float(vectors[0] @ vectors[1]), abs=2e-2)
    assert match["operating_point"]["calibration"]["id"].startswith(f"{name}-1.0.1-")
    assert client.post("/compare", json={"model": name, "a": a, "b": other}).json()["verdict"] == "no_match"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_score_near_the_threshold_gets_no_verdict(client: httpx.Client, precision: str) -> None:
    """The guard band of a precision is at least 1e-3, where float32 has 1e-5."""
    asked = {"model": f"tiny-{precision}", "a": picture(3000, 0), "b": picture(3000, 1)}
    score = client.post("/compare", json=asked).json()["score"]
    near = client.post("/compare", json=asked | {"threshold": score - 5e-4}).json()
    assert near["verdict"] == "undetermined"
    assert "within_guard_band" in {reason["code"] for reason in near["reasons"]}


def test_an_embedding_of_one_precision_is_never_compared_by_another(client: httpx.Client) -> None:
    given = client.post("/embed", json={"model": "tiny", "inputs": [picture(3000)]}).json()
    item = {"embedding": given["embeddings"][0], "fingerprint": given["fingerprint"]}
    answer = client.post("/compare", json={"model": "tiny-int8", "a": item, "b": picture(3000)})
    assert (answer.status_code, answer.json()["code"]) == (409, "fingerprint_mismatch")

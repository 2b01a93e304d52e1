"""All bundles that ship, served at once as `make run` does: what each takes, says of itself and refuses."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.bundle import ModalityChoice, read_bundle, seal
from app.core.bundle.manifest import version_key
from app.core.modalities.base import Limits
from app.core.scoring import similarity_matrix
from app.runtime.encoder import Encoder
from model_export.drawings import probe_files
from model_export.probes.audio import probe_items as sounds
from model_export.probes.pictures import probe_photographs
from model_export.probes.series import beat
from tests.supervisor.live import LiveService, live_service

MODELS = Path("models")
FORMS = {
    "glyphs": "base64",
    "questions": "text",
    "digits": "base64",
    "heartbeat": "values",
    "heartbeat-gru": "values",
    "signatures": "base64",
    "groceries": "base64",
    "xray": "base64",
}
DEMONSTRATIONS = {"digits", "groceries", "xray"}
MAX_BYTES = 8_000_000
Item = dict[str, Any]


@pytest.fixture(scope="module")
def service() -> Iterator[LiveService]:
    with live_service(MODELS, workers=1, default_model="glyphs") as running:
        running.wait_ready(1)
        yield running


@pytest.fixture(scope="module")
def client(service: LiveService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as session:
        yield session


def encoded(data: bytes) -> Item:
    return {"base64": base64.b64encode(data).decode()}


def items(name: str) -> list[Item]:
    """Four items that the model takes."""
    if name in ("glyphs", "signatures"):
        return [encoded(data) for data in probe_files()[:4]]
    if name in ("groceries", "xray"):
        return [encoded(data) for data in probe_photographs()[:4]]
    if name == "digits":
        return [encoded(item["bytes"]) for item in sounds(0.2, 1.0)[:4]]
    if name == "questions":
        asked = ("how do I change my pin", "I want a new pin please", "book a flight to Oslo", "what is my balance")
        return [{"text": text} for text in asked]
    return [{"values": beat(seed, 4000, 1).tolist(), "rate": 500} for seed in range(4)]


def newest(name: str) -> Path:
    return max((MODELS / name).glob("*.*.*"), key=lambda folder: version_key(folder.name))


def test_every_shipped_bundle_is_served_and_says_what_it_takes(client: httpx.Client) -> None:
    listed = {one["name"]: one for one in client.get("/models").json()["models"]}
    assert {name: listed[name]["item_form"] for name in FORMS} == FORMS
    for name in FORMS:
        one = listed[name]
        assert one["golden_source"] == "training framework"
        assert one["licence"]["weights"]
        assert one["limits"]
        assert one["relation"]["match_means"]
        assert one["status"] == ("demonstration" if name in DEMONSTRATIONS else "released")
        assert bool([p for p in one["operating_points"] if p["default"]]) == (name not in DEMONSTRATIONS)
    assert listed["digits"]["limits"]["max_seconds"] == 2
    assert listed["heartbeat"]["limits"]["max_seconds"] == 120
    assert "SA" in listed["digits"]["licence"]["weights"]


@pytest.mark.parametrize("name", FORMS)
def test_every_shipped_bundle_is_whole_and_small(name: str) -> None:
    folder = newest(name)
    assert read_bundle(folder).manifest.name == name
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= MAX_BYTES
    assert (folder / "MODEL_CARD.md").is_file()
    assert (folder / "report" / "report.html").is_file()


@pytest.mark.parametrize("name", FORMS)
def test_compare_and_embed_agree_for_every_form(client: httpx.Client, name: str) -> None:
    a, b, *_ = items(name)
    raw = client.post("/compare", json={"model": name, "a": a, "b": b}).json()
    given = client.post("/embed", json={"model": name, "inputs": [a, b]}).json()
    vectors = np.array(given["embeddings"], np.float64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert raw["score"] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    mixed = {"embedding": given["embeddings"][0], "fingerprint": given["fingerprint"]}
    for one, other in ((mixed, b), (b, mixed)):
        answer = client.post("/compare", json={"model": name, "a": one, "b": other})
        assert answer.status_code == 200, answer.text
        assert answer.json()["score"] == pytest.approx(raw["score"], abs=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_an_item_of_another_form_is_refused_with_the_form_it_takes(client: httpx.Client, name: str) -> None:
    for other, form in (("questions", "text"), ("heartbeat", "values"), ("glyphs", "base64")):
        if form == FORMS[name]:
            continue
        answer = client.post("/compare", json={"model": name, "a": items(name)[0], "b": items(other)[0]})
        assert answer.status_code == 422
        problem = answer.json()
        assert problem["code"] == "invalid_request"
        assert problem["pointer"] == "/b"
        assert FORMS[name] in problem["detail"]


def test_an_embedding_of_another_model_is_never_compared(client: httpx.Client) -> None:
    given = client.post("/embed", json={"model": "heartbeat", "inputs": items("heartbeat")[:1]}).json()
    other = {"embedding": given["embeddings"][0], "fingerprint": given["fingerprint"]}
    answer = client.post("/compare", json={"model": "heartbeat-gru", "a": items("heartbeat")[0], "b": other})
    assert answer.status_code == 409


@pytest.mark.parametrize("name", sorted(DEMONSTRATIONS))
def test_a_demonstration_decides_only_at_the_callers_threshold(client: httpx.Client, name: str) -> None:
    a, b, *_ = items(name)
    undecided = client.post("/compare", json={"model": name, "a": a, "b": b}).json()
    assert undecided["verdict"] == "undetermined"
    assert "insufficient_evidence" in [reason["code"] for reason in undecided["reasons"]]
    assert undecided["operating_point"] is None
    answer = client.post("/compare", json={"model": name, "a": a, "b": b, "threshold": -0.99}).json()
    assert answer["operating_point"]["source"] == "caller"
    outside = "outside_calibration" in [reason["code"] for reason in answer["reasons"]]
    assert answer["verdict"] == ("undetermined" if outside else "match")


def test_signatures_tell_what_skilled_forgeries_of_another_population_do(client: httpx.Client) -> None:
    a, b, *_ = items("signatures")
    point = client.post("/compare", json={"model": "signatures", "a": a, "b": b}).json()["operating_point"]
    rates = point["fmr_by_impostor"]
    assert {name: rate["external"] for name, rate in rates.items()} == {
        "random": False,
        "hard": False,
        "skilled": True,
        "random_dutch": True,
    }
    assert point["impostor"]["type"] == "hard"
    refused = client.post("/compare", json={"model": "signatures", "a": a, "b": b, "impostor": "skilled"})
    assert refused.status_code == 422
    assert refused.json()["code"] == "operating_point_unavailable"
    card = (newest("signatures") / "MODEL_CARD.md").read_text("utf-8")
    (accepted,) = (line for line in card.splitlines() if line.startswith("| 1 | FMR 0.01 against random_dutch"))
    assert "[" in accepted
    assert "| 4, mean score |" in card


@pytest.mark.parametrize("name", ["questions", "heartbeat", "heartbeat-gru", "digits"])
def test_neighbours_of_other_lengths_change_no_score(client: httpx.Client, name: str) -> None:
    """The ladder pads a batch's items to its buckets; what stands beside an item must not count."""
    four = items(name)
    if name == "questions":
        four += [{"text": "please " * 40 + "tell me where my parcel is"}, {"text": "card"}]
    elif name.startswith("heartbeat"):
        four += [{"values": beat(7, 1001, 1).tolist()}, {"values": beat(8, 9999, 1).tolist()}]
    pairs = [{"a": four[i], "b": four[j]} for i in range(len(four)) for j in range(i)]
    together = client.post("/compare/batch", json={"model": name, "pairs": pairs, "threshold": 0.5}).json()["results"]
    band = read_bundle(newest(name)).calibration
    assert band is not None
    for pair, one in zip(pairs, together, strict=True):
        alone = client.post("/compare", json={"model": name, **pair, "threshold": 0.5}).json()
        assert abs(alone["score"] - one["score"]) <= band.guard_band / 2
        assert alone["verdict"] == one["verdict"]


LONGEST = {"questions": ("lengths", [128]), "digits": ("ladder_seconds", [2.0])} | dict.fromkeys(
    ("heartbeat", "heartbeat-gru"), ("ladder", [2500])
)


@pytest.mark.parametrize("name", LONGEST)
def test_padding_to_the_longest_bucket_changes_no_verdict(name: str) -> None:
    """The same bundle with one bucket only, so that every item is padded as far as it can be."""
    bundle = read_bundle(newest(name))
    manifest, calibration = bundle.manifest, bundle.calibration
    assert calibration is not None
    field, only = LONGEST[name]
    assert len(manifest.modality.params[field]) > 1
    params = manifest.modality.params | {field: only}
    draft = manifest.draft(modality=ModalityChoice(name=manifest.modality.name, params=params))
    far = seal(draft, graph=bundle.graph, golden=bundle.golden, assets=bundle.assets)
    short = [item for item in bundle.golden.items if not item.get("truncate")]
    near_rows, far_rows = (Encoder(one, device="cpu", threads=1).embed(short, Limits()) for one in (bundle, far))
    near, padded = (similarity_matrix(rows, rows, "cosine") for rows in (near_rows, far_rows))
    # Twice the greatest difference stays inside the guard band, in which no verdict is given: none can turn.
    assert 2 * float(np.abs(near - padded).max()) < calibration.guard_band
    for point in calibration.operating_points:
        decided = np.abs(near - point.threshold) >= calibration.guard_band
        assert ((near >= point.threshold) == (padded >= point.threshold))[decided].all()


def test_a_bad_item_leaves_its_neighbours_unharmed(client: httpx.Client) -> None:
    good, other, *_ = items("heartbeat")
    ragged = {"values": [[0.1], [0.2, 0.3]] * 1000}
    gap = {"values": [[None]] * 2000}
    pairs = [{"a": good, "b": other}, {"a": good, "b": ragged}, {"a": gap, "b": good}, {"a": other, "b": good}]
    results = client.post("/compare/batch", json={"model": "heartbeat", "pairs": pairs}).json()["results"]
    assert results[0]["score"] == pytest.approx(results[3]["score"], abs=1e-6)
    assert results[1]["error"]["code"] == "invalid_request"
    assert results[1]["error"]["pointer"] == "/pairs/1/b"
    assert results[2]["error"]["code"] == "unusable_input"
    assert results[2]["error"]["pointer"] == "/pairs/2/a"


def test_long_items_are_windowed_and_say_so(client: httpx.Client) -> None:
    long_text = client.post(
        "/embed", json={"model": "questions", "inputs": [{"text": "where is my new bank card today " * 40}]}
    ).json()
    assert "windowed" in {notice["code"] for notice in long_text["notices"]}
    cut = {"text": "where is my new bank card today " * 40, "truncate": True}
    notices = client.post("/embed", json={"model": "questions", "inputs": [cut]}).json()["notices"]
    codes = {notice["code"] for notice in notices}
    assert "truncated" in codes
    assert "windowed" not in codes
    slower = {"values": beat(1, 3600, 1).tolist(), "rate": 360}
    codes = {
        one["code"] for one in client.post("/embed", json={"model": "heartbeat", "inputs": [slower]}).json()["notices"]
    }
    assert codes >= {"resampled", "windowed"}


@pytest.mark.parametrize("name", FORMS)
def test_a_shipped_bundle_is_small_and_holds_no_code(name: str) -> None:
    folder = newest(name)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".onnx", ".npz", ".md", ".html", ".png"}
    assert sum(path.stat().st_size for path in files) < 8 * 1024 * 1024


def test_readme_states_the_figures_that_the_bundles_hold() -> None:
    readme = Path("README.md").read_text("utf-8")
    for name in FORMS:
        calibration = read_bundle(newest(name)).calibration
        assert calibration is not None
        (row,) = (line for line in readme.splitlines() if line.startswith(f"| [`{name}`]"))
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[6].startswith(f"{calibration.counts.units} ")
        if not calibration.supported:
            assert cells[4:6] == ["none claimed", "none claimed"]
            continue
        default = (calibration.default_impostor, calibration.defaults[calibration.default_impostor])
        (point,) = (p for p in calibration.operating_points if (p.impostor, p.name) == default)
        assert point.fnmr is not None
        assert cells[4] == f"{point.fmr.value:.3f} ({math.ceil(point.fmr.high * 1000) / 1000:.3f})"
        assert cells[5] == f"{point.fnmr.value:.3f}"

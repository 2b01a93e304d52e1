"""POST /match over a real port: which reference a probe matches, at which rates, and what the whole file claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from app.api import answers
from app.core.evidence import fmr_at, lowest_threshold
from tests.serving import Recorder, load, make_app, picture, problem, serve
from tests.tiny import make_tiny, tiny_png
from tests.tiny_references import evidence, with_references

RECORDER = Recorder()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """tiny (evidence for 1 and 3 references), plain (none), trial (a demonstration) and far (Euclidean, for 1 only)."""
    registry = load(
        with_references(),
        make_tiny(name="plain", calibrated=False),
        make_tiny(name="trial", status="demonstration"),
        make_tiny(name="far", metric="euclidean"),
        default="tiny",
    )
    app = make_app(registry, observer=RECORDER, max_items=110)
    with serve(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as session:
        yield session


def reference(identity: int, *variants: int) -> dict[str, Any]:
    """The pictures of a tiny identity on file, under its number."""
    return {"id": str(identity), "items": [picture(identity, variant) for variant in variants or (0,)]}


def match(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/match", json=body)
    assert response.status_code == 200, response.text
    answers.Matched.model_validate_json(response.content)
    result: dict[str, Any] = response.json()
    return result


def score(client: httpx.Client, a: dict[str, str], b: dict[str, str]) -> np.float32:
    return np.float32(client.post("/compare", json={"a": a, "b": b}).json()["score"])


def codes(part: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in part["reasons"]]


FILE = [reference(identity) for identity in range(8)]


def test_the_probes_own_reference_is_the_best_and_every_other_is_there_below_it(client: httpx.Client) -> None:
    result = match(client, probe=picture(5, 1), references=FILE)
    assert (result["verdict"], result["best"], result["reasons"]) == ("match", "5", [])
    assert result["references"][0]["id"] == "5"
    assert sorted(one["id"] for one in result["references"]) == [one["id"] for one in FILE]
    scores = [one["score"] for one in result["references"]]
    assert scores == sorted(scores, reverse=True)
    assert [one["verdict"] for one in result["references"]] == ["match"] + ["no_match"] * 7
    assert result["references"][0]["score"] == score(client, picture(5, 1), picture(5, 0))
    assert (result["model"], result["version"], result["aggregation"]) == ("tiny", "1.0.0", "max")


def test_a_probe_of_none_of_them_matches_none_and_still_has_every_score(client: httpx.Client) -> None:
    result = match(client, probe=picture(60, 1), references=FILE)
    assert (result["verdict"], result["best"]) == ("no_match", None)
    assert {one["verdict"] for one in result["references"]} == {"no_match"}
    assert len(result["references"]) == len(FILE)


def test_v1_serves_the_same(client: httpx.Client) -> None:
    body = {"probe": picture(5, 1), "references": FILE}
    assert client.post("/v1/match", json=body).json() == match(client, **body)


def test_max_fmr_bounds_the_family_and_each_comparison_is_held_to_its_share(client: httpx.Client) -> None:
    curve = evidence().fmr_curve("random")
    assert curve is not None
    result = match(client, probe=picture(5, 1), references=FILE, max_fmr=0.04)
    threshold = lowest_threshold(curve, 0.04 / 8)
    assert threshold is not None
    rate = fmr_at(curve, threshold)
    for one in result["references"]:
        point = one["operating_point"]
        assert (point["source"], np.float32(point["threshold"])) == ("max_fmr", np.float32(threshold))
        assert point["fmr"]["high"] == rate.high <= 0.04 / 8
    assert result["family"]["references"] == 8
    assert result["family"]["max_fmr_each"] == 0.04 / 8
    assert result["family"]["fmr"]["value"] == pytest.approx(8 * rate.value, rel=1e-5)
    assert result["family"]["fmr"]["high"] == pytest.approx(8 * rate.high, rel=1e-5)
    assert result["family"]["fmr"]["high"] <= 0.04
    alone = match(client, probe=picture(5, 1), references=FILE[5:6], max_fmr=0.04)
    assert alone["references"][0]["operating_point"]["threshold"] < np.float32(threshold)
    pair = client.post("/compare", json={"a": picture(5, 1), "b": picture(5, 0), "max_fmr": 0.04}).json()
    assert alone["references"][0]["operating_point"] == pair["operating_point"]


def test_what_a_family_cannot_claim_is_refused_with_a_bound_that_it_can(client: httpx.Client) -> None:
    body = {"probe": picture(5, 1), "references": FILE, "max_fmr": 1e-4}
    detail = problem(client.post("/match", json=body), 422, "operating_point_unavailable", "/max_fmr")["detail"]
    assert "and 8 references" in detail
    lowest = float(detail.split("below ")[1].split(" ")[0])
    assert match(client, **body | {"max_fmr": lowest})["family"]["fmr"]["high"] <= lowest


def test_a_named_points_rates_add_up_over_the_references_to_one_at_most(client: httpx.Client) -> None:
    (strict,) = (p for p in evidence().operating_points if p.name == "fmr_1e-3")
    (lax,) = (p for p in evidence().operating_points if p.name == "fmr_1e-1")
    file = [reference(identity) for identity in range(20)]
    few = match(client, probe=picture(5, 1), references=file[:7], operating_point="fmr_1e-3")["family"]
    assert few["fmr"] == {
        "value": pytest.approx(7 * strict.fmr.value, rel=1e-5),
        "high": pytest.approx(7 * strict.fmr.high, rel=1e-5),
    }
    assert few["max_fmr_each"] is None
    assert 20 * lax.fmr.high > 1
    many = match(client, probe=picture(5, 1), references=file, operating_point="fmr_1e-1")["family"]
    assert many["fmr"]["high"] == 1.0


def test_several_items_count_by_their_highest_or_their_mean_score(client: httpx.Client) -> None:
    probe, file = picture(5, 4), [reference(5, 0, 1, 2), reference(6, 0, 1, 2)]
    for identity in (5, 6):
        single = [score(client, probe, picture(identity, variant)) for variant in range(3)]
        wanted = {"max": max(single), "mean": np.float32(np.mean(np.array(single, np.float64)))}
        for how, expected in wanted.items():
            result = match(client, probe=probe, references=file, aggregation=how)
            (found,) = (one for one in result["references"] if one["id"] == str(identity))
            assert (np.float32(found["score"]), found["items"]) == (expected, 3)
            assert result["best"] == "5"


def test_each_reference_is_judged_at_the_rates_of_as_many_items_as_it_has(client: httpx.Client) -> None:
    file = [reference(5, 0, 1, 2), reference(6, 0), reference(7, 0)]
    for how in ("max", "mean"):
        result = match(client, probe=picture(5, 4), references=file, aggregation=how, max_fmr=0.06)
        thresholds, highs = {}, []
        for one in result["references"]:
            curve = evidence().fmr_curve("random", one["items"], "single" if one["items"] == 1 else how)
            assert curve is not None
            threshold = lowest_threshold(curve, 0.02)
            assert threshold is not None
            point = one["operating_point"]
            assert np.float32(point["threshold"]) == np.float32(threshold)
            assert point["fmr"] == fmr_at(curve, threshold).model_dump()
            thresholds[one["items"]] = threshold
            highs.append(point["fmr"]["high"])
        # the highest of three impostor scores is higher than one, the mean of three is closer to the middle
        assert (thresholds[3] > thresholds[1]) == (how == "max")
        assert result["family"]["fmr"]["high"] == pytest.approx(sum(highs), rel=1e-5)
        assert (result["verdict"], result["best"]) == ("match", "5")
        assert result["references"][0]["log_likelihood_ratio"] is None


def test_named_and_default_points_exist_for_as_many_items_as_were_measured(client: httpx.Client) -> None:
    body = {"probe": picture(5, 4), "references": [reference(5, 0, 1, 2), reference(6, 0, 1, 2)]}
    default, named, shared = (
        match(client, **body, **selector)["references"][0]["operating_point"]
        for selector in ({}, {"operating_point": "fmr_1e-2"}, {"max_fmr": 0.02})
    )
    assert (default["source"], default["name"]) == ("default", "fmr_1e-3")
    assert named["name"] == "fmr_1e-2"
    assert named["fmr"]["high"] <= 1e-2
    assert named["threshold"] == shared["threshold"] < default["threshold"]


def test_a_number_of_items_that_was_not_measured_claims_nothing(client: httpx.Client) -> None:
    body = {"probe": picture(5, 4), "references": [reference(6, 0), reference(5, 0, 1)]}
    result = match(client, **body)
    assert (result["verdict"], result["best"]) == ("undetermined", None)
    two, one = result["references"]
    assert (two["id"], two["verdict"], two["operating_point"], two["fmr_at_score"]) == ("5", "undetermined", None, None)
    assert codes(two) == codes(result) == ["uncalibrated"]
    assert "2 items of a reference, aggregation max; send 1, 3 each" in two["reasons"][0]["detail"]
    assert (one["verdict"], one["operating_point"]["source"]) == ("no_match", "default")
    for selector in ({"max_fmr": 0.5}, {"operating_point": "fmr_1e-1"}):
        response = client.post("/match", json={**body, **selector})
        problem(response, 422, "operating_point_unavailable", "/references/1/items")
    own = match(client, **body, threshold=0.5)
    assert (own["verdict"], own["best"], codes(own)) == ("match", "5", ["uncalibrated"])
    assert own["references"][0]["operating_point"]["fmr"] is None
    assert own["references"][1]["operating_point"]["fmr"] is not None
    assert own["family"]["fmr"] is None


@pytest.mark.parametrize(("model", "code"), [("plain", "uncalibrated"), ("trial", "insufficient_evidence")])
def test_a_model_without_claims_decides_only_at_the_callers_threshold(
    client: httpx.Client, model: str, code: str
) -> None:
    body = {"model": model, "probe": picture(5, 1), "references": FILE}
    result = match(client, **body)
    assert (result["verdict"], result["best"], codes(result)) == ("undetermined", None, [code])
    assert result["references"][0]["id"] == "5"
    assert result["family"]["fmr"] is None
    for selector in ("max_fmr", "operating_point"):
        asked = {**body, selector: 0.5 if selector == "max_fmr" else "fmr_1e-1"}
        problem(client.post("/match", json=asked), 422, "operating_point_unavailable", f"/{selector}")
    own = match(client, **body, threshold=0.5)
    assert (own["verdict"], own["best"], codes(own)) == ("match", "5", [code])


def test_models_say_for_how_many_items_there_are_rates(client: httpx.Client) -> None:
    told = {one["name"]: one["calibration"] for one in client.get("/models").json()["models"]}
    assert told["tiny"]["references"] == {"max": [1, 3], "mean": [1, 3]}
    assert told["far"]["references"] == {"max": [1], "mean": [1]}


def test_two_that_match_alike_are_a_tie_and_neither_is_the_best(client: httpx.Client) -> None:
    twin = {"id": "twin", "items": [picture(5, 0)]}
    result = match(client, probe=picture(5, 1), references=[*FILE, twin])
    assert (result["verdict"], result["best"], codes(result)) == ("undetermined", None, ["tie"])
    assert [(one["id"], one["verdict"]) for one in result["references"][:2]] == [("5", "match"), ("twin", "match")]
    assert result["references"][0]["score"] == result["references"][1]["score"]
    stranger = match(client, probe=picture(60, 1), references=[*FILE, twin])
    assert stranger["verdict"] == "no_match"  # there is no first place to share


def test_embeddings_stand_for_items_in_any_place(client: httpx.Client) -> None:
    body = {"probe": picture(5, 4), "references": [reference(5, 0, 1, 2), reference(6, 0)]}
    given = client.post("/embed", json={"inputs": [picture(5, 4), picture(5, 1), picture(6, 0)]}).json()
    probe, middle, other = ({"embedding": row, "fingerprint": given["fingerprint"]} for row in given["embeddings"])
    mixed = {
        "probe": probe,
        "references": [
            {"id": "5", "items": [picture(5, 0), middle, picture(5, 2)]},
            {"id": "6", "items": [other]},
        ],
    }
    assert match(client, **mixed) == match(client, **body)
    foreign = {**mixed, "model": "far"}
    problem(client.post("/match", json=foreign), 409, "fingerprint_mismatch", "/probe")


def test_a_score_within_the_guard_band_is_undetermined_and_so_is_its_file(client: httpx.Client) -> None:
    exact = match(client, probe=picture(5, 1), references=FILE)["references"][0]["score"]
    result = match(client, probe=picture(5, 1), references=FILE, threshold=exact)
    assert (result["verdict"], result["best"], codes(result)) == ("undetermined", None, ["within_guard_band"])
    assert {one["verdict"] for one in result["references"][1:]} == {"no_match"}


def test_identical_items_are_said_beside_the_verdict(client: httpx.Client) -> None:
    result = match(client, probe=picture(5, 0), references=FILE)
    assert (result["verdict"], result["references"][0]["score"], codes(result)) == ("match", 1.0, ["identical_items"])
    assert result["references"][1]["reasons"] == []
    twice = match(client, probe=picture(5, 4), references=[reference(5, 0, 0, 1)])
    assert codes(twice["references"][0]) == ["identical_items"]


def test_euclidean_scores_are_negative_distances(client: httpx.Client) -> None:
    result = match(client, model="far", probe=picture(5, 1), references=FILE)
    assert result["best"] == "5"
    assert all(one["score"] < 0 for one in result["references"])


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"probe": {"base64": "AAAA"}}, "/probe"),
        (
            {"references": [reference(1), {"id": "bad", "items": [picture(2), {"base64": "AAAA"}]}]},
            "/references/1/items/1",
        ),
    ],
)
def test_a_bad_item_fails_the_file_and_is_pointed_at(
    client: httpx.Client, change: dict[str, Any], pointer: str
) -> None:
    body = {"probe": picture(5, 1), "references": FILE, "threshold": 0.5} | change
    problem(client.post("/match", json=body), 422, "unusable_input", pointer)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"references": [reference(1), reference(2), reference(1)]}, "/references/2/id"),
        ({"references": []}, "/references"),
        ({"references": [{"id": "1", "items": []}]}, "/references/0/items"),
        ({"references": [{"id": "", "items": [picture(1)]}]}, "/references/0/id"),
        ({"references": [{"id": 1, "items": [picture(1)]}]}, "/references/0/id"),
        ({"references": [{"id": "1", "items": [picture(1)], "weight": 2}]}, "/references/0/weight"),
        ({"references": [{"id": "1", "items": [{"text": "none"}]}]}, "/references/0/items/0"),
        ({"aggregation": "median"}, "/aggregation"),
        ({"aggregation": "single"}, "/aggregation"),
        ({"max_fnmr": 0.1}, "/max_fnmr"),
        ({"max_fmr": 1.1}, "/max_fmr"),
        ({"max_fmr": 0.1, "threshold": 0.5}, "/threshold"),
    ],
)
def test_a_request_that_cannot_be_meant_is_invalid(client: httpx.Client, change: dict[str, Any], pointer: str) -> None:
    body = {"probe": picture(5, 1), "references": FILE} | change
    problem(client.post("/match", json=body), 422, "invalid_request", pointer)


def test_an_impostor_type_that_was_not_measured_is_refused(client: httpx.Client) -> None:
    body = {"probe": picture(5, 1), "references": FILE, "impostor": "forged"}
    problem(client.post("/match", json=body), 422, "operating_point_unavailable", "/impostor")


def test_a_hundred_references_are_taken_and_not_one_more(client: httpx.Client) -> None:
    file = [{"id": str(number), "items": [picture(number % 9)]} for number in range(101)]
    result = match(client, probe=picture(60, 1), references=file[:100])
    assert len(result["references"]) == result["family"]["references"] == 100
    problem(client.post("/match", json={"probe": picture(60, 1), "references": file}), 413, "too_large", "/references")


def test_items_of_all_references_count_for_the_limit(client: httpx.Client) -> None:
    file = [{"id": str(number), "items": [picture(1)] * 22} for number in range(5)]  # 110 and the probe
    problem(client.post("/match", json={"probe": picture(2), "references": file}), 413, "too_large", "/references")


def test_match_is_json_only(client: httpx.Client) -> None:
    files = {"probe": ("a.png", tiny_png(0, 0), "image/png")}
    problem(client.post("/match", files=files), 415, "unsupported_media_type")
    body = {"probe": picture(5, 1), "references": FILE}
    problem(client.post("/match", params={"max_fmr": "0.1"}, json=body), 422, "invalid_request")


def test_every_comparison_is_counted_at_its_operating_point(client: httpx.Client) -> None:
    before = len(RECORDER.verdicts)
    match(client, probe=picture(5, 1), references=FILE, operating_point="fmr_1e-2")
    counted = RECORDER.verdicts[before:]
    assert sorted(counted) == [("tiny@1.0.0", "fmr_1e-2", "match")] + [("tiny@1.0.0", "fmr_1e-2", "no_match")] * 7

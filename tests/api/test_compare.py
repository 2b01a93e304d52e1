"""POST /compare and /compare/batch: what a verdict holds, whatever way its items came."""

from __future__ import annotations

import re
from typing import Any

import httpx
import numpy as np
import pytest

from app.api import answers
from tests.serving import check_problem, picture, problem
from tests.tiny import tiny_png

pytestmark = pytest.mark.anyio

MEMBERS = set(answers.Comparison.model_fields) - {"record"}  # that is for those who ask


async def compare(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    response = await client.post("/compare", json=body)
    assert response.status_code == 200, response.text
    answers.Comparison.model_validate_json(response.content)
    result: dict[str, Any] = response.json()
    return result


async def test_genuine_pair_matches_and_impostors_do_not(client: httpx.AsyncClient) -> None:
    genuine = await compare(client, a=picture(0, 0), b=picture(0, 1))
    impostor = await compare(client, a=picture(0, 0), b=picture(5, 0))
    assert (genuine["verdict"], impostor["verdict"]) == ("match", "no_match")
    assert genuine["score"] > impostor["score"]
    assert genuine["distance"] < impostor["distance"]
    point = genuine["operating_point"]
    assert (point["name"], point["source"]) == ("fmr_1e-3", "default")
    assert 0 <= point["fmr"]["low"] <= point["fmr"]["value"] <= point["fmr"]["high"] <= 1e-3
    assert point["calibration"]["identities"] == 80
    assert genuine["posterior"] is None


@pytest.mark.parametrize("model", ["tiny", "plain", "trial", "far"])
async def test_every_member_is_always_there(client: httpx.AsyncClient, model: str) -> None:
    for extra in ({}, {"threshold": 0.5}, {"prior": 0.1}):
        assert set(await compare(client, model=model, a=picture(0, 0), b=picture(0, 1), **extra)) == MEMBERS


async def test_comparison_is_symmetric_bit_for_bit(client: httpx.AsyncClient) -> None:
    forth = await compare(client, a=picture(0, 0), b=picture(1, 0))
    back = await compare(client, a=picture(1, 0), b=picture(0, 0))
    assert forth == back


async def test_item_with_itself_scores_one_and_says_so(client: httpx.AsyncClient) -> None:
    result = await compare(client, a=picture(3), b=picture(3))
    assert (result["score"], result["distance"], result["verdict"]) == (1.0, 0.0, "match")
    assert [(reason["code"], reason["side"]) for reason in result["reasons"]] == [("identical_items", None)]


async def test_multipart_raw_and_json_parts_give_the_same_answer(client: httpx.AsyncClient) -> None:
    expected = await compare(client, a=picture(0, 0), b=picture(0, 1), max_fmr=0.01, prior=0.5)
    one, other = tiny_png(0, 0), tiny_png(0, 1)
    cases: tuple[dict[str, Any], ...] = (
        {"a": ("a.png", one, "image/png"), "b": ("b.png", other, "image/png")},
        {"a": ("a", one, "application/octet-stream"), "b": ("b.jpg", other, "image/jpeg")},  # content decides
        {"a": (None, httpx.Response(200, json=picture(0, 0)).content, "application/json"), "b": ("b", other)},
    )
    for files in cases:
        response = await client.post("/compare", files=files, params={"max_fmr": "1e-2", "prior": "0.5"})
        assert response.json() == expected, response.text


async def test_identical_bytes_are_identical_items_in_any_wrapping(client: httpx.AsyncClient) -> None:
    part = httpx.Response(200, json=picture(3)).content
    files = {"a": ("a.png", tiny_png(3, 0), "image/png"), "b": (None, part, "application/json")}
    response = await client.post("/compare", files=files)
    assert response.json()["reasons"][0]["code"] == "identical_items"


async def test_v1_serves_the_same(client: httpx.AsyncClient) -> None:
    body = {"a": picture(0, 0), "b": picture(0, 1)}
    assert (await client.post("/v1/compare", json=body)).json() == (await client.post("/compare", json=body)).json()


async def test_embedding_handed_back_scores_as_its_item(client: httpx.AsyncClient) -> None:
    expected = await compare(client, a=picture(0, 0), b=picture(1, 0))
    for encoding in ("float", "base64"):
        body = {"inputs": [picture(1, 0)], "encoding_format": encoding}
        given = (await client.post("/embed", json=body)).json()
        item = {"embedding": given["embeddings"][0], "fingerprint": given["fingerprint"]}
        assert await compare(client, a=picture(0, 0), b=item) == expected


async def test_score_is_printed_as_the_shortest_float32(client: httpx.AsyncClient) -> None:
    text = (await client.post("/compare", json={"a": picture(0, 0), "b": picture(1, 0), "threshold": 0.1})).text
    for member in ("score", "distance", "threshold"):
        found = re.search(f'"{member}":(-?[0-9.e-]+)', text)
        assert found is not None
        assert found[1] == str(np.float32(found[1])), text  # numpy prints the shortest form that reads back the same
    assert '"threshold":0.1,' in text


async def test_threshold_equal_to_the_score_is_within_the_guard_band(client: httpx.AsyncClient) -> None:
    score = (await compare(client, a=picture(0, 0), b=picture(0, 1)))["score"]
    result = await compare(client, a=picture(0, 0), b=picture(0, 1), threshold=score)
    assert (result["verdict"], result["reasons"][0]["code"]) == ("undetermined", "within_guard_band")
    assert result["operating_point"]["source"] == "caller"


async def test_prior_adds_a_posterior(client: httpx.AsyncClient) -> None:
    result = await compare(client, a=picture(0, 0), b=picture(0, 1), prior=0.5)
    posterior = result["posterior"]
    assert 0.5 < posterior["low"] <= posterior["value"] <= posterior["high"] <= 1


async def test_uncalibrated_model_gives_no_verdict_but_at_a_threshold_of_the_caller(client: httpx.AsyncClient) -> None:
    pair = {"model": "plain", "a": picture(0, 0), "b": picture(0, 1)}
    without = await compare(client, **pair)
    assert (without["verdict"], without["operating_point"]) == ("undetermined", None)
    assert [reason["code"] for reason in without["reasons"]] == ["uncalibrated"]
    with_threshold = await compare(client, **pair, threshold=0.5)
    assert with_threshold["verdict"] == "match"
    assert with_threshold["operating_point"]["fmr"] is None
    problem(
        await client.post("/compare", json={**pair, "max_fmr": 0.1}), 422, "operating_point_unavailable", "/max_fmr"
    )


async def test_demonstration_says_that_its_evidence_is_insufficient(client: httpx.AsyncClient) -> None:
    result = await compare(client, model="trial", a=picture(0, 0), b=picture(0, 1))
    assert (result["verdict"], result["operating_point"]) == ("undetermined", None)
    assert result["log_likelihood_ratio"] is not None
    assert [reason["code"] for reason in result["reasons"]] == ["insufficient_evidence"]


async def test_euclidean_score_is_the_negative_distance(client: httpx.AsyncClient) -> None:
    result = await compare(client, model="far@1.0.0", a=picture(0, 0), b=picture(1, 0))
    assert result["score"] == -result["distance"] < 0


async def test_batch_answers_in_order_as_single_compares_would(client: httpx.AsyncClient) -> None:
    pairs = [(picture(0, 0), picture(0, 1)), (picture(0, 0), picture(1, 0)), (picture(2), picture(2))]
    response = await client.post(
        "/compare/batch", json={"pairs": [{"a": a, "b": b} for a, b in pairs], "max_fmr": 0.01}
    )
    assert response.status_code == 200
    answers.Comparisons.model_validate_json(response.content)
    body = response.json()
    assert body["results"] == [await compare(client, a=a, b=b, max_fmr=0.01) for a, b in pairs]
    assert body["notices"] == []


async def test_bad_item_is_the_error_of_every_pair_that_has_it_and_of_no_other(client: httpx.AsyncClient) -> None:
    bad, good = {"base64": "AAAA"}, {"a": picture(0, 0), "b": picture(0, 1)}
    pairs = [good, {"a": bad, "b": picture(1)}, {"a": picture(2), "b": bad}, good]
    response = await client.post("/compare/batch", json={"pairs": pairs})
    assert response.status_code == 200
    answers.Comparisons.model_validate_json(response.content)
    first, second, third, last = response.json()["results"]
    assert first == last == await compare(client, **good)
    for result, pointer in ((second, "/pairs/1/a"), (third, "/pairs/2/b")):
        assert set(result) == {"error"}
        check_problem(result["error"], 422, "unusable_input", pointer)
        assert result["error"]["request_id"] == response.headers["x-request-id"]


async def test_batch_is_json_only(client: httpx.AsyncClient) -> None:
    files = {"a": ("a.png", tiny_png(0, 0), "image/png")}
    problem(await client.post("/compare/batch", files=files), 415, "unsupported_media_type")

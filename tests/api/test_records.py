"""Whoever asks gets the record of a verdict; where all are kept, none is given out that is not."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.api import answers
from app.core.observe import NullObserver
from app.records import AuditFile, check, read_audit, read_public_key, read_signer
from app.runtime.registry import Registry
from app.service import Recorder
from app.service.recording import pack_values
from tests.records.test_signing import write_key
from tests.serving import b64, client_of, load, make_app, picture, problem
from tests.tiny import make_tiny, tiny_png

pytestmark = pytest.mark.anyio

PAIR = {"a": picture(0, 0), "b": picture(0, 1)}
ASKED: dict[str, Any] = {**PAIR, "include": ["record"]}
AT = datetime(2026, 11, 27, 2, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def tiny() -> Registry:
    return load(make_tiny(), make_tiny(name="plain", calibrated=False), default="tiny")


def recorder(**arguments: Any) -> Recorder:
    return Recorder(arguments.pop("observer", NullObserver()), lambda: AT, **arguments)


class Full(AuditFile):
    """A file on a disk that is full while `full` is set."""

    full = True

    def append(self, lines: Sequence[bytes]) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(lines)


class Unrecorded(NullObserver):
    """Counts what is on no record."""

    def __init__(self) -> None:
        self.records = 0

    def unrecorded(self, records: int) -> None:
        self.records += records


async def test_record_says_what_the_answer_says_and_what_was_compared(tiny: Registry) -> None:
    async with client_of(make_app(tiny, recorder=recorder())) as client:
        answer = (await client.post("/compare", json=ASKED, headers={"x-request-id": "mine"})).json()
    answers.Comparison.model_validate(answer)
    record = check(answer["record"], None)
    for name in ("score", "verdict", "model", "version", "fingerprint"):
        assert getattr(record, name) == answer[name]
    point = answer["operating_point"]
    assert record.operating_point is not None
    shown = (record.operating_point.name, record.operating_point.threshold, record.operating_point.impostor)
    assert shown == (point["name"], point["threshold"], point["impostor"]["type"])
    assert [one.sha256 for one in record.inputs] == [hashlib.sha256(tiny_png(0, one)).hexdigest() for one in (0, 1)]
    assert (record.request_id, record.route, record.pointer) == ("mine", "/compare", "")
    assert (record.time, record.calibration) == ("2026-11-27T02:00:00.123Z", "tiny-1")
    assert record.guard_band > 0
    assert record.provider == "CPUExecutionProvider"
    assert PAIR["a"]["base64"] not in json.dumps(answer)


async def test_nobody_who_does_not_ask_gets_one(tiny: Registry, tmp_path: Path) -> None:
    audit = AuditFile(tmp_path, "worker-0", file_bytes=10_000, files=0)
    async with client_of(make_app(tiny, recorder=recorder(audit=audit))) as client:
        for route, body in (("/compare", PAIR), ("/compare/batch", {"pairs": [PAIR]})):
            answer = await client.post(route, json=body)
            assert answer.status_code == 200
            assert "record" not in answer.text


async def test_multipart_asks_in_the_query(tiny: Registry) -> None:
    files = {name: (name, tiny_png(0, variant), "image/png") for variant, name in enumerate("ab")}
    async with client_of(make_app(tiny, recorder=recorder())) as client:
        as_parts = await client.post("/compare?include=record", files=files, headers={"x-request-id": "mine"})
        as_json = await client.post("/compare", json=ASKED, headers={"x-request-id": "mine"})
        assert as_parts.json()["record"] == as_json.json()["record"]
        problem(await client.post("/compare?include=score", files=files), 422, "invalid_request")
        problem(await client.post("/compare", json={**PAIR, "include": "record"}), 422, "invalid_request", "/include")
        problem(
            await client.post("/embed", json={"inputs": [PAIR["a"]], "include": []}), 422, "invalid_request", "/include"
        )


async def test_each_pair_of_a_batch_has_its_own_and_a_failed_one_none(tiny: Registry) -> None:
    bad = {"a": {"base64": "AAAA"}, "b": PAIR["b"]}
    async with client_of(make_app(tiny, recorder=recorder())) as client:
        body = {"pairs": [PAIR, bad, PAIR], "max_fmr": 0.1, "include": ["record"]}
        results = (await client.post("/v1/compare/batch", json=body)).json()["results"]
    assert set(results[1]) == {"error"}
    records = [check(results[place]["record"], None) for place in (0, 2)]
    assert [record.pointer for record in records] == ["/pairs/0", "/pairs/2"]
    assert {record.route for record in records} == {"/compare/batch"}
    assert records[0].asked.max_fmr == 0.1
    assert records[0].asked.references == 1


async def test_each_reference_of_a_file_has_its_own(tiny: Registry) -> None:
    references = [{"id": "other", "items": [picture(1, 0)]}, {"id": "same", "items": [picture(0, 1), picture(0, 2)]}]
    body = {"probe": picture(0, 0), "references": references, "threshold": 0.5, "include": ["record"]}
    async with client_of(make_app(tiny, recorder=recorder())) as client:
        answer = (await client.post("/match", json=body)).json()
    answers.Matched.model_validate(answer)
    for reference in answer["references"]:
        record = check(reference["record"], None)
        assert (record.score, record.verdict) == (reference["score"], reference["verdict"])
        assert record.pointer == {"other": "/references/0", "same": "/references/1"}[reference["id"]]
        assert len(record.inputs) == 1 + reference["items"]
        assert record.inputs[0].sha256 == hashlib.sha256(tiny_png(0, 0)).hexdigest()
        assert record.aggregation == ("single" if reference["items"] == 1 else "max")
        assert record.asked.references == 2


async def test_embedding_is_told_by_its_float32_whichever_way_it_came(tiny: Registry) -> None:
    async with client_of(make_app(tiny, recorder=recorder())) as client:
        given = (await client.post("/embed", json={"inputs": [PAIR["a"]]})).json()
        numbers = given["embeddings"][0]
        raw = np.array(numbers, dtype="<f4").tobytes()
        digests = set()
        for form in (numbers, b64(raw)):
            item = {"embedding": form, "fingerprint": given["fingerprint"]}
            answer = await client.post("/compare", json={**ASKED, "a": item})
            [first, _] = check(answer.json()["record"], None).inputs
            digests.add((first.form, first.sha256))
    assert digests == {("embedding", hashlib.sha256(raw).hexdigest())}


def test_values_are_packed_row_by_row_as_little_endian_float64() -> None:
    nan = struct.pack("<Q", 0x7FF8000000000000)
    assert pack_values([[1, 2.5], [None, -1]]) == struct.pack("<2d", 1, 2.5) + nan + struct.pack("<d", -1)


async def test_model_without_evidence_has_a_record_too(tiny: Registry) -> None:
    async with client_of(make_app(tiny, recorder=recorder())) as client:
        answer = (await client.post("/compare", json={**ASKED, "model": "plain"})).json()
    record = check(answer["record"], None)
    assert (record.calibration, record.operating_point, record.verdict) == (None, None, "undetermined")


async def test_records_are_signed_where_there_is_a_key(tiny: Registry, tmp_path: Path) -> None:
    private, public = write_key(tmp_path)
    async with client_of(make_app(tiny, recorder=recorder(signer=read_signer(private)))) as client:
        answer = (await client.post("/compare", json=ASKED)).json()
    check(answer["record"], read_public_key(public))


async def test_every_verdict_is_kept_asked_for_or_not(tiny: Registry, tmp_path: Path) -> None:
    audit = AuditFile(tmp_path, "worker-0", file_bytes=100_000, files=0)
    file = {"probe": PAIR["a"], "references": [{"id": "x", "items": [PAIR["b"]]}]}
    async with client_of(make_app(tiny, recorder=recorder(audit=audit))) as client:
        asked = (await client.post("/compare", json=ASKED)).json()
        await client.post("/compare/batch", json={"pairs": [PAIR, {"a": {"base64": "AA"}, "b": PAIR["b"]}, PAIR]})
        await client.post("/match", json=file)
        await client.post("/compare", json={"a": {"base64": "AA"}, "b": PAIR["b"]})
        await client.post("/embed", json={"inputs": [PAIR["a"]]})
    kept = [json.loads(line) for line in read_audit(tmp_path / "worker-0.jsonl")]
    assert [check(one, None).pointer for one in kept] == ["", "/pairs/0", "/pairs/2", "/references/0"]
    assert kept[0] == asked["record"]


async def test_verdict_that_cannot_be_kept_is_refused_and_told_once_until_it_can_be(
    tiny: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "app.service.recording")
    audit, observer = Full(tmp_path, "worker-0", file_bytes=100_000, files=0), Unrecorded()
    async with client_of(make_app(tiny, recorder=recorder(audit=audit, observer=observer))) as client:
        for _ in range(2):
            body = problem(await client.post("/compare", json=PAIR), 503, "not_ready")
            assert body["retryable"]
            assert "recorded" in body["detail"]
        assert observer.records == 2
        assert (await client.post("/embed", json={"inputs": [PAIR["a"]]})).status_code == 200
        audit.full = False
        assert (await client.post("/compare", json=PAIR)).status_code == 200
    assert [record.getMessage() for record in caplog.records] == [
        "decisions cannot be recorded: No space left on device",
        "decisions are recorded again",
    ]
    assert len(list(read_audit(tmp_path / "worker-0.jsonl"))) == 1


async def test_service_that_is_to_go_on_gives_verdicts_that_are_on_no_record(tiny: Registry, tmp_path: Path) -> None:
    audit, observer = Full(tmp_path, "worker-0", file_bytes=100_000, files=0), Unrecorded()
    told = recorder(audit=audit, observer=observer, refuses=False)
    async with client_of(make_app(tiny, recorder=told)) as client:
        assert (await client.post("/compare/batch", json={"pairs": [PAIR, PAIR]})).status_code == 200
    assert observer.records == 2


async def test_record_is_the_same_from_the_same_request(tiny: Registry) -> None:
    """So that a repeated request can be told from a changed one."""

    async def ask(client: httpx.AsyncClient) -> Any:
        return (await client.post("/compare", json=ASKED, headers={"x-request-id": "mine"})).json()["record"]

    async with client_of(make_app(tiny, recorder=recorder())) as client:
        assert await ask(client) == await ask(client)

"""Every bad input gets its code, a pointer and a sentence; the service goes on and neighbours are unharmed.

One long file: it is a table of inputs, read best as a whole.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import json
import struct
import zlib
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.api.bodies import LARGE_BYTES, MOST_ARRAYS, parse_json
from app.api.schemas import pointer as json_pointer
from app.core.errors import InvalidRequest, TooLarge
from app.core.modalities.base import Item, Limits, Prepared
from app.runtime.registry import Registry
from tests.serving import altered, b64, check_problem, client_of, make_app, picture, problem
from tests.tiny import DIMENSION, make_tiny, tiny_png

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunks + b"\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e"


def saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


BAD_PICTURES: dict[str, tuple[bytes, int, str]] = {
    "truncated": (tiny_png(0, 0)[:-30], 422, "unusable_input"),
    "empty": (b"", 422, "unusable_input"),
    "not a picture": (b"%PDF-1.7 not a picture at all", 422, "unusable_input"),
    "wrong format": (b"RIFF\x24\x00\x00\x00WAVEfmt ", 422, "unusable_input"),
    "one pixel": (saved(Image.new("L", (1, 1), 7), "PNG"), 422, "unusable_input"),
    "blank": (saved(Image.new("L", (64, 64), 255), "PNG"), 422, "unusable_input"),
    "huge header": (png_header(20_000, 20_000), 413, "too_large"),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
async def test_bad_picture_is_refused_beside_unharmed_neighbours(client: httpx.AsyncClient, name: str) -> None:
    data, status, code = BAD_PICTURES[name]
    item, good = {"base64": b64(data)}, {"a": picture(0, 0), "b": picture(0, 1)}
    expected = (await client.post("/compare", json=good)).json()
    problem(await client.post("/compare", json={"a": picture(0), "b": item}), status, code, "/b")
    files = {"a": ("a.png", data, "image/png"), "b": ("b.png", tiny_png(0, 0), "image/png")}
    problem(await client.post("/compare", files=files), status, code, "/a")
    problem(await client.post("/embed", json={"inputs": [picture(0), item]}), status, code, "/inputs/1")
    problem(
        await client.post("/embed", content=data or b"", headers={"Content-Type": "image/png"}),
        status,
        code,
        "/inputs/0",
    )
    batch = await client.post("/compare/batch", json={"pairs": [good, {"a": item, "b": picture(1)}, good]})
    assert batch.status_code == 200
    first, error, last = batch.json()["results"]
    assert first == last == expected
    check_problem(error["error"], status, code, "/pairs/1/a")
    assert (await client.post("/compare", json=good)).json() == expected


async def test_cmyk_and_other_formats_are_taken(client: httpx.AsyncClient) -> None:
    image = Image.open(io.BytesIO(tiny_png(0, 0)))
    for data in (saved(image.convert("CMYK"), "JPEG"), saved(image, "WEBP"), saved(image, "BMP"), saved(image, "TIFF")):
        response = await client.post("/embed", json={"inputs": [{"base64": b64(data)}]})
        assert response.status_code == 200, response.text


BAD_JSON: dict[str, bytes] = {
    "empty": b"",
    "cut short": b'{"a": {',
    "deep": b'{"a":' * 100_000,
    "deep array": b"[" * 300 + b"]" * 300,
    "not UTF-8": b'{"model": "\xff"}',
    "UTF-16": '{"model": "x"}'.encode("utf-16"),
    "NaN": b'{"prior": NaN}',
    "Infinity": b'{"prior": Infinity}',
    "duplicate key": b'{"model": "tiny", "model": "tiny"}',
    "two documents": b"{} {}",
    "lone surrogate": b'{"model": "\\ud800"}',
    "huge integer": b'{"prior": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize("route", ["/compare", "/compare/batch", "/embed"])
async def test_unreadable_json_is_an_invalid_request(client: httpx.AsyncClient, route: str, name: str) -> None:
    body = problem(await client.post(route, content=BAD_JSON[name], headers=JSON), 422, "invalid_request")
    assert len(body["detail"]) < 200


async def test_error_of_unreadable_json_repeats_no_payload() -> None:
    with pytest.raises(InvalidRequest, match="a key is there twice at line 1 column") as caught:
        parse_json(b'{"secret":1,"secret":2}')
    assert "secret" not in caught.value.detail


A, B = picture(0, 0), picture(0, 1)
ENVELOPES: dict[str, tuple[Any, str | None]] = {
    "no object": ([1], None),
    "missing side": ({"a": A}, None),
    "unknown member": ({"a": A, "b": B, "treshold": 1}, "/treshold"),
    "string for a number": ({"a": A, "b": B, "threshold": "0.5"}, "/threshold"),
    "boolean for a number": ({"a": A, "b": B, "prior": True}, "/prior"),
    "number for a string": ({"a": A, "b": B, "model": 7}, "/model"),
    "prior above one": ({"a": A, "b": B, "prior": 1.5}, "/prior"),
    "rate below zero": ({"a": A, "b": B, "max_fmr": -0.1}, "/max_fmr"),
    "item that is no object": ({"a": "x", "b": B}, "/a"),
    "threshold and max_fmr": ({"a": A, "b": B, "threshold": 0.5, "max_fmr": 0.1}, "/threshold"),
    "max_fnmr alone": ({"a": A, "b": B, "max_fnmr": 0.1}, "/max_fnmr"),
}


async def test_error_of_a_bad_envelope_names_no_class_of_ours(client: httpx.AsyncClient) -> None:
    cases: list[tuple[Any, str | None]] = [([1], None), ({"pairs": [1]}, "/pairs/0")]
    for body, pointer in cases:
        said = problem(await client.post("/compare/batch", json=body), 422, "invalid_request", pointer)["detail"]
        assert said.endswith("it should be a JSON object")


@pytest.mark.parametrize("name", ENVELOPES)
async def test_bad_envelope_is_an_invalid_request_that_points_at_the_fault(
    client: httpx.AsyncClient, name: str
) -> None:
    body, pointer = ENVELOPES[name]
    problem(await client.post("/compare", json=body), 422, "invalid_request", pointer)


async def test_number_beyond_float64_is_an_invalid_request(client: httpx.AsyncClient) -> None:
    content = json.dumps({"a": A, "b": B})[:-1].encode() + b', "threshold": 1e999}'
    problem(await client.post("/compare", content=content, headers=JSON), 422, "invalid_request", "/threshold")


async def test_long_member_names_are_not_repeated(client: httpx.AsyncClient) -> None:
    body = problem(await client.post("/compare", json={"x" * 10_000: 1}), 422, "invalid_request")
    assert len(json.dumps(body)) < 500


async def test_fault_inside_a_batch_names_its_pair(client: httpx.AsyncClient) -> None:
    good = {"a": A, "b": B}
    for pair, pointer in (({"a": A}, "/pairs/1"), ({**good, "c": 1}, "/pairs/1/c"), ({"a": A, "b": 3}, "/pairs/1/b")):
        response = await client.post("/compare/batch", json={"pairs": [good, pair]})
        problem(response, 422, "invalid_request", pointer)


@pytest.mark.parametrize("route", ["/compare/batch", "/embed"])
async def test_nothing_to_do_is_an_invalid_request(client: httpx.AsyncClient, route: str) -> None:
    member = "pairs" if route == "/compare/batch" else "inputs"
    problem(await client.post(route, json={member: []}), 422, "invalid_request", f"/{member}")


ITEMS: dict[str, Any] = {
    "no form": {},
    "two forms": {**A, "text": "x"},
    "another form": {"text": "hello"},
    "values": {"values": [[1.0]]},
    "not a string": {"base64": 7},
    "null": {"base64": None},
    "data address": {"base64": "data:image/png;base64," + A["base64"]},
    "no padding": {"base64": "QUI"},
    "line breaks": {"base64": A["base64"][:40] + "\n" + A["base64"][40:]},
    "URL alphabet": {"base64": "-_-_"},
    "not ASCII": {"base64": "é" * 4},
    "unknown member": {**A, "prefix": "x"},
    "bytes beside base64": {**A, "bytes": "x"},
    "embedding without fingerprint": {"embedding": [1.0] * DIMENSION},
}


@pytest.mark.parametrize("name", ITEMS)
async def test_bad_item_is_an_invalid_request_that_points_at_it(client: httpx.AsyncClient, name: str) -> None:
    problem(await client.post("/compare", json={"a": A, "b": ITEMS[name]}), 422, "invalid_request", "/b")
    result = (await client.post("/compare/batch", json={"pairs": [{"a": ITEMS[name], "b": B}]})).json()["results"][0]
    check_problem(result["error"], 422, "invalid_request", "/pairs/0/a")


async def test_wrong_form_names_the_form_to_send(client: httpx.AsyncClient) -> None:
    body = problem(await client.post("/compare", json={"a": {"text": "x"}, "b": B}), 422, "invalid_request", "/a")
    assert "base64" in body["detail"]


FINGERPRINT = make_tiny(calibrated=False).fingerprint


def unit(first: float = 1.0) -> npt.NDArray[np.float32]:
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[0] = first
    return vector


def packed(vector: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


EMBEDDINGS: dict[str, tuple[Any, str, int, str]] = {
    "other fingerprint": (packed(unit()), "0" * 64, 409, "fingerprint_mismatch"),
    "other fingerprint and length": ([1.0], "0" * 64, 409, "fingerprint_mismatch"),
    "too short": ([1.0], FINGERPRINT, 422, "invalid_request"),
    "too long": (packed(np.ones(DIMENSION + 1, dtype=np.float32)), FINGERPRINT, 422, "invalid_request"),
    "odd bytes": ("AAAA", FINGERPRINT, 422, "invalid_request"),
    "strings": (["1"] * DIMENSION, FINGERPRINT, 422, "invalid_request"),
    "booleans": ([True] * DIMENSION, FINGERPRINT, 422, "invalid_request"),
    "nested": ([[1.0]] * DIMENSION, FINGERPRINT, 422, "invalid_request"),
    "nulls": ([None] * DIMENSION, FINGERPRINT, 422, "invalid_request"),
    "object": ({}, FINGERPRINT, 422, "invalid_request"),
    "NaN": (packed(unit(float("nan"))), FINGERPRINT, 422, "unusable_input"),
    "infinite": (packed(unit(float("inf"))), FINGERPRINT, 422, "unusable_input"),
    "beyond float32": ([1e300] * DIMENSION, FINGERPRINT, 422, "unusable_input"),
    "beyond float64": ([10**400] * DIMENSION, FINGERPRINT, 422, "unusable_input"),
    "zero": ([0] * DIMENSION, FINGERPRINT, 422, "unusable_input"),
    "norm off": (unit(1.01).tolist(), FINGERPRINT, 422, "unusable_input"),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
async def test_bad_embedding_is_refused(client: httpx.AsyncClient, name: str) -> None:
    embedding, fingerprint, status, code = EMBEDDINGS[name]
    item = {"embedding": embedding, "fingerprint": fingerprint}
    problem(await client.post("/compare", json={"a": A, "b": item}), status, code, "/b")


async def test_embedding_item_takes_no_further_members(client: httpx.AsyncClient) -> None:
    item = {"embedding": unit().tolist(), "fingerprint": FINGERPRINT, "rate": 1}
    problem(await client.post("/compare", json={"a": item, "b": B}), 422, "invalid_request", "/a")


async def test_norm_within_the_tolerance_is_taken(client: httpx.AsyncClient) -> None:
    item = {"embedding": unit(1.0005).tolist(), "fingerprint": FINGERPRINT}
    assert (await client.post("/compare", json={"a": A, "b": item})).status_code == 200


async def test_rate_beyond_the_evidence_says_what_is_supported(client: httpx.AsyncClient) -> None:
    for extra, pointer in (
        ({"max_fmr": 1e-9}, "/max_fmr"),
        ({"operating_point": "fmr_1e-9"}, "/operating_point"),
        ({"impostor": "skilled"}, "/impostor"),
    ):
        response = await client.post("/compare", json={"a": A, "b": B, **extra})
        body = problem(response, 422, "operating_point_unavailable", pointer)
        assert any(word in body["detail"] for word in ("below 0.000", "fmr_1e-3", "random"))


async def test_selectors_are_refused_before_any_item_is_looked_at(client: httpx.AsyncClient) -> None:
    response = await client.post("/compare", json={"a": {}, "b": {}, "max_fmr": 1e-9})
    problem(response, 422, "operating_point_unavailable", "/max_fmr")


async def test_unknown_model_is_not_found(client: httpx.AsyncClient) -> None:
    for model in ("nobody", "tiny@9.9.9", ""):
        problem(await client.post("/compare", json={"a": A, "b": B, "model": model}), 404, "unknown_model", "/model")
    problem(await client.get("/models/nobody"), 404, "unknown_model", "/model")


async def test_no_default_among_several_models_asks_for_one(registry: Registry) -> None:
    several = Registry(list(registry), default=None, aliases={})
    async with client_of(make_app(several)) as client:
        problem(await client.post("/compare", json={"a": A, "b": B}), 422, "invalid_request", "/model")


async def test_too_many_items_are_too_large(client: httpx.AsyncClient) -> None:
    problem(await client.post("/embed", json={"inputs": [{}] * 33}), 413, "too_large", "/inputs")
    problem(await client.post("/compare/batch", json={"pairs": [{}] * 17}), 413, "too_large", "/pairs")
    parts = [("input", (f"{i}.png", b"x", "image/png")) for i in range(33)]
    problem(await client.post("/embed", files=parts), 413, "too_large")
    assert (await client.post("/embed", json={"inputs": [A] * 32})).status_code == 200


FILES = {"a": ("a.png", tiny_png(0, 0), "image/png"), "b": ("b.png", tiny_png(0, 1), "image/png")}


@pytest.mark.parametrize(
    "query", ["treshold=1", "max_fmr=x", "max_fmr=nan", "max_fmr=1_0", "max_fmr=", "prior=2", "prior=.5&prior=.5"]
)
async def test_bad_query_parameters_are_refused(client: httpx.AsyncClient, query: str) -> None:
    problem(await client.post(f"/compare?{query}", files=FILES), 422, "invalid_request")


async def test_query_selectors_with_a_json_body_are_refused(client: httpx.AsyncClient) -> None:
    for route in ("/compare?prior=0.5", "/embed?model=tiny", "/compare/batch?max_fmr=0.1"):
        problem(await client.post(route, json={}), 422, "invalid_request")
    problem(await client.get("/models?x=1"), 422, "invalid_request")


async def test_multipart_faults_are_invalid_requests(client: httpx.AsyncClient) -> None:
    a, b = ("a", FILES["a"]), ("b", FILES["b"])
    cases: tuple[tuple[list[tuple[str, Any]], str | None], ...] = (
        ([a], "/b"),
        ([a, a, b], "/a"),
        ([a, b, ("c", FILES["a"])], None),
        ([a, b, ("model", (None, "tiny"))], None),
        ([a, ("b", ("b", b"[1]", "application/json"))], "/b"),
        ([a, ("b", ("b", b"{", "application/json"))], "/b"),
    )
    for files, pointer in cases:
        problem(await client.post("/compare", files=files), 422, "invalid_request", pointer)
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nhi\r\n'
    for content, media_type in (
        (part + b"--x--\r\n", "multipart/form-data"),
        (part, "multipart/form-data; boundary=x"),
        (b"nothing", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data; boundary=x"),
        (part + b"--x--\r\n", "multipart/form-data; boundary=" + "x" * 500),
    ):
        response = await client.post("/compare", content=content, headers={"Content-Type": media_type})
        problem(response, 422, "invalid_request")


async def test_media_types_that_the_model_cannot_take_are_unsupported(client: httpx.AsyncClient) -> None:
    for declared in ("text/plain", "audio/wav", "application/pdf"):
        files = {**FILES, "b": ("b", tiny_png(0, 1), declared)}
        body = problem(await client.post("/compare", files=files), 415, "unsupported_media_type", "/b")
        assert "image/*" in body["detail"]
        raw = await client.post("/embed", content=tiny_png(0, 0), headers={"Content-Type": declared})
        problem(raw, 415, "unsupported_media_type", "/inputs/0")
    form = await client.post("/embed", data={"input": "x"})
    problem(form, 415, "unsupported_media_type", "/inputs/0")


async def test_body_without_a_media_type_or_compressed_is_unsupported(client: httpx.AsyncClient) -> None:
    for route in ("/compare", "/compare/batch", "/embed"):
        body = problem(await client.post(route, content=b"{}"), 415, "unsupported_media_type")
        assert "application/json" in body["detail"]
        gzipped = {**JSON, "Content-Encoding": "gzip"}
        problem(await client.post(route, content=b"{}", headers=gzipped), 415, "unsupported_media_type")
    problem(
        await client.post("/compare", content=b"x", headers={"Content-Type": "image/png"}),
        415,
        "unsupported_media_type",
    )


async def test_pointer_escapes_member_names() -> None:
    assert json_pointer(["a/b", "c~d", 0]) == "/a~1b/c~0d/0"
    assert json_pointer([]) is None


async def test_body_of_countless_arrays_is_too_large_whatever_they_hold(client: httpx.AsyncClient) -> None:
    """Eleven million empty lists, which fit into the largest body, took four seconds and 800 MiB."""
    for parts in (b"[],", b"{},"):
        content = b'{"a":[' + parts * (MOST_ARRAYS + 1) + b"0]}"
        with pytest.raises(TooLarge, match="arrays"):
            parse_json(content)
    response = await client.post("/compare", content=b'{"a":[' + b"[[[]]]," * 10_000 + b"0]}", headers=JSON)
    problem(response, 422, "invalid_request", "/a")


def test_collector_is_on_again_after_a_large_body() -> None:
    for content in (b"[" + b"0," * 600_000 + b"0]", b"[" + b"0," * 600_000):
        assert len(content) > LARGE_BYTES
        with contextlib.suppress(InvalidRequest):
            parse_json(content)
        assert gc.isenabled()


async def test_repeated_content_type_or_encoding_is_never_passed_over(client: httpx.AsyncClient) -> None:
    twice = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    problem(await client.post("/compare", content=b"{}", headers=twice), 422, "invalid_request")
    coded = [("Content-Type", "application/json"), ("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
    problem(await client.post("/compare", content=b"{}", headers=coded), 415, "unsupported_media_type")


async def test_request_that_takes_too_much_memory_is_too_large(registry: Registry) -> None:
    [model] = [one for one in registry if one.bundle.name == "tiny"]

    class Starved:
        """The encoder, without memory for one of its items."""

        def __getattr__(self, name: str) -> Any:
            return getattr(model.encoder, name)

        def prepare(self, item: Item, limits: Limits) -> Prepared:
            if item["bytes"] == tiny_png(1, 0):
                raise MemoryError
            return model.encoder.prepare(item, limits)

    encoder: Any = Starved()
    async with client_of(make_app(altered(model, encoder=encoder))) as client:
        problem(await client.post("/compare", json={"a": picture(0), "b": picture(1)}), 413, "too_large", "/b")
        assert (await client.post("/compare", json={"a": picture(0), "b": picture(2)})).status_code == 200

    def starved() -> Registry:
        raise MemoryError

    async with client_of(make_app(starved)) as client:
        problem(await client.post("/compare", json={"a": picture(0), "b": picture(1)}), 413, "too_large")

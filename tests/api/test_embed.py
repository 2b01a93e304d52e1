"""POST /embed: embeddings in both encodings, from JSON, multipart and raw bodies; all or nothing."""

from __future__ import annotations

import base64
import io
import re

import httpx
import numpy as np
import pytest
from PIL import Image

from app.api import answers
from tests.serving import picture, problem
from tests.tiny import DIMENSION, make_tiny, tiny_png

pytestmark = pytest.mark.anyio


async def test_base64_equals_the_float_form_bit_for_bit(client: httpx.AsyncClient) -> None:
    inputs = [picture(identity) for identity in range(5)]
    floats = await client.post("/embed", json={"inputs": inputs})
    packed = await client.post("/embed", json={"inputs": inputs, "encoding_format": "base64"})
    for response in (floats, packed):
        assert response.status_code == 200
        answers.Embeddings.model_validate_json(response.content)
    rows = np.array(floats.json()["embeddings"], dtype=np.float32)
    unpacked = [np.frombuffer(base64.b64decode(text), dtype="<f4") for text in packed.json()["embeddings"]]
    assert rows.shape == (5, DIMENSION)
    assert rows.tobytes() == np.stack(unpacked).tobytes()
    assert {**floats.json(), "embeddings": None} == {**packed.json(), "embeddings": None}


async def test_numbers_are_the_shortest_that_read_back_the_same(client: httpx.AsyncClient) -> None:
    text = (await client.post("/embed", json={"inputs": [picture(0)]})).text
    found = re.search(r'"embeddings":\[\[(.*?)\]\]', text)
    assert found is not None
    for number in found[1].split(","):
        assert len(number) <= len(str(np.float32(number))), number


async def test_answer_names_its_model_and_fingerprint(client: httpx.AsyncClient) -> None:
    body = (await client.post("/embed", json={"inputs": [picture(0)]})).json()
    assert (body["model"], body["version"], body["fingerprint"]) == ("tiny", "1.0.0", make_tiny().fingerprint)
    assert (body["dimension"], body["normalized"], body["notices"]) == (DIMENSION, True, [])
    assert np.linalg.norm(body["embeddings"][0]) == pytest.approx(1, abs=1e-6)


async def test_raw_and_multipart_bodies_equal_json(client: httpx.AsyncClient) -> None:
    expected = (await client.post("/embed", json={"inputs": [picture(0), picture(1)], "model": "plain"})).json()
    parts = [("input", (f"{i}.png", tiny_png(i, 0), "image/png")) for i in range(2)]
    assert (await client.post("/embed", files=parts, params={"model": "plain"})).json() == expected
    raw = await client.post(
        "/embed", content=tiny_png(0, 0), headers={"Content-Type": "image/png"}, params={"model": "plain"}
    )
    assert raw.json() == {**expected, "embeddings": expected["embeddings"][:1]}


async def test_order_of_inputs_does_not_change_an_embedding(client: httpx.AsyncClient) -> None:
    inputs = [picture(identity) for identity in range(9)]
    forth = (await client.post("/embed", json={"inputs": inputs})).json()["embeddings"]
    back = (await client.post("/embed", json={"inputs": inputs[::-1]})).json()["embeddings"]
    np.testing.assert_allclose(forth, back[::-1], atol=1e-6)


async def test_equal_inputs_each_get_their_embedding(client: httpx.AsyncClient) -> None:
    rows = (await client.post("/embed", json={"inputs": [picture(0), picture(1), picture(0)]})).json()["embeddings"]
    assert rows[0] == rows[2] != rows[1]


async def test_animated_picture_gives_its_first_frame_and_a_notice(client: httpx.AsyncClient) -> None:
    frames = [Image.open(io.BytesIO(tiny_png(identity, 0))) for identity in range(2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    animated = {"base64": base64.b64encode(buffer.getvalue()).decode()}
    body = (await client.post("/embed", json={"inputs": [picture(0), animated]})).json()
    assert body["notices"] == [{"code": "first_frame", "pointer": "/inputs/1"}]
    assert body["embeddings"][0] == pytest.approx(body["embeddings"][1], abs=1e-6)
    pairs = [{"a": picture(0), "b": picture(1)}, {"a": picture(1), "b": animated}]
    batch = (await client.post("/compare/batch", json={"pairs": pairs})).json()
    assert batch["results"][1]["notices"] == batch["notices"] == [{"code": "first_frame", "pointer": "/pairs/1/b"}]


async def test_first_bad_input_fails_the_whole_request(client: httpx.AsyncClient) -> None:
    inputs = [picture(0), {"base64": "AAAA"}, {"base64": "BBBB"}]
    problem(await client.post("/embed", json={"inputs": inputs}), 422, "unusable_input", "/inputs/1")


async def test_embedding_item_is_not_embedded_again(client: httpx.AsyncClient) -> None:
    given = (await client.post("/embed", json={"inputs": [picture(0)]})).json()
    item = {"embedding": given["embeddings"][0], "fingerprint": given["fingerprint"]}
    problem(await client.post("/embed", json={"inputs": [item]}), 422, "invalid_request", "/inputs/0")

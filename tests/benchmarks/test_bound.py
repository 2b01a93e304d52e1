"""The bound does the very work of the service: the same scores and embeddings, in every layout."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from app.core.bundle import read_bundle
from app.core.modalities.base import Limits
from app.runtime.encoder import Encoder
from benchmarks.bound import Work
from benchmarks.checks import guard_band, join, read_answer
from benchmarks.crew import Crew, _deal
from benchmarks.inputs import sentence
from benchmarks.layouts import Layout
from benchmarks.workloads import Route, Workload, find_bundle
from tests.serving import client_of, load, make_app, picture

MODELS = Path(__file__).resolve().parent.parent.parent / "models"
PICTURES = tuple(picture(identity, variant) for identity in range(6) for variant in range(2))


def workload(path: Route, size: int) -> Workload:
    """All pictures, `size` of them in each request."""
    requests = tuple(PICTURES[start : start + size] for start in range(0, len(PICTURES), size))
    return Workload("tiny", "tiny pictures", "tiny", path, requests)


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "size"), [("/compare", 2), ("/compare/batch", 6), ("/embed", 4)])
async def test_the_bound_gives_what_the_service_answers(tiny_models: Path, path: Route, size: int) -> None:
    asked = workload(path, size)
    folder = find_bundle(tiny_models, "tiny")
    assert folder is not None
    async with client_of(make_app(load(read_bundle(folder)))) as client:
        answers = [
            await client.post(path, content=body, headers={"Content-Type": "application/json"})
            for body in asked.bodies()
        ]
    served = [read_answer(answer.content).values for answer in answers]
    work = Work(folder, threads=1)
    for hand, cap in ((1, 1), (1, 32), (3, 4), (len(served), 5)):
        bodies = asked.bodies()
        done = [work.answer(bodies[at : at + hand], cap, trim=False) for at in range(0, len(bodies), hand)]
        values = [one for hands in done for one in hands]
        assert len(values) == len(served)
        for ours, theirs in zip(values, served, strict=True):
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max() <= 1e-6
    assert len({one.tobytes() for one in served}) == len(served)  # each request has an answer of its own


def test_trimmed_batches_of_varied_texts_embed_as_the_encoder_does() -> None:
    folder = find_bundle(MODELS, "questions")
    assert folder is not None
    texts = [" ".join(sentence(number).split()[: number + 2]) for number in range(12)]
    asked = Workload("texts", "texts", "questions", "/embed", tuple(({"text": one},) for one in texts))
    bundle = read_bundle(folder)
    encoder = Encoder(bundle, device="cpu", threads=1)
    expected = encoder.embed([{"text": one} for one in texts], Limits())
    for trim in (False, True):
        rows = Work(folder, threads=1).answer(asked.bodies(), 4, trim)
        assert np.abs(np.concatenate(rows) - expected).max() <= guard_band(bundle)


def test_a_crew_reports_the_requests_it_did_and_answers_in_order(tiny_models: Path) -> None:
    folder = find_bundle(tiny_models, "tiny")
    assert folder is not None
    bodies = workload("/compare", 2).bodies()
    layout = Layout(processes=2, threads=1, hand=2, cap=4, trim=False)
    with Crew(folder, bodies, layout.processes, layout.threads) as crew:
        assert len(crew.pids) == 2
        turns = crew.work(layout, 0.05)
        answers = crew.answers(layout)
    assert [turn.requests for turn in turns] == [2 * len(turn.hands_s) for turn in turns]
    assert all(turn.requests > 0 and turn.rate == turn.requests / sum(turn.hands_s) for turn in turns)
    alone = Work(folder, threads=1)
    expected = [alone.answer([body], 1, trim=False)[0] for body in bodies]
    assert np.abs(np.concatenate(answers) - np.concatenate(expected)).max() <= 1e-6


@pytest.mark.parametrize("hand", [1, 2, 4, 5, 9])
def test_every_request_is_dealt_as_often_as_any_other(hand: int) -> None:
    bodies = [bytes([number]) for number in range(6)]
    dealt = [body for one in _deal(bodies, hand) for body in one]
    assert {dealt.count(body) for body in bodies} == {len(dealt) // 6}


def test_base64_embeddings_are_read_as_the_numbers_that_they_hold() -> None:
    rows = np.arange(6, dtype="<f4").reshape(2, 3)
    encoded = ",".join(f'"{base64.b64encode(row.tobytes()).decode()}"' for row in rows)
    assert np.array_equal(read_answer(f'{{"embeddings": [{encoded}]}}'.encode()).values, rows)
    assert np.array_equal(
        join([read_answer(b'{"embeddings": [[0,1,2]]}'), read_answer(b'{"data": [{"embedding": [3,4,5]}]}')]).values,
        rows,
    )

"""A version on trial scores a share of what was answered, counts its verdicts, and never touches an answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.core.bundle import Trial
from app.core.errors import TwinserveError
from app.core.evidence import Selectors
from app.core.observe import NullObserver
from app.runtime.registry import Registry
from app.service import Service, Shadowing
from app.service.shadow import MOST_PAIRS
from tests.serving import EXECUTOR, load, picture, today
from tests.tiny import make_tiny

pytestmark = pytest.mark.anyio
SERVED, CANDIDATE = "tiny@1.0.0", "tiny@1.1.0"


class Seen(NullObserver):
    """Keeps what is reported of trials."""

    def __init__(self) -> None:
        self.verdicts: list[tuple[str, str]] = []
        self.dropped = 0

    def shadowed(self, model: str, candidate: str, verdict: str, candidate_verdict: str) -> None:
        assert (model, candidate) == (SERVED, CANDIDATE)
        self.verdicts.append((verdict, candidate_verdict))

    def shadow_dropped(self, model: str, candidate: str) -> None:
        assert (model, candidate) == (SERVED, CANDIDATE)
        self.dropped += 1


def on_trial(candidate: Any, share: float = 1.0) -> Registry:
    """A calibrated tiny@1.0.0 that is served, and this one beside it."""
    models = list(load(make_tiny(), candidate))
    trials = {SERVED: Trial(CANDIDATE, share)}
    return Registry(models, default=None, aliases={}, hidden={CANDIDATE}, trials=trials)


def service_of(registry: Registry, seen: Seen, **changes: Any) -> Service:
    shadowing = Shadowing(seen, ThreadPoolExecutor(1), today, **changes)
    return Service(lambda: registry, seen, EXECUTOR, today, shadowing=shadowing)


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.005)


async def verdict(service: Service, a: Any, b: Any, **selectors: Any) -> str:
    [result] = await service.compare("tiny", [(a, b)], Selectors(**selectors), None)
    assert not isinstance(result, TwinserveError)
    assert result.bundle.key == SERVED
    return result.judgement.verdict


@pytest.fixture(scope="module")
def uncalibrated() -> Registry:
    """The version on trial gives no verdict of its own, but one at a caller's threshold."""
    return on_trial(make_tiny(version="1.1.0", calibrated=False))


async def test_both_verdicts_of_each_pair_are_reported_and_the_answer_is_of_the_one_served(
    uncalibrated: Registry,
) -> None:
    seen = Seen()
    service = service_of(uncalibrated, seen)
    assert await verdict(service, picture(1), picture(1, 1)) == "match"
    assert await verdict(service, picture(1), picture(1, 1), threshold=0.0) == "match"
    assert await verdict(service, picture(1), picture(2), threshold=0.9) == "no_match"
    assert await verdict(service, picture(1), picture(1, 1), operating_point="fmr_1e-2") == "match"
    await until(lambda: len(seen.verdicts) == 4)
    assert seen.verdicts == [
        ("match", "undetermined"),
        ("match", "match"),
        ("no_match", "no_match"),
        ("match", "error"),
    ]


async def test_a_share_is_taken_and_nothing_where_nothing_is_on_trial() -> None:
    seen, draws = Seen(), iter([0.1, 0.3, 0.299, 0.9])
    registry = on_trial(make_tiny(version="1.1.0", calibrated=False), share=0.3)
    service = service_of(registry, seen, chance=lambda: next(draws))
    pairs = [(picture(identity), picture(identity, 1)) for identity in range(4)]
    await service.compare("tiny", pairs, Selectors(), None)
    await until(lambda: len(seen.verdicts) == 2)
    await service.compare(CANDIDATE, pairs[:1], Selectors(), None)  # asks no draw: there is none left
    assert len(seen.verdicts) == 2


async def test_embeddings_are_scored_where_the_fingerprint_is_the_same(uncalibrated: Registry) -> None:
    assert await scored_with_an_embedding(uncalibrated) == 2


async def test_embeddings_are_left_out_where_the_fingerprint_is_another() -> None:
    other = on_trial(make_tiny(version="1.1.0", calibrated=False, half=True))
    assert await scored_with_an_embedding(other) == 1


async def scored_with_an_embedding(registry: Registry) -> int:
    """Of a pair with an embedding and one after it without, how many are scored."""
    seen = Seen()
    service = service_of(registry, seen)
    embedded = await service.embed("tiny", [picture(1)])
    item = {"embedding": embedded.vectors[0].tolist(), "fingerprint": embedded.bundle.fingerprint}
    assert await verdict(service, item, picture(1, 1), threshold=0.0) == "match"
    assert await verdict(service, picture(1), picture(2), threshold=0.9) == "no_match"
    await until(lambda: ("no_match", "no_match") in seen.verdicts)  # in their order: all before it are there
    return len(seen.verdicts)


async def test_answers_do_not_wait_and_what_is_too_much_is_dropped_and_counted(uncalibrated: Registry) -> None:
    seen, gate, executor = Seen(), threading.Event(), ThreadPoolExecutor(1)
    executor.submit(gate.wait, 60)  # the version on trial can score nothing
    shadowing = Shadowing(seen, executor, today)
    service = Service(lambda: uncalibrated, seen, EXECUTOR, today, shadowing=shadowing)
    assert await verdict(service, picture(1), picture(1, 1)) == "match"
    await until(lambda: not shadowing._waiting)  # it is being scored
    extra = 5
    for _ in range(MOST_PAIRS + extra):
        assert await verdict(service, picture(1), picture(1, 1)) == "match"
    assert (seen.verdicts, seen.dropped) == ([], extra)
    gate.set()
    await until(lambda: len(seen.verdicts) == MOST_PAIRS + 1)
    assert await verdict(service, picture(1), picture(1, 1)) == "match"
    await until(lambda: len(seen.verdicts) == MOST_PAIRS + 2)
    assert seen.dropped == extra


async def test_nothing_is_scored_while_the_model_that_answers_is_at_work(uncalibrated: Registry) -> None:
    seen = Seen()
    service = service_of(uncalibrated, seen)
    with uncalibrated.get(SERVED).batcher.reserve(1):
        assert await verdict(service, picture(1), picture(1, 1)) == "match"
        await asyncio.sleep(0.1)
        assert seen.verdicts == []
    await until(lambda: seen.verdicts)


async def test_large_items_are_dropped_by_their_bytes(uncalibrated: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.service.shadow.MOST_BYTES", 100)
    seen = Seen()
    assert await verdict(service_of(uncalibrated, seen), picture(1), picture(1, 1)) == "match"
    assert seen.dropped == 1

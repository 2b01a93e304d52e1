"""One batch: an item's failure is its own, its time bounds what it takes, and large items are not prepared by it."""

from __future__ import annotations

import numpy as np
import pytest

from app.core.errors import TooLarge, UnusableInput
from app.core.modalities.base import Limits, Prepared
from app.core.observe import NullObserver
from app.runtime.encoder import Encoder
from app.runtime.engine import Encoded, Engine, Work
from app.runtime.queue import Deferred
from app.runtime.runs import Speed, speed
from tests.tiny import make_tiny, tiny_item

BUNDLE = make_tiny()
ENCODER = Encoder(BUNDLE, device="cpu", threads=1)


def engine(*, seconds: float = 0.001, batch_s: float = 1.0, limits: Limits | None = None) -> Engine:
    speeds = {ENCODER.modality.bucket(window): Speed(4, seconds) for window in ENCODER.modality.examples()}
    return Engine(BUNDLE, ENCODER, limits or Limits(), speeds, batch_s, NullObserver())


def test_items_prepared_or_not_give_what_the_encoder_gives() -> None:
    items = [tiny_item(identity, 0) for identity in range(6)]
    mixed: list[Work] = [*items[:3], *(ENCODER.prepare(item, Limits()) for item in items[3:])]
    for outcome, row in zip(engine().run(mixed), ENCODER.embed(items, Limits()), strict=True):
        assert isinstance(outcome, Encoded)
        np.testing.assert_allclose(outcome.vector, row, rtol=0, atol=1e-6)


def test_an_item_that_fails_is_its_own_outcome() -> None:
    outcomes = engine().run([tiny_item(0, 0), {"bytes": b"no picture"}, tiny_item(1, 0)])
    assert [type(outcome) for outcome in outcomes] == [Encoded, UnusableInput, Encoded]


def test_what_its_time_has_no_room_for_is_deferred_prepared_and_in_order() -> None:
    items = [tiny_item(identity, 0) for identity in range(5)]
    outcomes = engine(seconds=0.01, batch_s=0.02).run([items[0], {"bytes": b"no picture"}, *items[1:]])
    assert [type(outcome) for outcome in outcomes] == [Encoded, UnusableInput, Encoded, Deferred, Deferred, Deferred]
    deferred = [outcome.payload for outcome in outcomes if isinstance(outcome, Deferred)]
    for payload, item in zip(deferred, items[2:], strict=True):
        assert isinstance(payload, Prepared)
        [window], [expected] = payload.windows, ENCODER.prepare(item, Limits()).windows
        assert all(np.array_equal(window[name], expected[name]) for name in expected)


def test_the_first_item_runs_however_long_it_takes() -> None:
    outcomes = engine(seconds=9.0, batch_s=0.02).run([tiny_item(0, 0), tiny_item(1, 0)])
    assert [type(outcome) for outcome in outcomes] == [Encoded, Deferred]


def test_an_item_beyond_the_limits_of_a_batch_is_too_large_for_it() -> None:
    [outcome] = engine(limits=Limits(max_pixels=10)).run([tiny_item(0, 0)])
    assert isinstance(outcome, TooLarge)


@pytest.mark.parametrize(
    ("measured", "limit_s", "expected"),
    [
        ({1: 0.01, 2: 0.02, 4: 0.03}, 0.03, Speed(4, 0.0075)),
        ({1: 0.01, 2: 0.02, 4: 0.03}, 0.025, Speed(2, 0.01)),
        ({1: 0.5}, 0.05, Speed(1, 0.5)),
    ],
)
def test_speed_is_that_of_the_largest_run_within_the_limit(
    measured: dict[int, float], limit_s: float, expected: Speed
) -> None:
    assert speed(measured, limit_s) == expected

"""A worker is known to hang by the looks at which nothing was heard, or by a batch that outlasts them."""

from __future__ import annotations

from app.runtime.heart import beats_in
from app.supervisor.watching import QUIET_AFTER, Watch

THIRTY = beats_in(30.0)


def test_silent_worker_is_quiet_first_and_hung_when_the_time_is_over() -> None:
    watch = Watch(30.0)
    quiet = []
    for _ in range(THIRTY):
        quiet.append(watch.quiet)
        assert watch.look() is None
    assert quiet.index(True) == QUIET_AFTER
    assert watch.look() == "no sign of life for 30 s"


def test_any_message_is_a_sign_of_life() -> None:
    watch = Watch(30.0)
    for _ in range(THIRTY):
        watch.look()
    watch.heard()
    assert not watch.quiet
    assert watch.look() is None


def test_batch_that_outlasts_the_time_is_a_hang_though_the_loop_turns() -> None:
    watch = Watch(30.0)
    watch.heard(THIRTY)
    assert watch.look() is None
    watch.heard(THIRTY + 1)
    assert watch.look() == "one batch has been running for 30 s"


def test_other_messages_leave_what_is_known_of_batches() -> None:
    watch = Watch(30.0)
    watch.heard(THIRTY + 1)
    watch.heard()
    assert watch.look() is not None
    watch.heard(0)
    assert watch.look() is None


def test_nothing_counts_as_a_hang_where_the_watchdog_is_off() -> None:
    watch = Watch(0.0)
    watch.heard(10_000)
    assert {watch.look() for _ in range(1000)} == {None}

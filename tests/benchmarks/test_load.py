"""The load counts what really happened: on a real port, against a server whose answers follow a script."""

from __future__ import annotations

import pytest

from benchmarks import load as loads
from benchmarks.load import CLOSED, OPEN, Arrivals, Loops, ask_each, drive
from benchmarks.samples import OK, REFUSED
from benchmarks.wire import LOST, ProtocolError, post
from tests.benchmarks.scripted import Reply, scripted

REQUESTS = [post("/compare", b"request %d" % number) for number in range(5)]


def test_a_closed_loop_has_one_request_a_connection_under_way_and_sends_them_all() -> None:
    with scripted(lambda _: Reply(wait_s=0.005)) as server:
        load = drive(server.port, 0.2, loops=Loops(REQUESTS, 3))
    assert server.connections == 3
    assert len(load.samples) == len(server.bodies)
    assert {one.request for one in load.samples} == set(range(5))
    assert {one.loop for one in load.samples} == {CLOSED}
    for one in load.samples:
        assert sum(other.sent <= one.sent < other.done for other in load.samples) <= 3


def test_answers_are_matched_to_their_requests() -> None:
    def echo(number: int) -> Reply:
        return Reply(body=b"answer to %d" % number)

    with scripted(echo) as server:
        load = drive(server.port, 0.1, loops=Loops(REQUESTS, 1))
        in_order = sorted(load.samples, key=lambda one: one.sent)
        assert [one.answer.body for one in in_order] == [b"answer to %d" % number for number in range(len(in_order))]
        assert [server.bodies[number] for number in range(5)] == [b"request %d" % one.request for one in in_order[:5]]


def test_errors_and_refusals_are_counted_apart_and_throughput_counts_neither() -> None:
    def script(number: int) -> Reply:
        if number % 4 == 1:
            return Reply(500)
        return Reply(429, headers="Retry-After: 2\r\n") if number % 4 == 2 else Reply()

    with scripted(script) as server:
        load = drive(server.port, 0.2, loops=Loops(REQUESTS, 1))
    total = len(load.due)
    assert total >= 4
    assert load.errors == sum(number % 4 == 1 for number in range(total))
    assert load.count(lambda status: status == REFUSED) == sum(number % 4 == 2 for number in range(total))
    answered = sum(one.answer.status == OK and one.done < load.end for one in load.samples)
    assert answered - 1e-6 <= 0.2 * load.rate <= answered + 1
    assert {one.answer.retry_after for one in load.samples if one.answer.status == REFUSED} == {b"2"}


def test_a_lost_connection_is_an_error_and_the_loop_goes_on_with_another() -> None:
    with scripted(lambda number: Reply(0) if number == 2 else Reply()) as server:
        load = drive(server.port, 0.2, loops=Loops(REQUESTS, 1))
    assert server.connections == 2
    assert load.errors == 1
    assert [one.answer.status for one in load.samples].count(LOST) == 1
    assert len(load.samples) > 3


def test_an_open_loop_sends_on_time_whatever_the_server_does() -> None:
    with scripted(lambda number: Reply(wait_s=0.3 if number == 0 else 0.0)) as server:
        load = drive(server.port, 0.3, arrivals=Arrivals(REQUESTS, rate=100.0))
    assert {one.loop for one in load.samples} == {OPEN}
    slow = [one for one in load.samples if one.latency_ms >= 300]
    assert slow
    assert sum(one.sent < slow[0].done for one in load.samples) > 5  # the others did not wait for it


def test_an_open_loop_counts_a_stall_for_every_request_that_it_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "MOST_CONNECTIONS", 1)
    monkeypatch.setattr(loads, "READY_CONNECTIONS", 1)
    with scripted(lambda number: Reply(wait_s=0.3 if number == 0 else 0.0)) as server:
        load = drive(server.port, 0.6, arrivals=Arrivals(REQUESTS, rate=50.0))
    first = min(load.samples, key=lambda one: one.due)
    delayed = [one for one in load.samples if first.due < one.due < first.done]
    assert len(delayed) > 3
    for one in delayed:
        assert one.sent >= first.done
        assert one.latency_ms >= 1000 * (first.done - one.due)
        assert one.lag_ms >= 1000 * (first.done - one.due)


def test_arrivals_are_the_same_for_a_seed_and_have_the_rate_asked_for() -> None:
    def due(seed: int) -> list[float]:
        return list(loads._schedule(Arrivals(REQUESTS, rate=200.0, seed=seed), 0.0, 50.0))

    assert due(1) == due(1) != due(2)
    assert len(due(1)) == pytest.approx(10_000, rel=0.05)
    assert max(due(1)) < 50.0


def test_requests_before_the_window_and_unsent_ones_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "MOST_CONNECTIONS", 1)
    monkeypatch.setattr(loads, "READY_CONNECTIONS", 1)
    with scripted(lambda _: Reply(wait_s=0.4)) as server:
        load = drive(server.port, 0.2, arrivals=Arrivals(REQUESTS, rate=100.0), settle_s=0.1)
    assert len(server.bodies) == 1  # one connection, held beyond the end: nothing else was ever sent
    assert len(load.samples) == len(loads._schedule(Arrivals(REQUESTS, rate=100.0), 0.0, 0.3))
    assert load.errors == len(load.due)
    [first] = [one for one in load.samples if one.answer.status == OK]
    assert load.rate == pytest.approx(1 / (first.done - first.sent), rel=0.3)  # it lay over the whole window
    assert 0 < len(load.due) < len(load.samples)


def test_both_loops_at_once_are_counted_apart() -> None:
    with scripted(lambda _: Reply(wait_s=0.002)) as server:
        load = drive(server.port, 0.3, loops=Loops(REQUESTS, 1), arrivals=Arrivals(REQUESTS, rate=100.0))
    closed, arrived = load.of(CLOSED), load.of(OPEN)
    assert len(closed.samples) + len(arrived.samples) == len(load.samples) == len(server.bodies)
    assert closed.samples
    assert arrived.samples


def test_large_requests_go_out_whole() -> None:
    body = bytes(8 << 20)
    with scripted(lambda _: Reply(body=body)) as server:
        [answer] = ask_each(server.port, [post("/compare/batch", body)])
    assert server.bodies == [body]
    assert answer.body == body


def test_what_cannot_be_read_is_no_silent_zero() -> None:
    with scripted(lambda _: Reply(0)) as server, pytest.raises(ProtocolError, match="closed"):
        ask_each(server.port, REQUESTS[:1])

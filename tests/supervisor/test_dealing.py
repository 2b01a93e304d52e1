"""Connections go where the fewest are; dead workers are replaced ever more slowly."""

from __future__ import annotations

from app.supervisor.dealing import Backoff, Candidate, Dealer


def deal(dealer: Dealer[str], connections: dict[str, int], ready: set[str], times: int) -> None:
    """Deal so many connections; `connections` counts them as the fleet would."""
    for _ in range(times):
        seats = dealer.order(Candidate(seat, seat in ready, count) for seat, count in connections.items())
        connections[seats[0]] += 1
        dealer.dealt(seats[0])


def test_few_keep_alive_connections_are_spread_evenly() -> None:
    connections = {"a": 0, "b": 0, "c": 0}
    deal(Dealer(), connections, {"a", "b", "c"}, 6)
    assert connections == {"a": 2, "b": 2, "c": 2}


def test_worker_with_the_fewest_gets_all_until_it_has_caught_up() -> None:
    connections = {"a": 5, "b": 0}
    deal(Dealer(), connections, {"a", "b"}, 5)
    assert connections == {"a": 5, "b": 5}


def test_equals_take_turns_even_when_every_connection_is_closed_at_once() -> None:
    dealer: Dealer[str] = Dealer()
    first = []
    for _ in range(6):
        seat = dealer.order([Candidate("a", True, 0), Candidate("b", True, 0), Candidate("c", True, 0)])[0]
        dealer.dealt(seat)
        first.append(seat)
    assert first == ["a", "b", "c", "a", "b", "c"]


def test_worker_that_is_not_ready_gets_none_while_another_is() -> None:
    connections = {"a": 9, "loading": 0}
    deal(Dealer(), connections, {"a"}, 3)
    assert connections == {"a": 12, "loading": 0}


def test_where_none_is_ready_those_with_http_up_get_them() -> None:
    connections = {"a": 0, "b": 0}
    deal(Dealer(), connections, set(), 4)
    assert connections == {"a": 2, "b": 2}


def test_nobody_up_means_nobody_to_try() -> None:
    assert Dealer[str]().order([]) == []


def test_wait_doubles_from_a_tenth_of_a_second_to_ten_seconds() -> None:
    backoff = Backoff()
    waits = [backoff.died(lived_s=1, was_ready=True) for _ in range(9)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_long_life_resets_the_wait() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.died(lived_s=1, was_ready=True)
    assert backoff.died(lived_s=30, was_ready=True) == 0.1


def test_only_deaths_in_a_row_before_ready_count_as_stillborn() -> None:
    backoff = Backoff()
    for _ in range(3):
        backoff.died(lived_s=1, was_ready=False)
    assert backoff.stillborn == 3
    backoff.died(lived_s=1, was_ready=True)
    assert backoff.stillborn == 0

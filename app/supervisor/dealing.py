"""Which worker gets the next connection. Pure: no sockets, no processes, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Seat = TypeVar("Seat")


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Seat]):
    """A worker as dealing sees it: `seat` names it, `ready` is whether its models are loaded."""

    seat: Seat
    ready: bool
    connections: int


class Dealer(Generic[Seat]):
    """Deals to the fewest open connections; among equals, to the one that has waited longest for a deal."""

    def __init__(self) -> None:
        self._deals = 0
        self._last: dict[Seat, int] = {}

    def order(self, candidates: Iterable[Candidate[Seat]]) -> list[Seat]:
        """Return the seats to try, best first: only the ready ones if any is, else all (each has its HTTP up)."""
        everyone = list(candidates)
        eligible = [one for one in everyone if one.ready] or everyone
        return [one.seat for one in sorted(eligible, key=lambda one: (one.connections, self._last.get(one.seat, -1)))]

    def dealt(self, seat: Seat) -> None:
        """Remember that `seat` got a connection."""
        self._deals += 1
        self._last[seat] = self._deals


class Backoff:
    """How long to wait before a dead worker is replaced, and when to stop hoping. One a worker slot.

    The wait doubles from `first_s` up to `most_s`, and starts anew once a worker has lived for `reset_s`.
    """

    def __init__(self, *, first_s: float = 0.1, most_s: float = 10.0, reset_s: float = 30.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._reset_s = reset_s
        self._wait_s = first_s
        self.stillborn = 0
        """Deaths in a row of workers that never became ready."""

    def died(self, *, lived_s: float, was_ready: bool) -> float:
        """Return the seconds to wait before the next start, given how the last one ended."""
        self.stillborn = 0 if was_ready else self.stillborn + 1
        if lived_s >= self._reset_s:
            self._wait_s = self._first_s
        wait_s = self._wait_s
        self._wait_s = min(self._wait_s * 2, self._most_s)
        return wait_s

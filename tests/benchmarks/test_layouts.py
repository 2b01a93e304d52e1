"""The bound plays by its rule: it never holds more requests than there are connections."""

from __future__ import annotations

import pytest

from benchmarks.layouts import MOST_IN_BATCH, SERVICE_THREADS, Layout, Space, search


def tried(space: Space) -> dict[Layout, list[float]]:
    """Every layout that a search looks at, and for how many seconds each time; the order of trying never matters."""
    seen: dict[Layout, list[float]] = {}

    def rate(layout: Layout, seconds: float) -> float:
        seen.setdefault(layout, []).append(seconds)
        return float(hash(layout) % 1000)

    search(space, rate, 0.5)
    return seen


@pytest.mark.parametrize("connections", [1, 2, 3, 4, 16, 64])
@pytest.mark.parametrize("cores", [1, 2, 8])
@pytest.mark.parametrize("items", [1, 2, 128])
def test_no_layout_holds_more_requests_than_there_are_connections(connections: int, cores: int, items: int) -> None:
    for layout in tried(Space(connections, cores, items, sequences=True)):
        assert layout.processes * layout.hand <= connections
        assert layout.processes * layout.threads <= max(cores, 1)
        assert 1 <= layout.cap <= min(layout.hand * items, MOST_IN_BATCH)


def test_a_single_request_has_the_threads_of_the_service() -> None:
    layouts = tried(Space(1, 8, 2, sequences=False))
    assert {(one.processes, one.threads, one.hand) for one in layouts} == {(1, SERVICE_THREADS, 1)}
    assert {one.cap for one in layouts} == {1, 2}


def test_the_search_finds_the_best_of_every_axis_and_tries_the_best_few_for_longer() -> None:
    best = Layout(processes=2, threads=1, hand=4, cap=2, trim=True)
    asked: list[float] = []

    def rate(layout: Layout, seconds: float) -> float:
        asked.append(seconds)
        same = [getattr(layout, name) == getattr(best, name) for name in Layout.__slots__]
        return float(sum(same))

    assert search(Space(16, 2, 2, sequences=True), rate, 0.5) == best
    assert asked.count(1.5) == 4


def test_pictures_are_never_trimmed() -> None:
    assert {one.trim for one in tried(Space(16, 2, 2, sequences=False))} == {False}

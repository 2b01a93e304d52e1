"""Callers that keep a service busy and judge what they get: right, wrong, an honest error, broken off, or nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.serving import picture

PAIRS: tuple[dict[str, Any], ...] = tuple(
    {"a": picture(one, 0), "b": picture(other, 1)} for one, other in ((1, 1), (1, 2), (2, 2), (2, 3), (3, 1))
)
"""Comparisons whose scores are all different, so that an answer to another caller's request is known for what it is."""

SAME_SCORE = 1e-4
"""Scores of one pair differ by less from batch to batch; those of two of the pairs by far more."""


@dataclass
class Tally:
    """What callers got. `broken` is a connection that ended without an answer, which its caller can see at once."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    hung: int = 0
    slowest_s: float = 0.0

    @property
    def asked(self) -> int:
        """Requests that are over, whatever became of them."""
        return self.right + len(self.wrong) + self.errors.total() + self.broken.total() + self.hung

    def judge(self, response: httpx.Response, score: float) -> None:
        """Count one answer to a request whose score is known."""
        if response.status_code != 200:
            self.errors[f"{response.status_code} {problem_code(response)}"] += 1
        elif abs(response.json()["score"] - score) < SAME_SCORE:
            self.right += 1
        else:
            self.wrong.append(response.text)


def problem_code(response: httpx.Response) -> str:
    """The code of problem details; fails where the body is something else."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    return str(response.json()["code"])


def known_scores(url: str) -> list[float]:
    """What the service says to each of PAIRS while nothing is wrong with it."""
    scores = [float(httpx.post(f"{url}/compare", json=pair, timeout=60).json()["score"]) for pair in PAIRS]
    assert all(abs(one - other) > 10 * SAME_SCORE for one in scores for other in scores if one is not other)
    return scores


@contextlib.contextmanager
def kept_busy(
    url: str, scores: Sequence[float], *, callers: int, timeout_s: float, pause_s: float = 0.0
) -> Iterator[Tally]:
    """Ask without end, each caller on a connection of its own, until the context ends; the tally is complete then.

    A request without an answer, or an error, within `timeout_s` counts as hung. A caller waits `pause_s` between two.
    """
    tally, lock, over = Tally(), threading.Lock(), threading.Event()

    def call(first: int) -> None:
        with httpx.Client(base_url=url, timeout=timeout_s) as client:
            number = first
            while not over.is_set():
                number = (number + 1) % len(PAIRS)
                began = time.monotonic()
                answer: httpx.Response | httpx.TransportError
                try:
                    answer = client.post("/compare", json=PAIRS[number])
                except httpx.TransportError as error:
                    answer = error
                with lock:
                    tally.slowest_s = max(tally.slowest_s, time.monotonic() - began)
                    if isinstance(answer, httpx.TimeoutException):
                        tally.hung += 1
                    elif isinstance(answer, httpx.TransportError):
                        tally.broken[type(answer).__name__] += 1
                    else:
                        tally.judge(answer, scores[number])
                if pause_s or isinstance(answer, httpx.TransportError):
                    over.wait(pause_s or 0.05)

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call, first) for first in range(callers)]
        try:
            yield tally
        finally:
            over.set()
    for finished in calls:
        finished.result()

"""What came back from a load, and the numbers that sum it up. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmarks.wire import Answer

OK, REFUSED = 200, 429


@dataclass(frozen=True, slots=True)
class Sample:
    """One request of a loop: which of its requests, when it was due, sent and answered, in seconds of one clock."""

    loop: str
    request: int
    due: float
    sent: float
    done: float
    answer: Answer

    @property
    def latency_ms(self) -> float:
        """From the time it was due to the last byte of its answer."""
        return 1000 * (self.done - self.due)

    @property
    def lag_ms(self) -> float:
        """How much later than due it was sent: for want of CPU, or of a connection."""
        return 1000 * (self.sent - self.due)


@dataclass(frozen=True)
class Load:
    """Every sample, the window that counts, and the share of one CPU that sending took in it.

    Latencies and errors are of the requests that were due in the window, so that those under way at its end are not
    left out for being slow.
    """

    samples: Sequence[Sample]
    begin: float
    end: float
    cpu_share: float

    def of(self, loop: str) -> Load:
        """One of its loops alone."""
        return Load([one for one in self.samples if one.loop == loop], self.begin, self.end, self.cpu_share)

    @cached_property
    def due(self) -> list[Sample]:
        """The samples that were due in the window."""
        return [one for one in self.samples if self.begin <= one.due < self.end]

    @property
    def rate(self) -> float:
        """Requests answered 200 a second: each counts by the share of its time that lies in the window.

        Whole answers in the window would do for small requests; of large ones only a few fit, and one more or less at
        an edge would be many percent.
        """
        answered = (one for one in self.samples if one.answer.status == OK)
        return sum(map(self._inside, answered)) / (self.end - self.begin)

    def _inside(self, one: Sample) -> float:
        overlap = min(one.done, self.end) - max(one.sent, self.begin)
        return max(0.0, overlap) / max(one.done - one.sent, 1e-9)

    def latencies_ms(self, status: int = OK) -> npt.NDArray[np.float64]:
        """Latencies of requests that were answered so."""
        return np.array([one.latency_ms for one in self.due if one.answer.status == status])

    def lags_ms(self) -> npt.NDArray[np.float64]:
        """How late requests were sent."""
        return np.array([one.lag_ms for one in self.due])

    def count(self, test: Callable[[int], bool]) -> int:
        """Requests whose status passes the test."""
        return sum(test(one.answer.status) for one in self.due)

    @property
    def errors(self) -> int:
        """Requests that were neither answered 200 nor refused with 429, lost ones among them."""
        return self.count(lambda status: status not in (OK, REFUSED))


def percentile(values: npt.NDArray[np.float64], share: float) -> float | None:
    """The smallest value that at least `share` percent do not exceed; None of none."""
    return float(np.percentile(values, share, method="inverted_cdf")) if len(values) else None

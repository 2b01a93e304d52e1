"""One batch's way through a model: prepared where that is still to do, embedded, and looked at. No queue, no HTTP.

To prepare small items here, together with the run that they are for, costs one hand-over a batch instead of one an
item, and leaves the event loop free to answer others.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.bundle import Bundle
from app.core.errors import Internal, TooLarge, TwinserveError
from app.core.evidence import outside
from app.core.modalities.base import Item, Limits, Prepared, Window
from app.core.observe import Observer
from app.runtime.encoder import Encoder
from app.runtime.queue import Deferred
from app.runtime.runs import Speed, Trimming, alike_that_fit, first_that_fit

logger = logging.getLogger(__name__)

ROUNDING = 1e-9
Work = Item | Prepared
"""What waits for a batch: an item as it came, which is small, or one that was prepared beforehand."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """An embedding float32 (d,), whether its item is unlike those measured, and the codes of what was done to it.

    `preparation_s`: the seconds in which its batch prepared its items, of those that the whole batch took.
    """

    vector: npt.NDArray[np.float32]
    outside: bool
    notices: tuple[str, ...]
    preparation_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Engine:
    """A model as batches use it. Thread-safe.

    `limits` bound what a batch prepares itself, `batch_s` the seconds that its runs may take together, told from the
    `speeds` of buckets. With `trimming` padding is cut to the longest of a run.
    """

    bundle: Bundle
    encoder: Encoder
    limits: Limits
    speeds: Mapping[Hashable, Speed]
    batch_s: float
    observer: Observer
    trimming: Trimming | None = None

    def run(self, batch: Sequence[Work]) -> list[Encoded | TwinserveError | Deferred[Work]]:
        """Embed as many items of a batch as its time allows, the first always; the others are deferred.

        How long an item takes is known only once it is prepared: of texts, its number of tokens. An item's own failure
        is its outcome. Raises Internal where a run fails, which may be any one item's fault.
        """
        began = time.perf_counter()
        prepared = [one if isinstance(one, Prepared) else self.prepare(one, self.limits) for one in batch]
        preparation_s = time.perf_counter() - began
        good = [one for one in prepared if isinstance(one, Prepared)]
        chosen = self._choose(good)
        encoded = self._encode([good[place] for place in chosen], preparation_s) if good else []
        embedded = dict(zip(chosen, encoded, strict=True))
        places = itertools.count()
        return [
            one if isinstance(one, TwinserveError) else embedded.get(next(places)) or Deferred(one) for one in prepared
        ]

    def _choose(self, items: Sequence[Prepared]) -> Sequence[int]:
        """Places of the items that fit into a batch's time: the first, and with trimming those like them."""
        limit_s = self.batch_s * (1 + ROUNDING)
        seconds = [sum(map(self._seconds, item.windows)) for item in items]
        if self.trimming is None:
            return range(first_that_fit(seconds, limit_s))
        length = self.trimming.modality.length
        return alike_that_fit(seconds, [max(map(length, item.windows)) for item in items], limit_s)

    def _seconds(self, window: Window) -> float:
        bucket = self.encoder.modality.bucket(window)
        share = 1.0 if self.trimming is None else self.trimming.modality.length(window) / self.trimming.full[bucket]
        return self.speeds[bucket].seconds * share

    def prepare(self, item: Item, limits: Limits) -> Prepared | TwinserveError:
        """Decode and prepare one item. A failure is an outcome, so that its neighbours go on."""
        began = time.perf_counter()
        try:
            return self.encoder.prepare(item, limits)
        except TwinserveError as error:
            return error
        except MemoryError:
            return TooLarge("the item takes more memory to unpack than the service has to spare: send a smaller one")
        except Exception:
            logger.exception("an item failed in preparation")
            return Internal("the service failed on this item; other items are not affected")
        finally:
            self.observer.prepared(self.bundle.key, time.perf_counter() - began)

    def _encode(self, items: Sequence[Prepared], preparation_s: float) -> list[Encoded]:
        largest = {bucket: one.largest for bucket, one in self.speeds.items()}
        cut = None if self.trimming is None else self.trimming.cut
        rows = self.encoder.embed_prepared(items, largest=largest, cut=cut)
        calibration = self.bundle.calibration
        beyond = np.zeros(len(items), dtype=bool)
        if calibration is not None:
            beyond = outside(calibration.applicability, rows)
            if calibration.input_applicability is not None:
                summaries = np.stack([self.encoder.summarize(item) for item in items])
                beyond |= outside(calibration.input_applicability, summaries)
        return [
            Encoded(row, far, item.notices, preparation_s)
            for row, far, item in zip(rows, beyond.tolist(), items, strict=True)
        ]

"""Drawing who is held out, where a set's independent sources are people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_export.errors import CommandError

Numbers = npt.NDArray[np.int64]


def draw_people(people: Numbers, held_out: int, validation: int, seed: int) -> tuple[Numbers, Numbers, Numbers]:
    """(training, validation, held out): distinct numbers of people, drawn. Raises CommandError for too few people."""
    drawn = np.random.default_rng(seed).permutation(np.unique(people))
    if len(drawn) < held_out + validation + 2:
        raise CommandError(f"data.held_out: the set has {len(drawn)} people, and two at least must train")
    return drawn[held_out + validation :], drawn[held_out : held_out + validation], drawn[:held_out]

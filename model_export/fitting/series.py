"""How one's own series are prepared, and the small network for them: as in recipes/heartbeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item
from model_export.errors import CommandError
from model_export.fitting.small import Small, some

LONGEST, FEWEST, AVERAGED = 2048, 8, 512
"""Steps of a window, at most; of a series, at least; and of a window that are not averaged four by four."""
WINDOWS = 16


def look(items: Sequence[Item]) -> Small:
    """Raises CommandError for series without numbers, or of several numbers of channels."""
    seen = [_numbers(item) for item in some(items)]
    channels = {values.shape[1] for values in seen}
    if len(channels) > 1:
        raise CommandError(f"the series have {', '.join(map(str, sorted(channels)))} channels; all must have as many")
    rates = [item.get("rate") for item in some(items)]
    lengths = [len(values) for values in seen]
    window = int(min(LONGEST, max(FEWEST, np.quantile(lengths, 0.95))))
    params: dict[str, Any] = {
        "channels": [{"name": f"channel {at + 1}", "unit": "not stated"} for at in range(channels.pop())],
        **_rate(rates),
        "min_steps": max(2, min(FEWEST, *lengths)),
        "max_steps": WINDOWS * max(window, *lengths),
        "ladder": sorted({max(2, window // 4), max(2, window // 2), window}),
        "long": "window",
        "window_steps": window,
        "hop_steps": max(1, window // 2),
        **_gaps(seen),
        **_normalisation(seen),
    }
    averaged = 4 if window >= AVERAGED else 1
    several, timed = len(params["channels"]) > 1, f"{params['rate']:g} Hz" if "rate" in params else "untimed"
    return Small(
        seen=f"{len(params['channels'])} channels, {int(np.median(lengths))} steps, {timed} (medians of {len(seen)} "
        "looked at)",
        params=params,
        encoder={
            "name": "convolutional_1d",
            "every": averaged,
            "filters": 64,
            "blocks": int(np.clip(np.log2(window / averaged / 4), 1, 5)),
            "kernel": 9 if window >= AVERAGED else 5,
            "dropout": 0.1,
            "dimension": 128,
        },
        augmentation={"kind": "sequence", "stretch": 0.05, "gain": 0.2, "noise": 0.1, "hide_steps": 0.2}
        | ({"hide_bands": 0.2} if several else {}),
    )


def _numbers(item: Item) -> npt.NDArray[np.float64]:
    """The values, steps x channels, NaN for a gap."""
    try:
        values = np.array(item["values"], np.float64)
    except (ValueError, TypeError) as error:
        raise CommandError(f"values are steps x channels of numbers, as many in each step: {error}") from error
    if values.ndim != 2 or not values.size:
        raise CommandError("values are steps x channels of numbers, [[...], ...]")
    return values


def _rate(rates: Sequence[Any]) -> dict[str, Any]:
    """Untimed where no series has a rate; else that of most, and others are brought to it."""
    timed = [float(rate) for rate in rates if rate is not None]
    if not timed:
        return {}
    rate = float(np.median(timed))
    low, high = min(rate / 2, *timed), max(4 * rate, *timed)
    return {"rate": rate, "resample": "soxr_hq", "min_rate": max(low, rate / 16), "max_rate": min(high, 16 * rate)}


def _gaps(seen: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Gaps are filled where there are some, up to the longest seen."""
    longest = max(_longest_gap(np.asarray(np.isnan(values).any(axis=1))) for values in seen)
    return {"gaps": "interpolate", "max_gap": longest} if longest else {"gaps": "refuse"}


def _longest_gap(missing: npt.NDArray[np.bool_]) -> int:
    """Length of the longest run of True in (steps,)."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]])))
    return int((ends[1::2] - ends[::2]).max(initial=0))


def _normalisation(seen: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Each by itself, but where a channel may rest: then by numbers of all those looked at."""
    if all((np.nanstd(values, axis=0) > 0).all() for values in seen):
        return {"normalisation": "per_item"}
    rows = np.concatenate(seen)
    spread = np.nanstd(rows, axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    return {"normalisation": "declared", "mean": np.nanmean(rows, axis=0).tolist(), "scale": scale.tolist()}

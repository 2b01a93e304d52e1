"""How one's own sounds are prepared, and the small network for them: as in recipes/digits, at the sounds' own rate."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import soundfile

from app.core.modalities.base import Item
from model_export.errors import CommandError
from model_export.fitting.small import Small, some

MOST_RATE, LONGEST_S, SHORTEST_S = 16_000, 8.0, 0.1
MELS = 40


def look(items: Sequence[Item]) -> Small:
    """Raises CommandError where none of those looked at can be opened."""
    rates, seconds = [], []
    for item in some(items):
        try:
            info = soundfile.info(BytesIO(item["bytes"]))
        except (soundfile.LibsndfileError, RuntimeError):
            continue  # the search for copies tells of it, with its name
        rates.append(int(info.samplerate))
        seconds.append(float(info.duration))
    if not rates:
        raise CommandError("of the sounds looked at none can be opened")
    rate = min(MOST_RATE, int(np.median(rates)))
    longest = float(np.clip(np.ceil(20 * np.quantile(seconds, 0.95)) / 20, 4 * SHORTEST_S, LONGEST_S))
    window = {"policy": "window", "window_seconds": longest, "hop_seconds": longest / 2}
    return Small(
        seen=f"{np.median(rates):g} Hz, {np.median(seconds):.2g} seconds (medians of {len(rates)} looked at)",
        params={
            "rate": rate,
            "mixdown": "mean",
            "resampler": "soxr_hq",
            "trim": 35.0,
            "min_seconds": SHORTEST_S,
            "max_seconds": longest,
            "long": window,
            "ladder_seconds": [longest / 4, longest / 2, longest],
            "silence_db": -60.0,
            "clipping_share": 0.05,
            "features": {
                "kind": "log_mel",
                "n_fft": 1 << int(np.ceil(np.log2(0.032 * rate))),
                "win_length": rate // 40,
                "hop_length": rate // 100,
                "n_mels": MELS,
                "fmin": 60.0,
                "fmax": 0.475 * rate,
                "floor": 1e-6,
                "mel_scale": "htk",
                "normalise": "per_item_mean",
            },
        },
        encoder={
            "name": "convolutional_1d",
            "filters": 96,
            "blocks": 4,
            "kernel": 3,
            "dropout": 0.2,
            "dimension": 64,
        },
        augmentation={
            "kind": "sequence",
            "stretch": 0.1,
            "gain": 0.5,
            "noise": 0.5,
            "hide_steps": 0.2,
            "hide_bands": 0.2,
        },
    )

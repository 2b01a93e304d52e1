"""Series as small plots: a line a channel, each scaled to its own range."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item

WIDTH, HEIGHT = 240, 70
MOST_CHANNELS, POINTS = 3, 240


def show(item: Item) -> str:
    """The first three channels as SVG; missing values leave gaps' ends joined."""
    values = np.array(item["values"], np.float64)
    return draw_lines([values[:, channel] for channel in range(min(values.shape[1], MOST_CHANNELS))])


def draw_lines(channels: list[npt.NDArray[np.float64]]) -> str:
    """SVG of one line a channel, each from the left to the right edge and scaled to its own range."""
    lines = []
    for values in channels:
        known = values[~np.isnan(values)]
        if not len(known):
            continue
        steps = np.linspace(0, len(known) - 1, min(len(known), POINTS)).astype(np.int64)
        low, high = float(known.min()), float(known.max())
        y = HEIGHT - 2 - (known[steps] - low) / ((high - low) or 1.0) * (HEIGHT - 4)
        x = np.linspace(0, WIDTH, len(steps))
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(f"<polyline points='{path}'/>")
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}'>{''.join(lines)}</svg>"

"""Light and exposure taken out of pictures of ink on paper: the paper becomes white and the ink black."""

from __future__ import annotations

import numpy as np
from PIL import Image

INK_SHARE = 0.002
"""The share of pixels that are at least as dark as what counts as ink, so that a few dark specks do not."""
NOISE_WIDTHS = 2
"""Median absolute deviations below the median that still count as paper, so that its grain becomes white too."""


def whiten_paper(picture: Image.Image, least: int) -> Image.Image:
    """Map mode L linearly so that paper is 255 and ink 0, and clip.

    Paper is the median level less NOISE_WIDTHS median absolute deviations, since most of such a picture is paper; ink
    the level below which INK_SHARE of the pixels lie, or the darkest where that is paper. Where the two are fewer than
    `least` levels apart the picture is left as it is: blank paper, whose grain must not become ink, and light strokes
    on a dark ground. Black ink on white paper, without noise, stays bit for bit what it was.
    """
    counts = np.array(picture.histogram(), dtype=np.int64)
    levels = np.arange(256)
    median = _quantile(counts, 0.5)
    deviation = _quantile(np.bincount(np.abs(levels - median), weights=counts, minlength=256), 0.5)
    paper, ink = median - NOISE_WIDTHS * deviation, _quantile(counts, INK_SHARE)
    if ink >= paper:
        ink = int(np.flatnonzero(counts)[0])
    if paper - ink < least:
        return picture
    table = np.clip(np.round((levels - ink) * 255.0 / (paper - ink)), 0, 255).astype(np.uint8)
    return picture.point(table.tolist())


def _quantile(counts: np.ndarray[tuple[int], np.dtype[np.int64]], share: float) -> int:
    """The lowest level with at least `share` of the counts at or below it."""
    return int(np.searchsorted(np.cumsum(counts), share * counts.sum()))

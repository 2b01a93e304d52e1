"""Light and exposure taken out of pictures of ink on paper: the paper becomes white and the ink black."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

INK_SHARE = 0.002
"""The share of pixels that are at least as dark as what counts as ink, so that a few dark specks do not."""
NOISE_WIDTHS = 2
"""Median absolute deviations below the median that still count as paper, so that its grain becomes white too."""
LEVELS = np.arange(256)


def whiten_paper(picture: Image.Image, least: int) -> Image.Image:
    """Map mode L linearly so that paper is 255 and ink 0, and clip.

    Paper is the median level less NOISE_WIDTHS median absolute deviations, since most of such a picture is paper; ink
    the level below which INK_SHARE of the pixels lie, or the darkest where that is paper. Where the two are fewer than
    `least` levels apart the picture is left as it is: blank paper, whose grain must not become ink, and light strokes
    on a dark ground. Black ink on white paper, without noise, stays bit for bit what it was.
    """
    counts = np.array(picture.histogram(), dtype=np.int64)
    cumulative = counts.cumsum()
    median = _quantile(cumulative, 0.5)
    deviations = np.bincount(np.abs(LEVELS - median), weights=counts, minlength=256)
    paper, ink = median - NOISE_WIDTHS * _quantile(deviations.cumsum(), 0.5), _quantile(cumulative, INK_SHARE)
    if ink >= paper:
        ink = int(np.flatnonzero(counts)[0])
    if paper - ink < least:
        return picture
    table = ((LEVELS - ink) * 255.0 / (paper - ink)).round().clip(0, 255).astype(np.uint8)
    return picture.point(table.tolist())


def _quantile(cumulative: npt.NDArray[np.int64] | npt.NDArray[np.float64], share: float) -> int:
    """The lowest level with at least `share` of all counts at or below it, from how many are there up to each level."""
    return int(cumulative.searchsorted(share * cumulative[-1]))

"""Which pairs to ask a person about: those whose answers narrow FNMR most, as far as one can tell beforehand.

The first questions are spread over all ranks, an equal number to each doubling, and more of them around the rank down
to which scores stand out, where matches are about to give way. Later ones go where the answers so far leave FNMR most
in doubt: one after the other is drawn from the cells in proportion to how much it would take off the variance of FNMR
(the change of a covariance by one observation; Chaloner & Verdinelli 1995, "Bayesian experimental design"). Within a
cell, pairs are drawn by lot, so that the probability of being asked is known.
"""

from __future__ import annotations

import numpy as np

from model_export.unlabelled.curve import Answers, Curve, fit_curve
from model_export.unlabelled.frame import Float64, Frame, Integers
from model_export.unlabelled.hidden import count_standing_out

LEVELS = (1e-1, 1e-2, 1e-3)
"""Shares of all pairs that lie above the thresholds at which FNMR shall be known."""
MOST_FNMR = 0.2
"""As in app.core.evidence.points: the strictest level with an FNMR of at most that will be the default."""
ASIDE = 0.25
"""How much the variance at the other levels counts beside that at the coming default."""
STANDING_OUT = 0.4
"""The share of first questions around the rank down to which scores stand out,"""
AROUND = (1 / 3, 20)
"""and from where to where, in multiples of that rank."""
FEWEST_STANDING_OUT = 10


def first_questions(frame: Frame, count: int, rng: np.random.Generator) -> Integers:
    """Places of the pairs (count,) to ask first, of a frame that holds so many at least."""
    outstanding = count_standing_out(frame.score)
    around = round(STANDING_OUT * count) if outstanding >= FEWEST_STANDING_OUT else 0
    start = 0.2 * frame.items  # a person who knows the best matches of an item knows little more than before
    ranks = _ladder(start, len(frame) + start, count - around, rng) - start
    if around:
        low, high = (outstanding * limit for limit in AROUND)
        ranks = np.concatenate([ranks, _ladder(low, min(high, len(frame)), around, rng)])
    turns = np.arange(count)
    apart = np.maximum.accumulate(np.sort(ranks.astype(np.int64)) - turns) + turns  # each pair once
    return rng.permutation(np.clip(apart, turns, len(frame) - count + turns))


def next_questions(frame: Frame, asked: Integers, answers: Answers, count: int, rng: np.random.Generator) -> Integers:
    """Places of the pairs (count,) to ask after those at `asked`; `answers` are what is known. So many must be left."""
    curve = fit_curve(frame, answers)
    slopes, weights = _doubts(frame, curve)
    directions = slopes * np.sqrt(weights)[:, np.newaxis]
    information = curve.chance * (1.0 - curve.chance)
    gradient = curve.gradient
    moved = gradient @ curve.covariance
    free = frame.count - np.bincount(frame.cell[asked], minlength=len(frame.count))
    cells = np.empty(count, np.int64)
    for turn in range(count):
        spread = 1.0 + information * (moved * gradient).sum(axis=1)
        gain = np.square(moved @ directions.T).sum(axis=1) * information / spread * (free > 0)
        cell = cells[turn] = rng.choice(len(gain), p=gain / gain.sum())
        free[cell] -= 1
        moved = moved - np.outer(gradient @ moved[cell], moved[cell]) * (information[cell] / spread[cell])
    order, starts = frame.by_cell
    chosen = []
    for cell, wanted in zip(*np.unique(cells, return_counts=True), strict=True):
        left = np.setdiff1d(order[starts[cell] : starts[cell + 1]], asked)
        chosen.append(rng.permutation(left)[:wanted])
    return rng.permutation(np.concatenate(chosen))


def _ladder(low: float, high: float, count: int, rng: np.random.Generator) -> Float64:
    """Numbers from low to high, equally many in each doubling."""
    places = (np.arange(count) + rng.random(count)) / max(count, 1)
    start = np.log(max(low, 1.0))
    return np.asarray(np.exp(start + places * (np.log(high) - start)))


def _doubts(frame: Frame, curve: Curve) -> tuple[Float64, Float64]:
    """How FNMR at each level changes with the parameters (levels, parameters), and how much each counts (levels,)."""
    chance = curve.chance
    expected = frame.count * chance
    change = (frame.count * chance * (1.0 - chance))[:, np.newaxis] * curve.gradient
    total, total_change = expected.sum(), change.sum(axis=0)
    below = frame.middle[frame.bin] > np.array(LEVELS)[:, np.newaxis]
    missed = below @ expected
    slopes = ((below @ change) * total - np.outer(missed, total_change)) / total**2
    good = np.flatnonzero(missed / total <= MOST_FNMR)
    weights = np.full(len(LEVELS), ASIDE)
    weights[good.max() if len(good) else 0] = 1.0
    return slopes, weights

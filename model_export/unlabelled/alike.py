"""Items that look alike, grouped without a label, and the bounds of FMR under draws of whole groups.

The bootstrap takes what it draws for independent. Ten photographs of one person are not, and who is on which nobody
said; but they look alike, more or less. So items are put into groups large enough that most things, and things that
look like one another, fall into one of them whole, and it is groups that are drawn: a pair of two groups weighs
w_a w_b, and one inside a group w_a. What is left apart of a thing only adds to the spread of a group's scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import cut_tree, linkage

from app.core.evidence import Calibration, ImpostorCurve, Units
from app.core.evidence.binning import Binned
from app.core.evidence.bounds import Bounded, bound_fmr
from app.core.evidence.calibration import ImpostorType
from app.core.evidence.estimate import Estimate
from app.core.evidence.resampling import draw_weights, resample
from app.core.scoring import Float32
from model_export.unlabelled.frame import Frame, Integers

GROUP_ITEMS = 20
"""Items of a group, on average. By trial on labelled sets: of 10 items they hold a thing each, and bounds fail."""
FEWEST_GROUPS = 7
"""Fewer, and Student's t makes the bound so wide that nothing can be claimed."""


@dataclass(frozen=True)
class RandomPairs:
    """Random pairs: their type and FMR as the bootstrap of units found it, and its bounds where items that look alike
    are drawn together, at the same knots.
    """

    kind: ImpostorType
    curve: ImpostorCurve
    together: Bounded


def group_alike(frame: Frame, unit: Integers) -> Integers:
    """The group of each item (items,), numbered from 0: complete linkage of scores, in which a unit stays together.

    unit: that of each item, (items,). Units known to have several items vary as one already, so that there are as many
    groups as such units at least; and no more than units.
    """
    sizes = np.unique(unit, return_counts=True)[1]
    groups = min(max(FEWEST_GROUPS, round(frame.items / GROUP_ITEMS), int((sizes > 1).sum())), len(sizes))
    first = frame.first.astype(np.int64)
    place = first * frame.items - first * (first + 1) // 2 + frame.second - first - 1
    distance = np.zeros(frame.items * (frame.items - 1) // 2)  # of pairs inside a unit, which no frame holds
    distance[place] = 1.0 + float(frame.score[0]) - frame.score
    return np.asarray(cut_tree(linkage(distance, "complete"), groups)[:, 0], np.int64)


def draw_together(known: Calibration | Estimate, frame: Frame, unit: Integers) -> RandomPairs:
    """What is `known` of random pairs, its only type, with the bounds of FMR of all pairs of the frame where groups of
    alike items are drawn; unit: that of each item, (items,). Where each unit is a group, they are what is known.
    """
    (kind,), (curve,), bootstrap = known.impostors, known.impostor_curves, known.bootstrap
    group = group_alike(frame, unit)
    groups = int(group.max()) + 1
    if groups == len(np.unique(unit)):
        value, low, high = (np.array(side) for side in (curve.value, curve.low, curve.high))
        return RandomPairs(kind, curve, Bounded(value, low, high, 0.0))
    binned = _bin_by_group(frame, group, np.array(curve.thresholds, np.float32))
    sampled = resample(binned, draw_weights(Units(groups), bootstrap.draws, bootstrap.seed))
    return RandomPairs(kind, curve, bound_fmr(sampled))


def _bin_by_group(frame: Frame, group: Integers, knots: Float32) -> Binned:
    """A row for every two groups, and for each alone, that weighs as much as it has pairs."""
    groups, width = int(group.max()) + 1, len(knots) + 1
    ends = np.sort(np.stack([group[frame.first], group[frame.second]]), axis=0)
    keys, row = np.unique(ends[0] * groups + ends[1], return_inverse=True)
    place = np.searchsorted(knots, frame.score, side="right")
    held = np.bincount(row * width + place, minlength=len(keys) * width).reshape(-1, width)
    pairs = held.sum(axis=1)
    return Binned(
        knots=knots,
        members=np.stack([keys // groups, keys % groups], axis=1),
        shares=(held / pairs[:, np.newaxis]).astype(np.float32),
        centre=np.zeros(width),
        weight=pairs.astype(np.float64),
        rows=len(frame),
    )

"""Bootstrap by sampling unit: random unit weights, and binned scores summed under them. No bounds.

A draw gives unit i the multinomial weight w_i; a genuine row weighs w_i and a pair of two units w_i w_j, i != j (Owen
2007, "The pigeonhole bootstrap", which shows it to be conservative for the pairs' own noise). Where units come in
groups, groups are drawn first, then units inside each drawn copy; an impostor pair inside a group weighs the sum of
w_i w_j over the copies of its group, since two copies stand for two groups. Genuine rates and pairs across groups use
the units' weights summed over copies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.evidence.binning import Binned, Float64
from app.core.evidence.samples import Integers, Units
from app.core.scoring import Float32

_CHUNK_CELLS = 1 << 23
_CHUNK_DRAWS = 100
_RULE_OF_THREE = 3


@dataclass(frozen=True, slots=True)
class _Copies:
    """Drawn copies of one group: the draw of each copy (c,), ascending, and the weights of its units (c, size)."""

    members: Integers
    draw: Integers
    weights: Float32


@dataclass(frozen=True, slots=True)
class Draws:
    """Unit weights of every draw, float32 (draws, units), and the drawn copies of groups where there are any."""

    weights: Float32
    group: Integers | None
    copies: tuple[_Copies, ...]


@dataclass(frozen=True, slots=True)
class Resampled:
    """Shares by bin of a sample (bins,) and of each draw (draws, bins).

    rows: P, or units with a genuine pair; clusters: how many units (groups, where there are any) they come from;
    noise: the variance that independent rows would show over the draws, in units of their true variance; drawn: which
    of all draws gave the sample any weight, (all draws,), those of `draws` in order.
    """

    knots: Float32
    point: Float64
    draws: Float64
    rows: int
    clusters: int
    noise: float
    drawn: npt.NDArray[np.bool_]


def draw_weights(units: Units, draws: int, seed: int) -> Draws:
    """Draw unit weights. The same seed gives the same draws, so that all thresholds and types share them.

    Raises ValueError for fewer than two groups.
    """
    rng = np.random.default_rng(seed)
    if units.group is None:
        alone: Float32 = np.empty((draws, units.count), dtype=np.float32)
        for start in range(0, draws, _CHUNK_DRAWS):  # in parts, because a draw's integers take twice the memory
            size = min(_CHUNK_DRAWS, draws - start)
            drawn = rng.multinomial(units.count, np.full(units.count, 1.0 / units.count), size=size)
            alone[start : start + size] = drawn.astype(np.float32)
        return Draws(alone, None, ())
    names, group = np.unique(units.group, return_inverse=True)
    if len(names) < 2:
        raise ValueError("units in groups need at least two groups; leave group out if there is only one")
    groups = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=draws)
    total = np.zeros((draws, units.count), dtype=np.float32)
    copies = []
    for name in range(len(names)):
        members = np.flatnonzero(group == name)
        draw = np.repeat(np.arange(draws), groups[:, name])
        weights = rng.multinomial(len(members), np.full(len(members), 1.0 / len(members)), size=len(draw))
        one = _Copies(members, draw, weights.astype(np.float32))
        total[:, members] = _sum_equal(one.weights, draw, draws)
        copies.append(one)
    return Draws(total, group, tuple(copies))


def resample(binned: Binned, draws: Draws, *, within_groups: bool = False) -> Resampled:
    """Sum binned scores under every draw.

    Draws that give no row any weight say nothing and are left out. Raises ValueError where that is most of them, unless
    there are so few rows (3) that every bound is 0 or 1 whatever is drawn; and where `within_groups` is asked of pairs
    that cross groups.
    """
    if within_groups and draws.group is None:
        raise ValueError("pairs within groups need the groups of their units")
    single = bool((binned.shares.max(axis=1) == 1.0).all())  # one item a unit: adding up is far less than a product
    places = binned.shares.argmax(axis=1)
    order = np.argsort(places, kind="stable") if single else np.arange(len(places))
    ordered = replace(binned, members=binned.members[order])
    base = binned.weight[order].astype(np.float32)
    sums: list[npt.NDArray[np.floating[Any]]] = []
    totals, squares = [], []
    step = max(1, _CHUNK_CELLS // len(binned.members))
    for start in range(0, len(draws.weights), step):
        part = slice(start, min(start + step, len(draws.weights)))
        weights = _row_weights(ordered, draws, part, within_groups) * base
        sums.append(
            _sum_equal(weights.T, places[order], binned.shares.shape[1]).T if single else weights @ binned.shares
        )
        totals.append(weights.sum(axis=1, dtype=np.float64))
        squares.append(np.einsum("ij,ij->i", weights, weights, dtype=np.float64))
    total, square = np.concatenate(totals), np.concatenate(squares)
    seen = total > 0
    if not seen.any() or (binned.rows > _RULE_OF_THREE and seen.sum() < len(seen) / 2):
        raise ValueError("too few units to resample: most draws hold none of the compared pairs")
    total = total[seen]
    independent = float(np.square(binned.weight).sum() / np.square(binned.weight.sum()))
    shares = np.concatenate(sums)[seen].astype(np.float64)
    return Resampled(
        knots=binned.knots,
        point=binned.weight @ binned.shares.astype(np.float64) / binned.weight.sum(),
        draws=shares / shares.sum(axis=1, keepdims=True),
        rows=binned.rows,
        clusters=_clusters(binned.members, draws.group),
        noise=float((square[seen] / np.square(total)).mean() / independent - 1.0),
        drawn=seen,
    )


def _row_weights(binned: Binned, draws: Draws, part: slice, within_groups: bool) -> Float32:
    """The weight of each row in each draw of the part: float32 (draws, rows)."""
    if binned.members.shape[1] == 1:
        return draws.weights[part][:, binned.members[:, 0]]
    drawn_units = draws.weights[part]
    weights = drawn_units[:, binned.members[:, 0]] * drawn_units[:, binned.members[:, 1]]
    one_unit = binned.members[:, 0] == binned.members[:, 1]  # only genuine rows
    weights[:, one_unit] = drawn_units[:, binned.members[one_unit, 0]]
    if draws.group is None:
        return weights
    a, b = draws.group[binned.members].T
    if within_groups and (a != b).any():
        raise ValueError("pairs within groups must not cross them")
    size = part.stop - part.start
    local = np.zeros(len(draws.group), dtype=np.int64)
    for name, one in enumerate(draws.copies):
        local[one.members] = np.arange(len(one.members))
        columns = np.flatnonzero((a == name) & (b == name) & ~one_unit)
        i, j = local[binned.members[columns]].T
        drawn = slice(*np.searchsorted(one.draw, [part.start, part.stop]))
        copies = one.weights[drawn]
        weights[:, columns] = _sum_equal(copies[:, i] * copies[:, j], one.draw[drawn] - part.start, size)
    return weights


def _sum_equal(rows: Float32, number: Integers, count: int) -> Float32:
    """Sum rows (m, n) of equal number, which ascends and is below `count`: float32 (count, n)."""
    total = np.zeros((count, rows.shape[1]), dtype=np.float32)
    if len(number):
        present, starts = np.unique(number, return_index=True)
        total[present] = np.add.reduceat(rows, starts, axis=0)
    return total


def _clusters(members: Integers, group: Integers | None) -> int:
    return len(np.unique(members if group is None else group[members]))

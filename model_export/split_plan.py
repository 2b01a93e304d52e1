"""The plan of a split in words: what is in each part, and the lowest rate that so many units could show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array

from model_export.datasets import LabelledItems, Splits

LOWEST = (1e-4, 1e-3, 1e-2, 1e-1)


def plan_lines(splits: Splits, *, hard: bool) -> Iterator[str]:
    """A line a part. `hard`: other identities of one group are measured as impostors of their own."""
    yield f"{'part':12} {'units':>7} {'identities':>11} {'items':>8}  lowest FMR it could show"
    for name, items in splits.parts().items():
        if splits.frozen and name in ("training", "validation"):
            continue
        units, identities = (len(np.unique(values)) for values in (items.unit, items.identity))
        could = "" if name in ("training", "validation") else "; ".join(_could_show(items, hard))
        yield f"{name:12} {units:>7} {identities:>11} {len(items):>8}  {could}".rstrip()
    if splits.test is None:
        yield "one pool is held out; verification is cross-fitted inside it"


def _could_show(items: LabelledItems, hard: bool) -> Iterator[str]:
    """By impostor type: the lowest FMR, 3 / P, among the named ones. Design, section 3."""
    units = len(np.unique(items.unit))
    pairs = {"random": units * (units - 1) // 2}
    if hard:
        pairs["hard"] = _sharing_a_group(items)
    if items.pairs is not None:
        for kind in items.pairs.words:
            chosen = ~items.pairs.label & (items.pairs.kind == kind)
            ends = np.sort([items.unit[items.pairs.a[chosen]], items.unit[items.pairs.b[chosen]]], axis=0)
            pairs[kind] = len(np.unique(ends, axis=1).T)
    for kind, count in pairs.items():
        yield f"{kind} {lowest_fmr(count)} ({count} pairs of units)"


def lowest_fmr(pairs: int) -> str:
    """The lowest named FMR that so many pairs of units could show, as text."""
    return next((f"{rate:.0e}" for rate in LOWEST if pairs and 3 / pairs <= rate), "none")


def _sharing_a_group(items: LabelledItems) -> int:
    """How many pairs of units have items in one group; in several they count once."""
    unit, group = (np.unique(values, return_inverse=True)[1] for values in (items.unit, items.group))
    own = coo_array((np.ones(len(unit), np.int64), (unit, group))).tocsr()
    together = (own @ own.T).tocoo()
    return int((together.row < together.col).sum())

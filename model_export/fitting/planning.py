"""`plan DATA`: what these identities could show before anything is trained, and how many more it would take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from model_export.datasets.listing import Listing
from model_export.fitting.layouts import Layout
from model_export.populations import read_listing
from model_export.recipe.own_data import OwnChoice
from model_export.split_plan import lowest_fmr, plan_lines
from model_export.splitting import TEST_OF_FROZEN, check_parts, cut

ASKED = (1e-2, 1e-3, 1e-4)


def plan(layout: Layout, *, frozen: bool) -> None:
    """Print it. Raises CommandError, after what could be said, for data that nothing can be learnt or measured from."""
    print(f"{layout.path}: {layout.said}")
    data = layout.data(**({"frozen": True} if frozen else {}))
    listing = read_listing(Path(), data, layout.modality)
    splits = cut(listing, data)
    for line in (
        *plan_lines(splits, hard=listing.group is not None and listing.pairs is None),
        *needed_lines(listing, data),
    ):
        print(line)
    check_parts(splits, listing.origin)


def needed_lines(listing: Listing, data: OwnChoice) -> Iterator[str]:
    """The lowest FMR that random impostors of so many units could show, and how many units lower ones take."""
    what = "units" if listing.unit is not None else "groups of matching items" if listing.pairs else "identities"
    count = len(set(listing.unit or listing.identity))
    best = lowest_fmr(count * (count - 1) // 2)
    yield ""
    yield f"all {count} {what} could show random {best}, if none trained and an encoder that is there were measured"
    yield f"to claim an FMR, at best (no false match seen), it takes so many {what}:"
    own = listing.split is not None and not data.frozen
    yield f"{'FMR':5}  {'held out':>8}" + ("" if own else f"  {'in all, one pool':>16}  {'in all, two parts':>17}")
    for fmr in ASKED:
        units = units_for(fmr)
        pool, part = _shares(data)
        rest = "" if own else f"  {math.ceil(units / pool):>16}  {math.ceil(units / part):>17}"
        yield f"{fmr:.0e}  {units:>8}{rest}"


def _shares(data: OwnChoice) -> tuple[float, float]:
    """The share of the units in one held-out pool, and in the smaller of two parts."""
    if data.frozen:
        return 1.0, min(TEST_OF_FROZEN, 1 - TEST_OF_FROZEN)
    shares = data.shares
    return shares.calibration + shares.test, min(shares.calibration, shares.test) or shares.calibration


def units_for(fmr: float) -> int:
    """The fewest units whose pairs, n (n - 1) / 2, are 3 / FMR: what a claim takes at least. Design, section 3."""
    units = 2
    while units * (units - 1) // 2 * fmr < 3:
        units += 1
    return units

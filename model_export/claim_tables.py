"""Tables of claims: beside what was measured, whether they hold on labelled pairs, and an old one beside a new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.core.evidence import Rate, disagree
from model_export.card import Row, Table, show
from model_export.claims import Held, Points, Tested, show_at
from model_export.comparing import Scores

HELD = "What is claimed, and whether it holds on these pairs"
RENEWED = "The old claim and the new one"


def claims_table(points: Points, scores: Scores, *, draws: int, seed: int) -> Table:
    """What a bundle claims at its operating points beside what was measured there, and whether the two agree.

    A point is compared with its own impostor type where that was measured, else it stands beside each type that was,
    and only its FNMR can agree. Two rates agree unless their 95 % bounds are apart.
    """
    header = ("point", "claimed against", "measured against", "threshold", "claimed FMR", "measured FMR", "FMR agrees")
    rows: list[Row] = [(*header, "claimed FNMR", "measured FNMR", "FNMR agrees")]
    for point, shown in zip(points, show_at(points, scores, draws=draws, seed=seed), strict=True):
        claimed, missed = Rate(**point["fmr"]), _fnmr(point)
        for name in _beside(point, scores):
            fmr = shown.fmr[name]
            rows.append(
                (
                    _name(point),
                    point["impostor"],
                    name,
                    f"{point['threshold']:.4f}",
                    show(claimed),
                    show(fmr),
                    _agrees(claimed, fmr) if name == point["impostor"] else "another type",
                    show(missed),
                    show(shown.fnmr),
                    _agrees(missed, shown.fnmr) if missed else "not claimed",
                )
            )
    return "What the bundle claims beside what was measured here", rows


def held_table(held: Sequence[Held]) -> Table:
    """Each point with its claims, what the pairs show, and whether they hold (claims.py)."""
    header = ("point", "claimed against", "measured against", "threshold")
    rows: list[Row] = [
        (*header, "claimed FMR", "measured FMR", "FMR", "claimed FNMR", "measured FNMR", "FNMR"),
    ]
    for one in held:
        point = one.point
        rows.append(
            (
                _name(point),
                point["impostor"],
                one.against or "none",
                f"{point['threshold']:.4f}",
                show(Rate(**point["fmr"])),
                show(None if one.against is None else one.shown.fmr[one.against]),
                _said(one.fmr, "no such pair"),
                show(_fnmr(point)),
                show(one.shown.fnmr),
                _said(one.fnmr, "not claimed"),
            )
        )
    return HELD, rows


def renewed_table(old: Points, new: Points, scores: Scores, *, draws: int, seed: int) -> Table:
    """Each old point: what it claimed, what its threshold does to the new data, and the new point of that name.

    An old point stands beside its own impostor type where that was measured anew, else beside each that was.
    """
    by_name = {(point["impostor"], point["name"]): point for point in new}
    header = ("point", "claimed against", "old threshold", "old FMR", "old FNMR", "measured against")
    rows: list[Row] = [
        (*header, "FMR there now", "FNMR there now", "new threshold", "new FMR", "new FNMR"),
    ]
    for point, shown in zip(old, show_at(old, scores, draws=draws, seed=seed), strict=True):
        for name in _beside(point, scores):
            after = by_name.get((name, point["name"]))
            rows.append(
                (
                    _name(point),
                    point["impostor"],
                    f"{point['threshold']:.4f}",
                    show(Rate(**point["fmr"])),
                    show(_fnmr(point)),
                    name,
                    show(shown.fmr[name]),
                    show(shown.fnmr),
                    *(("too few units", "", "") if after is None else _new(after)),
                )
            )
    return RENEWED, rows


def _new(point: Mapping[str, Any]) -> Iterator[str]:
    yield f"{point['threshold']:.4f}" + (" (default)" if point["default"] else "")
    yield show(Rate(**point["fmr"]))
    yield show(_fnmr(point))


def _name(point: Mapping[str, Any]) -> str:
    return str(point["name"]) + (" (default)" if point["default"] else "")


def _fnmr(point: Mapping[str, Any]) -> Rate | None:
    return None if point["fnmr"] is None else Rate(**point["fnmr"])


def _beside(point: Mapping[str, Any], scores: Scores) -> Sequence[str]:
    return [point["impostor"]] if point["impostor"] in scores.impostors else list(scores.impostors)


def _said(tested: Tested | None, nothing: str) -> str:
    if tested is None:
        return nothing
    return tested.outcome + (f" (p = {tested.p:.2g})" if tested.outcome == "higher" else "")


def _agrees(claimed: Rate, measured: Rate) -> str:
    return "no" if disagree(claimed, measured) else "yes"

"""Tables of figures for the terminal, the card and the report: verification, one-shot runs, claims beside measurements.

A table is a heading and rows of text, the first row being the header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.evidence import Rate, disagree, fmr_at, fnmr_at, measure
from app.core.evidence.binning import choose_knots
from model_export.card import show
from model_export.comparing import Scores
from model_export.datasets import Run
from model_export.errors import CommandError
from model_export.figures import FMRS, compute_figures
from model_export.oneshot import one_shot_hits
from model_export.report import Table
from model_export.subjects import Subject

Row = tuple[str, ...]


def verification_table(heading: str, scores: Scores, *, draws: int, seed: int) -> Table:
    """AUC, EER and FNMR at FMR by kind of genuine pairs and impostor type, with bounds."""
    figures = compute_figures(scores, draws=draws, seed=seed)
    header = ("genuine", "impostor", "units", "unit pairs", "ROC AUC", "EER")
    rows = [
        (
            kind,
            name,
            str(one.genuine_units),
            str(one.unit_pairs),
            show(one.auc),
            show(one.eer),
            *("beyond the sample" if rate is None else show(rate) for rate in one.fnmr_at.values()),
        )
        for (kind, name), one in figures.items()
    ]
    table = [(*header, *(f"FNMR at FMR {fmr:.0e}" for fmr in FMRS)), *rows]
    # a column that says `all` in every row says nothing
    return heading, table if scores.kinds else [row[1:] for row in table]


def one_shot_table(subject: Subject, runs: Sequence[Run], *, draws: int, seed: int) -> Table:
    """The official one-shot score, with bounds from a bootstrap over runs."""
    hits = official_hits(subject, runs)
    row = (str(len(hits)), str(hits.size), str(hits.sum()), show(_by_run(hits, draws, seed)))
    return "Official 20-way one-shot runs", [("runs", "trials", "correct", "accuracy"), row]


def official_hits(subject: Subject, runs: Sequence[Run]) -> npt.NDArray[np.bool_]:
    """Each trial decided alone, ties wrong: bool (runs, trials). Raises CommandError where an item is refused."""
    hits = []
    for run in runs:
        tests, training = subject.embed(run.tests), subject.embed(run.training)
        if not (tests.kept.all() and training.kept.all()):
            raise CommandError("an item of the one-shot runs is refused, so that the protocol cannot be followed")
        hits.append(one_shot_hits(tests.vectors, training.vectors, run.answer, subject.metric))
    return np.stack(hits)


def claims_table(points: Sequence[Mapping[str, Any]], scores: Scores, *, draws: int, seed: int) -> Table:
    """What a bundle claims at its operating points beside what was measured there, and whether the two agree.

    points: as describe_points and /models give them. A point is compared with its own impostor type where that was
    measured, else it stands beside each type that was, and only its FNMR can agree. Two rates agree unless their 95 %
    bounds are apart.
    """
    thresholds = np.array([point["threshold"] for point in points], np.float32)
    knots = np.unique(np.concatenate([choose_knots(scores.genuine, scores.impostors, 400), thresholds]))
    measured = measure(scores.units, scores.genuine, scores.impostors, knots, draws=draws, seed=seed)
    assert measured.fnmr is not None  # genuine scores are given
    header = ("point", "claimed against", "measured against", "threshold", "claimed FMR", "measured FMR", "FMR agrees")
    rows: list[Row] = [(*header, "claimed FNMR", "measured FNMR", "FNMR agrees")]
    # as a float32 again: /models prints the shortest decimal, which may lie just below the knot
    for point, threshold in zip(points, thresholds.tolist(), strict=True):
        own = [point["impostor"]] if point["impostor"] in scores.impostors else list(scores.impostors)
        for name in own:
            claimed, fmr = Rate(**point["fmr"]), fmr_at(measured.fmr[name], threshold)
            missed, fnmr = point["fnmr"] and Rate(**point["fnmr"]), fnmr_at(measured.fnmr, threshold)
            rows.append(
                (
                    point["name"] + (" (default)" if point["default"] else ""),
                    point["impostor"],
                    name,
                    f"{threshold:.4f}",
                    show(claimed),
                    show(fmr),
                    _agrees(claimed, fmr) if name == point["impostor"] else "another type",
                    show(missed),
                    show(fnmr),
                    _agrees(missed, fnmr) if missed else "not claimed",
                )
            )
    return "What the bundle claims beside what was measured here", rows


def accuracy_table(point: Mapping[str, Any], score: npt.NDArray[np.float32], label: npt.NDArray[np.bool_]) -> Table:
    """Accuracy and F1 of matching at the default operating point, each pair once; score and label (pairs,)."""
    match = score >= np.float32(point["threshold"])
    hit, wrong, missed = int((match & label).sum()), int((match & ~label).sum()), int((~match & label).sum())
    header = ("point", "threshold", "pairs", "matching", "accuracy", "precision", "recall", "F1")
    row = (
        f"{point['name']} against {point['impostor']}",
        f"{point['threshold']:.4f}",
        str(len(label)),
        f"{label.mean():.1%}",
        f"{(match == label).mean():.4f}",
        f"{hit / (hit + wrong):.4f}" if hit + wrong else "no match",
        f"{hit / (hit + missed):.4f}" if hit + missed else "no matching pair",
        f"{2 * hit / (2 * hit + wrong + missed):.4f}" if hit + wrong + missed else "no match",
    )
    return "Pairs at the default operating point (these depend on how many of them match)", [header, row]


def _agrees(claimed: Rate, measured: Rate) -> str:
    return "no" if disagree(claimed, measured) else "yes"


def _by_run(hits: npt.NDArray[np.bool_], draws: int, seed: int) -> Rate:
    """Accuracy with a 95 % interval from a bootstrap over runs, since the trials of a run share their drawers."""
    by_run = hits.mean(axis=1)
    drawn = np.random.default_rng(seed).choice(by_run, (draws, len(by_run))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    value = float(by_run.mean())
    return Rate(value=value, low=min(float(low), value), high=max(float(high), value))

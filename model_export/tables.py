"""Tables of figures for the terminal, the card and the report. Figures come as they were measured; here are words.

A table is a heading and rows of text, the first row being the header. Where several subjects (a bundle, a floor) stand
in one table, the first column names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.evidence import Rate
from model_export.calibration_loss import KEPT, LIMIT, Cost, Loss
from model_export.card import Table, show
from model_export.cohorts import Cohort
from model_export.comparing import Scores
from model_export.datasets import Run
from model_export.errors import CommandError
from model_export.figures import FMRS, Sampled, draw_samples, figures_of
from model_export.oneshot import one_shot_hits
from model_export.retrieval import Retrieval
from model_export.robustness.measuring import Worn
from model_export.subjects import Subject

Row = Sequence[str]
ONE_SHOT_HEADING = "Official 20-way one-shot runs"
LOSS_HEADING = "What the log-likelihood ratio loses, in bits"
HOW = {
    None: "no map",
    "held_out": "on held-out units",
    "cross_fitted": "by maps refitted without each pair's units",
}


def verification_table(heading: str, scores: Scores, *, draws: int, seed: int) -> Table:
    """AUC, EER and FNMR at FMR by kind of genuine pairs and impostor type, with bounds."""
    return heading, verification_rows(draw_samples(scores, draws=draws, seed=seed))


def verification_rows(sampled: Sampled) -> list[Row]:
    """The same of scores that were sampled already, header first."""
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
        for (kind, name), one in figures_of(sampled).items()
    ]
    table: list[Row] = [(*header, *(f"FNMR at FMR {fmr:.0e}" for fmr in FMRS)), *rows]
    # a column that says `all` in every row says nothing
    return table if sampled.scores.kinds else [row[1:] for row in table]


def side_by_side(heading: str, rows_of: Mapping[str, Sequence[Row]]) -> Table:
    """Tables of several subjects, header first each, as one; of a single one as it is."""
    if len(rows_of) == 1:
        return heading, next(iter(rows_of.values()))
    header = next(iter(rows_of.values()))[0]
    return heading, [("", *header), *((key, *row) for key, rows in rows_of.items() for row in rows[1:])]


def loss_rows(losses: Mapping[str, Loss]) -> list[Row]:
    """Cllr, minCllr and what the map loses, in bits, by impostor type."""
    rows: list[Row] = [("impostor", "Cllr", "minCllr", "Cllr less minCllr", f"at most {LIMIT}", "judged")]
    for name, one in losses.items():
        cllr, lost = (KEPT[one.verdict] if cost is None else _bits(cost) for cost in (one.cllr, one.lost))
        rows.append((name, cllr, _bits(one.min_cllr), lost, KEPT[one.verdict], HOW[one.method]))
    return rows


def failure_rows(refused: Mapping[str, float], items: int) -> list[Row]:
    """Items that the service would refuse, by error code; refused: code -> share of all items."""
    reasons = ", ".join(f"{code} {share:.2%}" for code, share in refused.items()) or "none"
    total = sum(refused.values())
    return [
        ("items", "refused", "share", "by reason"),
        (str(items), str(round(total * items)), f"{total:.2%}", reasons),
    ]


def retrieval_rows(found: Retrieval) -> list[Row]:
    """Recall@k and MAP@R, ties wrong."""
    header = ("items that ask", "recall@1 by chance", *(f"recall@{k}" for k in found.recall_at), "MAP@R")
    rates = (show(rate) for rate in (*found.recall_at.values(), found.map_at_r))
    return [header, (str(found.asking), f"{found.chance:.3g}", *rates)]


def few_shot_rows(found: Retrieval) -> list[Row]:
    """N-way K-shot accuracy, ties wrong."""
    header = tuple(f"{way}-way {shot}-shot" for way, shot in found.few_shot)
    return [header, tuple("too few items" if rate is None else show(rate) for rate in found.few_shot.values())]


def cohort_rows(cohorts: Sequence[Cohort], point: Mapping[str, Any] | None) -> list[Row]:
    """Figures by cohort; FMR and FNMR at the default operating point, impostors being any two units of the cohort."""
    at = "" if point is None else f" at {point['name']} against {point['impostor']}"
    rows: list[Row] = [("cohort", "of", "units", "ROC AUC", "EER", f"FMR{at}", f"FNMR{at}")]
    for one in cohorts:
        if one.auc is None:
            rows.append((one.value, one.kind, str(one.units), *["too few"] * 4))
        else:
            rates = (show(rate) for rate in (one.auc, one.eer, one.fmr, one.fnmr))
            rows.append((one.value, one.kind, str(one.units), *rates))
    return rows if point is not None else [row[:5] for row in rows]


def robustness_rows(worn: Sequence[Worn]) -> list[Row]:
    """AUC, EER, flipped verdicts and refused items by change and strength."""
    header = ("change", "strength", "refused", "ROC AUC", "EER", "matching pairs flipped", "impostor pairs flipped")
    return [
        header,
        *(
            (
                one.change,
                "as it is" if one.strength is None else f"{one.strength:g} {one.unit}",
                f"{one.refused:.1%}",
                *("too few left" if rate is None else show(rate) for rate in (one.auc, one.eer)),
                *(
                    "no threshold" if share is None else f"{share:.1%}"
                    for share in (one.genuine_flipped, one.impostor_flipped)
                ),
            )
            for one in worn
        ),
    ]


def batch_table(difference: float, guard_band: float | None) -> Table:
    """How far a score moves with the batch that it is computed in, beside the band of undetermined scores."""
    band = "not calibrated" if guard_band is None else f"{guard_band:.1e}"
    within = "no band" if guard_band is None else "yes" if difference <= guard_band else "no"
    header = ("largest score difference over batch sizes", "guard band", "within it")
    return "Batch sizes", [header, (f"{difference:.1e}", band, within)]


def one_shot_table(subject: Subject, runs: Sequence[Run], *, draws: int, seed: int) -> Table:
    """The official one-shot score, with bounds from a bootstrap over runs."""
    return ONE_SHOT_HEADING, one_shot_rows(subject, runs, draws=draws, seed=seed)


def one_shot_rows(subject: Subject, runs: Sequence[Run], *, draws: int, seed: int) -> list[Row]:
    """The same without its heading."""
    hits = official_hits(subject, runs)
    row = (str(len(hits)), str(hits.size), str(hits.sum()), show(_by_run(hits, draws, seed)))
    return [("runs", "trials", "correct", "accuracy"), row]


def official_hits(subject: Subject, runs: Sequence[Run]) -> npt.NDArray[np.bool_]:
    """Each trial decided alone, ties wrong: bool (runs, trials). Raises CommandError where an item is refused."""
    hits = []
    for run in runs:
        rows = subject.embed([*run.tests, *run.training])  # in one call: a floor's rows are comparable only then
        if not rows.kept.all():
            raise CommandError("an item of the one-shot runs is refused, so that the protocol cannot be followed")
        tests, training = np.split(rows.vectors, [len(run.tests)])
        hits.append(one_shot_hits(tests, training, run.answer, subject.metric))
    return np.stack(hits)


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


def _bits(cost: Cost) -> str:
    high = "unbounded" if np.isinf(cost.high) else f"{cost.high:.3g}"
    return f"{cost.value:.3g} [{cost.low:.3g}, {high}]"


def _by_run(hits: npt.NDArray[np.bool_], draws: int, seed: int) -> Rate:
    """Accuracy with a 95 % interval from a bootstrap over runs, since the trials of a run share their drawers."""
    by_run = hits.mean(axis=1)
    drawn = np.random.default_rng(seed).choice(by_run, (draws, len(by_run))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    value = float(by_run.mean())
    return Rate(value=value, low=min(float(low), value), high=max(float(high), value))

"""`evaluate BUNDLE`: print and draw what a bundle does on its test identities, through the code that serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.core.bundle import read_bundle
from app.core.evidence import Rate
from app.core.modalities.base import Limits
from app.core.scoring import similarity_matrix
from app.runtime.encoder import Encoder
from model_export.card import markdown_table, point_rows, show
from model_export.datasets.omniglot import Run
from model_export.figures import FMRS, compute_figures
from model_export.measure import Scores, embed_items, score_all_pairs
from model_export.oneshot import hits_of_scores
from model_export.populations import read_populations
from model_export.recipe import Recipe, read_recipe
from model_export.report import Table, write_report


def evaluate(folder: Path, recipe_path: Path, out: Path) -> None:
    """Measure the bundle in `folder` on the recipe's test identities; print tables, write a report to `out`.

    Raises CommandError for a recipe or data that cannot be used, BundleRefused for a bundle that would not be served.
    """
    recipe = read_recipe(recipe_path)
    encoder = Encoder(read_bundle(folder), device="cpu", threads=1)
    populations = read_populations(recipe)
    test = embed_items(encoder, populations.test)
    scores = score_all_pairs(test, encoder.bundle.manifest.embedding.metric)
    tables = result_tables(encoder, scores, populations.runs, recipe)
    calibration = encoder.bundle.calibration
    if calibration is not None:
        tables.append(("Operating points", point_rows(calibration)))
    for heading, table in tables:
        print("\n".join([f"\n{heading}\n", *markdown_table(table)]))
    documents = write_report(encoder.bundle.key, tables, calibration, scores)
    out.mkdir(parents=True, exist_ok=True)
    for name, data in documents.items():
        (out / name).write_bytes(data)
    print(f"\nwrote {out / 'report.html'}")


def result_tables(encoder: Encoder, scores: Scores, runs: Sequence[Run], recipe: Recipe) -> list[Table]:
    """Verification figures by impostor type, and the official one-shot score."""
    figures = compute_figures(scores, draws=recipe.calibration.draws, seed=recipe.seed)
    header = ("impostor", "unit pairs", "ROC AUC", "EER", *(f"FNMR at FMR {fmr:.0e}" for fmr in FMRS))
    rows = [
        (
            name,
            str(one.unit_pairs),
            show(one.auc),
            show(one.eer),
            *("beyond the sample" if rate is None else show(rate) for rate in one.fnmr_at.values()),
        )
        for name, one in figures.items()
    ]
    hits = official_one_shot(encoder, runs)
    accuracy = _by_run(hits, recipe.calibration.draws, recipe.seed)
    return [
        ("Verification on test identities", [header, *rows]),
        (
            "Official 20-way one-shot runs",
            [
                ("runs", "trials", "correct", "accuracy"),
                (str(len(hits)), str(hits.size), str(hits.sum()), show(accuracy)),
            ],
        ),
    ]


def official_one_shot(encoder: Encoder, runs: Sequence[Run]) -> npt.NDArray[np.bool_]:
    """Each trial decided alone, ties wrong: bool (runs, trials)."""
    metric = encoder.bundle.manifest.embedding.metric
    return np.stack(
        [
            hits_of_scores(
                similarity_matrix(encoder.embed(run.tests, Limits()), encoder.embed(run.training, Limits()), metric),
                run.answer,
            )
            for run in runs
        ]
    )


def _by_run(hits: npt.NDArray[np.bool_], draws: int, seed: int) -> Rate:
    """Accuracy with a 95 % interval from a bootstrap over runs, since the trials of a run share their drawers."""
    by_run = hits.mean(axis=1)
    drawn = np.random.default_rng(seed).choice(by_run, (draws, len(by_run))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    value = float(by_run.mean())
    return Rate(value=value, low=min(float(low), value), high=max(float(high), value))

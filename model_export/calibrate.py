"""`calibrate BUNDLE`: measure what a bundle may claim, and publish it as the next version with that evidence.

Thresholds are chosen on calibration identities and verified on test identities. Where the two disagree beyond both
intervals, nothing is published.
"""

from __future__ import annotations

import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.core.bundle import read_bundle, seal, write_bundle
from app.core.evidence import (
    Applicability,
    Calibration,
    Counts,
    MeasuredWith,
    disagreements,
    estimate,
    fit_applicability,
    verify,
)
from app.core.scoring import GUARD_BAND_FLOORS
from app.runtime.encoder import Encoder
from model_export.card import write_card
from model_export.errors import CommandError
from model_export.evaluate import result_tables
from model_export.measure import Embedded, Scores, embed_items, guard_band, score_all_pairs
from model_export.populations import Populations, read_populations
from model_export.recipe import Recipe, read_recipe
from model_export.report import write_report

GUARD_BAND_ITEMS = 300
OTHER_THREADS = (2, 4)
OUTSIDE_LEVEL = 0.005
"""Share of own items that each of the two applicability models may refuse; together 1 %."""


def calibrate(folder: Path, recipe_path: Path, models: Path) -> Path:
    """Write the bundle in `folder` with fresh evidence as its next patch version below `models`; returns its folder.

    Raises CommandError where calibration and verification disagree, BundleRefused for a bundle that is not servable.
    """
    recipe = read_recipe(recipe_path)
    bundle = read_bundle(folder)
    encoder = Encoder(bundle, device="cpu", threads=1)
    metric = bundle.manifest.embedding.metric
    populations = read_populations(recipe)
    print(f"embedding {len(populations.calibration)} calibration and {len(populations.test)} test items")
    own, test = embed_items(encoder, populations.calibration), embed_items(encoder, populations.test)
    own_scores, test_scores = score_all_pairs(own, metric), score_all_pairs(test, metric)
    calibration = _measure(recipe, encoder, own, own_scores, _next_patch(bundle.version))
    calibration = verify(
        calibration,
        test_scores.units,
        test_scores.genuine,
        test_scores.impostors,
        population=populations.test_population,
        seed=recipe.seed,
        draws=recipe.calibration.draws,
    )
    if broken := disagreements(calibration):
        raise CommandError(f"calibration and test disagree, so nothing is published: {'; '.join(broken)}")
    return _publish(models, encoder, calibration, test_scores=test_scores, populations=populations, recipe=recipe)


def _measure(recipe: Recipe, encoder: Encoder, own: Embedded, scores: Scores, number: str) -> Calibration:
    """Everything in calibration.json but `verified`."""
    chosen, bundle = recipe.calibration, encoder.bundle
    # The service runs one thread; other counts and batch sizes sum in another order, and the band says how far they go.
    encoders = [encoder, *(Encoder(bundle, device="cpu", threads=count) for count in OTHER_THREADS)]
    sample = np.random.default_rng(recipe.seed).permutation(len(own.items)) < GUARD_BAND_ITEMS
    band = guard_band(
        encoders,
        own.items.select(sample),
        bundle.manifest.embedding.metric,
        GUARD_BAND_FLOORS[bundle.manifest.graph.precision],
    )
    print(f"guard band {band:.1e}")
    estimated = estimate(
        scores.units,
        scores.genuine,
        scores.impostors,
        {"random": chosen.random, "hard": chosen.hard},
        guard_band=band,
        draws=chosen.draws,
        seed=recipe.seed,
    )
    unit = np.unique(own.items.identity, return_inverse=True)[1]
    today = datetime.datetime.now(datetime.UTC).date()
    return Calibration(
        id=f"{bundle.name}-{number}-{today:%Y%m%d}",
        population=chosen.population,
        unit=chosen.unit,
        source="shipped",
        date=today,
        valid_for_days=chosen.valid_for_days,
        measured_with=MeasuredWith(
            provider=encoder.provider, onnxruntime=version("onnxruntime"), tf32=bundle.manifest.numerics.tf32
        ),
        counts=Counts(
            units=scores.units.count,
            genuine_units=len(np.unique(scores.genuine.unit)),
            groups=len(np.unique(own.items.group)),
            items=len(own.items),
            genuine_pairs=len(scores.genuine.score),
            impostor_pairs={name: len(pairs.score) for name, pairs in scores.impostors.items()},
        ),
        failure_to_acquire=own.failure_to_acquire,
        applicability=_applicability("embeddings", own.vectors, unit, recipe.seed),
        input_applicability=_applicability("inputs", own.summaries, unit, recipe.seed),
        **estimated.members(),
    )


def _applicability(
    what: str, rows: npt.NDArray[np.float32], unit: npt.NDArray[np.int64], seed: int
) -> Applicability | None:
    """The model of these rows (items, n), or None, said aloud, where there are too few to fit one."""
    try:
        return fit_applicability(rows, unit, seed=seed, level=OUTSIDE_LEVEL)
    except ValueError as error:
        print(f"no applicability model of {what}, so that foreign ones are not noticed: {error}")
        return None


def _publish(
    models: Path,
    encoder: Encoder,
    calibration: Calibration,
    *,
    test_scores: Scores,
    populations: Populations,
    recipe: Recipe,
) -> Path:
    bundle = encoder.bundle
    draft = bundle.manifest.draft(
        version=_next_patch(bundle.version), status="released" if calibration.supported else "demonstration"
    )
    tables = result_tables(encoder, test_scores, populations.runs, recipe)
    protocol = f"verified on other identities: {populations.test_population}"
    report = write_report(f"{draft.name}@{draft.version}", tables, calibration, test_scores)
    documents = {
        "MODEL_CARD.md": write_card(draft, calibration, protocol, tables),
        **{f"report/{name}": data for name, data in report.items()},
    }
    sealed = seal(
        draft,
        graph=bundle.graph,
        golden=bundle.golden,
        calibration=calibration,
        external_data=bundle.external_data,
        assets=bundle.assets,
    )
    return write_bundle(models, sealed, documents)


def _next_patch(number: str) -> str:
    major, minor, patch = number.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"

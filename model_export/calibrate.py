"""`calibrate BUNDLE (--recipe RECIPE | --pairs FILE)`: measure what a bundle may claim, and publish it as the next
version with that evidence. Items without any label are calibrated in unlabelled/.

Thresholds are chosen on calibration units and verified on test units; where units are few, on one pool and by
cross-fitting inside it. Where the two disagree beyond both intervals, nothing is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from app.core.evidence import Calibration, cross_fit, describe_points, verify, withdraw_claims
from model_export.beside import (
    PAIR_DRAWS,
    PAIR_SEED,
    beside_pairs,
    beside_recipe,
    default_point,
    losses_table,
    pair_tables,
    recipe_tables,
)
from model_export.calibration_loss import judge_ratios
from model_export.card import markdown_table
from model_export.claim_tables import renewed_table
from model_export.comparing import Scores, score_all_pairs
from model_export.datasets import OtherPopulation, Splits
from model_export.errors import CommandError
from model_export.evaluate import hardest_shown
from model_export.evidence import Sample, Study, measure_evidence
from model_export.figures import draw_samples
from model_export.label_doubts import tell_doubts
from model_export.measure import keep_labelled
from model_export.outside import add_outside, compare_outside, outside_tables
from model_export.pairs import Words, describe_impostors, read_pairs
from model_export.populations import read_other_population, read_splits
from model_export.recipe import External, Recipe, name_recipe, read_recipe
from model_export.recipe.measuring import Measuring
from model_export.recipe.own_data import OwnData
from model_export.reference_evidence import Part, measure_references
from model_export.releasing import next_version, release
from model_export.report import Table
from model_export.subjects import LocalSubject

FOLDS = 9


def calibrate_recipe(folder: Path, recipe_path: Path, models: Path, splits: Splits | None = None) -> Path:
    """Write the bundle in `folder` with fresh evidence as its next version below `models`; returns its folder.

    splits: the recipe's data, where the caller has read it.
    Raises CommandError where calibration and verification disagree or the data cannot be evidence, BundleRefused for a
    bundle that is not servable.
    """
    recipe = read_recipe(recipe_path)
    subject = LocalSubject(folder)
    splits = splits or read_splits(recipe)
    if splits.units_train:
        raise CommandError("the measured units of this recipe did train: figures for evaluate, but no evidence")
    source = _source(recipe, subject.encoder.bundle.manifest.training.recipe)
    others = [(other, read_other_population(other)) for other in recipe.external]  # at once: a missing one fails early
    return calibrate_splits(subject, splits, recipe, models, source=source, others=others)


def calibrate_splits(
    subject: LocalSubject,
    splits: Splits,
    recipe: Measuring,
    models: Path,
    *,
    source: Literal["shipped", "yours"],
    others: Sequence[tuple[External, OtherPopulation]] = (),
    before: Sequence[Table] = (),
) -> Path:
    """The same of data that is read already, measured as `recipe` says; `before` are tables that the card begins with.

    Errors as above.
    """
    chosen = recipe.calibration
    study = Study(
        population=chosen.population,
        unit=chosen.unit,
        impostors={
            "random": chosen.random,
            **({} if chosen.hard is None else {"hard": chosen.hard}),
            **({} if splits.calibration.pairs is None else splits.calibration.pairs.words),
        },
        source=source,
        valid_for_days=chosen.valid_for_days,
        draws=chosen.draws,
        seed=recipe.seed,
        folds=chosen.folds,
    )
    own = keep_labelled(splits.calibration, subject.embed(splits.calibration.items))
    scores = score_all_pairs(own, subject.metric, chosen, seed=recipe.seed)
    group = own.items.group if chosen.grouped == "units" else None
    sample = Sample(own.items.items, own.items.unit, group, own.rows, scores.units, scores.genuine, scores.impostors)
    calibration = measure_evidence(study, subject.encoder, sample, next_version(subject, models))
    if splits.test is None:
        tested, embedded, items = scores, own, splits.calibration
        calibration, protocol = _cross_fit(study, calibration, scores, splits.test_population)
    else:
        items = splits.test
        embedded = keep_labelled(items, subject.embed(items.items))
        tested = score_all_pairs(embedded, subject.metric, chosen, seed=recipe.seed)
        calibration = verify(
            calibration,
            tested.units,
            tested.genuine,
            tested.impostors,
            population=splits.test_population,
            seed=study.seed,
            draws=study.draws,
        )
        protocol = f"verified on other identities: {splits.test_population}"
    drawn = draw_samples(tested, draws=study.draws, seed=study.seed)
    losses = judge_ratios(calibration, drawn, seed=study.seed, folds=study.folds if splits.test is None else None)
    point = None if chosen.demonstration is not None else default_point(describe_points(calibration))
    sides = beside_recipe(subject, embedded, drawn, recipe, splits)
    tables = [*before, *recipe_tables(sides, splits, recipe, point)[0], losses_table(losses, sides, study.seed)]
    tables += _beside_old(subject, calibration, scores, study)
    calibration, more = measure_references(
        calibration,
        subject.metric,
        recipe,
        pool=Part(own, scores),
        test=None if splits.test is None else Part(embedded, tested),
        population=splits.test_population,
    )
    tables += more
    for other, population in others:
        outside = compare_outside(subject, other, population, recipe.seed)
        calibration = add_outside(calibration, outside, draws=chosen.draws, seed=recipe.seed)
        tables += outside_tables(outside, calibration, draws=chosen.draws, seed=recipe.seed)
    if chosen.demonstration is not None:
        calibration = withdraw_claims(calibration)
        protocol = f"a demonstration: {chosen.demonstration}"
    hardest = hardest_shown(subject, items, drawn, point) if chosen.report_items else ""
    return release(
        models,
        subject,
        calibration,
        protocol=protocol,
        tables=tables,
        measured=drawn,
        losses=losses,
        hardest=hardest,
        dropped=splits.dropped,
    )


def _source(recipe: Recipe, trained_with: str | None) -> Literal["shipped", "yours"]:
    """Who measured: the recipe that trained the bundle, or somebody else.

    Raises CommandError for a recipe of that name with another cut, which would measure units that trained. A bundle of
    before such digests, glyphs 1.0.1, has the name alone.
    """
    name, _, digest = (trained_with or "").partition("#")
    own_name, _, own_digest = name_recipe(recipe).partition("#")
    if name == own_name and digest not in ("", own_digest):
        raise CommandError(f"{own_name}: cuts or prepares the data otherwise than when it trained this bundle")
    return "shipped" if name == own_name and not isinstance(recipe.data, OwnData) else "yours"


def calibrate_pairs(folder: Path, pairs: Path, models: Path, words: Words) -> Path:
    """The same on a table of labelled pairs, which is one pool: verified by cross-fitting. Errors as above."""
    subject = LocalSubject(folder)
    table = read_pairs(pairs, subject.form)
    study = Study(
        population=words.population or f"labelled pairs of {pairs.name}",
        unit=words.unit or table.unit_word,
        impostors=describe_impostors(table, words.impostors),
        source="yours",
        valid_for_days=words.valid_for_days,
        draws=PAIR_DRAWS,
        seed=PAIR_SEED,
        folds=FOLDS,
    )
    sides = beside_pairs(subject, table)
    tell_doubts(sides[0].measured)
    rows, scores, drawn = sides[0].rows, sides[0].measured.scores, sides[0].sampled
    kept = np.flatnonzero(rows.kept)
    items, unit = [table.items[at] for at in kept.tolist()], table.unit_of_item[kept]
    sample = Sample(items, unit, None, rows, scores.units, scores.genuine, scores.impostors)
    calibration = measure_evidence(study, subject.encoder, sample, next_version(subject, models))
    population = f"{study.population}, each part judged at thresholds fitted on the others"
    calibration, protocol = _cross_fit(study, calibration, scores, population)
    losses = judge_ratios(calibration, drawn, seed=study.seed, folds=study.folds)
    tables = [*pair_tables(sides, table, losses), *_beside_old(subject, calibration, scores, study)]
    return release(models, subject, calibration, protocol=protocol, tables=tables, measured=drawn, losses=losses)


def _cross_fit(study: Study, calibration: Calibration, scores: Scores, population: str) -> tuple[Calibration, str]:
    """The calibration verified inside its own pool, and the card's words; said aloud where it cannot be."""
    try:
        calibration = cross_fit(
            calibration,
            scores.units,
            scores.genuine,
            scores.impostors,
            population=population,
            folds=study.folds,
            seed=study.seed,
            draws=study.draws,
        )
    except ValueError as error:
        print(f"nothing is verified: {error}")
        return calibration, f"not verified: {error}"
    return calibration, f"verified by cross-fitting: {population}"


def _beside_old(subject: LocalSubject, calibration: Calibration, scores: Scores, study: Study) -> list[Table]:
    """What the bundle claimed until now beside what it claims from now on, printed; none where it claimed nothing."""
    if not subject.points:
        return []
    new = describe_points(calibration)
    heading, rows = renewed_table(subject.points, new, scores, draws=study.draws, seed=study.seed)
    print("\n".join([f"\n{heading}\n", *markdown_table(rows), ""]))
    return [(heading, rows)]

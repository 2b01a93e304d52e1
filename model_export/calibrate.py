"""`calibrate BUNDLE (--recipe RECIPE | --pairs FILE)`: measure what a bundle may claim, and publish it as the next
version with that evidence.

Thresholds are chosen on calibration units and verified on test units; where units are few, on one pool and by
cross-fitting inside it. Where the two disagree beyond both intervals, nothing is published.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from app.core.bundle import seal, write_bundle
from app.core.evidence import (
    Calibration,
    Counts,
    MeasuredWith,
    cross_fit,
    describe_points,
    disagreements,
    estimate,
    verify,
    withdraw_claims,
)
from app.core.modalities.base import Item
from app.core.scoring import GUARD_BAND_FLOORS
from app.runtime.encoder import Encoder
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
from model_export.calibration_loss import Loss, drop_broken, judge_ratios
from model_export.card import markdown_table, write_card
from model_export.claim_tables import renewed_table
from model_export.comparing import Scores, score_all_pairs
from model_export.datasets import OtherPopulation, Splits
from model_export.errors import CommandError
from model_export.evaluate import hardest_shown
from model_export.figures import Sampled, draw_samples
from model_export.label_doubts import tell_doubts
from model_export.measure import Embeddings, encoders_at_hand, guard_band, keep_labelled, sample_for_band
from model_export.outside import add_outside, compare_outside, outside_tables
from model_export.own_kind import fit_own_kind
from model_export.pairs import Words, describe_impostors, read_pairs
from model_export.populations import read_other_population, read_splits
from model_export.recipe import External, Recipe, name_recipe, read_recipe
from model_export.recipe.measuring import Measuring
from model_export.recipe.own_data import OwnData
from model_export.reference_evidence import Part, measure_references
from model_export.report import Report, Table, write_report
from model_export.subjects import LocalSubject

GUARD_BAND_ITEMS = 300
FOLDS = 9


@dataclass(frozen=True)
class Study:
    """What is measured, in the words of the evidence, and how."""

    population: str
    unit: str
    impostors: Mapping[str, str]
    source: Literal["shipped", "yours"]
    valid_for_days: int
    draws: int
    seed: int
    folds: int


@dataclass(frozen=True)
class Sample:
    """What was measured: items with the unit and the group of each, int64 (items,), their rows, and their scores.

    group is None where items come in no groups.
    """

    items: Sequence[Item]
    unit: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64] | None
    rows: Embeddings
    scores: Scores


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
    sample = Sample(own.items.items, own.items.unit, group, own.rows, scores)
    number = _next_version(subject, models)
    calibration = _measure(study, subject.encoder, sample, number)
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
    return _publish(
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
    sample = Sample([table.items[at] for at in kept.tolist()], table.unit_of_item[kept], None, rows, scores)
    calibration = _measure(study, subject.encoder, sample, _next_version(subject, models))
    population = f"{study.population}, each part judged at thresholds fitted on the others"
    calibration, protocol = _cross_fit(study, calibration, scores, population)
    losses = judge_ratios(calibration, drawn, seed=study.seed, folds=study.folds)
    tables = [*pair_tables(sides, table, losses), *_beside_old(subject, calibration, scores, study)]
    return _publish(models, subject, calibration, protocol=protocol, tables=tables, measured=drawn, losses=losses)


def _measure(study: Study, encoder: Encoder, sample: Sample, number: str) -> Calibration:
    """Everything in calibration.json but `verified`."""
    bundle, scores = encoder.bundle, sample.scores
    encoders = encoders_at_hand(encoder)
    band = guard_band(
        encoders,
        [sample.items[at] for at in sample_for_band(sample.rows, GUARD_BAND_ITEMS, study.seed).tolist()],
        bundle.manifest.embedding.metric,
        GUARD_BAND_FLOORS[bundle.manifest.graph.precision],
    )
    print(f"guard band {band:.1e}, on {', '.join(dict.fromkeys(one.provider for one in encoders))}")
    try:
        estimated = estimate(
            scores.units,
            scores.genuine,
            scores.impostors,
            study.impostors,
            guard_band=band,
            draws=study.draws,
            seed=study.seed,
        )
    except ValueError as error:
        raise CommandError(f"this is no evidence, so nothing is written: {error}") from error
    for one in estimated.impostors:
        strictest = [p.name for p in estimated.operating_points if p.impostor == one.type and p.name != "eer"][-1:]
        print(f"{one.type}: P = {one.unit_pairs}, strictest operating point: {', '.join(strictest) or 'none'}")
    today = datetime.datetime.now(datetime.UTC).date()
    return Calibration(
        id=f"{bundle.name}-{number}-{today:%Y%m%d}",
        population=study.population,
        unit=study.unit,
        source=study.source,
        date=today,
        valid_for_days=study.valid_for_days,
        measured_with=MeasuredWith(
            provider=encoder.provider, onnxruntime=version("onnxruntime"), tf32=bundle.manifest.numerics.tf32
        ),
        counts=Counts(
            units=scores.units.count,
            genuine_units=len(np.unique(scores.genuine.unit)),
            groups=None if sample.group is None else len(np.unique(sample.group)),
            items=len(sample.items),
            genuine_pairs=scores.genuine.pairs,
            impostor_pairs={name: len(pairs.score) for name, pairs in scores.impostors.items()},
        ),
        failure_to_acquire=sample.rows.failure_to_acquire,
        **fit_own_kind(sample.rows, sample.unit, study.seed),
        **estimated.members(),
    )


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


def _publish(
    models: Path,
    subject: LocalSubject,
    calibration: Calibration,
    *,
    protocol: str,
    tables: Sequence[Table],
    measured: Sampled,
    losses: Mapping[str, Loss],
    hardest: str = "",
    dropped: Sequence[str] = (),
) -> Path:
    """Write the next version, without a log-likelihood ratio that loses more than is promised.

    Raises CommandError where the calibration and its verification disagree.
    """
    if broken := disagreements(calibration):
        raise CommandError(f"calibration and verification disagree, so nothing is published: {'; '.join(broken)}")
    calibration = drop_broken(calibration, losses)
    bundle = subject.encoder.bundle
    draft = bundle.manifest.draft(
        version=_next_version(subject, models), status="released" if calibration.supported else "demonstration"
    )
    if draft.status == "demonstration":
        print(
            "nothing is claimed, since units are too few or no sample: a demonstration, whose verdicts are undetermined"
        )
    points, about = describe_points(calibration), f"Measured on {calibration.population}; {protocol}."
    key = f"{draft.name}@{draft.version}"
    report = write_report(Report(key, about, tables, points, measured, losses=losses, hardest=hardest))
    documents = {
        "MODEL_CARD.md": write_card(draft, calibration, protocol, tables, dropped),
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


def _next_version(subject: LocalSubject, models: Path) -> str:
    """The next patch version that does not exist yet."""
    bundle = subject.encoder.bundle
    major, minor, patch = bundle.version.split(".")
    number = int(patch) + 1
    while (models / bundle.name / f"{major}.{minor}.{number}").exists():
        number += 1
    return f"{major}.{minor}.{number}"

"""Items like those measured pass, others do not, and the model holds no item."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from app.core.evidence import Applicability, fit_together, is_outside, outside
from app.core.evidence.applicability import distances

UNITS, ITEMS, DIMENSION = 120, 20, 48
Rows = npt.NDArray[np.float32]


def population(seed: int, shift: float = 0.0) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Unit-length embeddings near a 10-dimensional subspace, 20 items around each of 120 unit means."""
    basis = np.random.default_rng(99).normal(size=(10, DIMENSION))
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(UNITS, 10)) @ basis
    rows = np.repeat(means, ITEMS, axis=0) + 0.7 * rng.normal(size=(UNITS * ITEMS, DIMENSION)) + shift
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.repeat(np.arange(UNITS), ITEMS)


def fit_one(rows: Rows, unit: npt.NDArray[np.int64], *, seed: int) -> Applicability:
    """The model of one kind of rows alone."""
    (model,) = fit_together([rows], unit, seed=seed)
    return model


def fit() -> Applicability:
    rows, unit = population(1)
    return fit_one(rows, unit, seed=3)


@pytest.mark.parametrize("components", [8, 32, 64])
def test_new_items_of_the_population_are_refused_at_about_one_in_a_hundred(
    components: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.evidence.applicability.MAX_COMPONENTS", components)
    model = fit()
    refused = np.mean([is_outside(model, row) for row in population(2)[0]])
    assert 0.003 < refused < 0.03


def test_new_units_are_seldom_refused_where_few_were_measured() -> None:
    """Two dozen units of ten items, as of people: 2 % at a level of 1 %, where fitting on one half gave 4 %."""
    fresh = population(2)[0][::7]
    refused = []
    for seed in range(20, 24):
        rows, unit = population(seed)
        for first in range(0, UNITS, 24):
            chosen = (unit >= first) & (unit < first + 24) & (np.arange(len(unit)) % ITEMS < 10)
            model = fit_one(rows[chosen], unit[chosen], seed=seed)
            refused.append(np.mean(distances(model, fresh) > model.threshold))
    assert np.mean(refused) < 0.03


@pytest.mark.parametrize(("units", "items"), [(120, 1), (24, 6), (24, 4)])
def test_too_few_items_to_count_one_in_a_hundred_refuse_about_as_few(units: int, items: int) -> None:
    """Counting alone could not tell less than 1.4 to 2 %, and refused up to 3 %."""
    fresh = population(2)[0][::7]
    refused = []
    for seed in range(30, 36):
        rows, unit = population(seed)
        chosen = (unit < units) & (np.arange(len(unit)) % ITEMS < items)
        model = fit_one(rows[chosen], unit[chosen], seed=seed)
        refused.append(np.mean(distances(model, fresh) > model.threshold))
    assert 0.001 < np.mean(refused) < 0.02


def test_two_models_together_refuse_no_more_than_one_alone() -> None:
    rows, unit = population(1)
    fresh = population(2)[0]
    kinds = [rows[:, :20], rows[:, 20:]]
    models = fit_together(kinds, unit, seed=3)
    beyond = [distances(m, part) > m.threshold for m, part in zip(models, (fresh[:, :20], fresh[:, 20:]), strict=True)]
    assert 0.003 < np.any(beyond, axis=0).mean() < 0.02
    assert all(one.any() for one in beyond)
    apart = [fit_one(kind, unit, seed=3).threshold for kind in kinds]
    assert all(model.threshold > alone for model, alone in zip(models, apart, strict=True))


@pytest.mark.parametrize("count", [100, 200])
def test_one_odd_item_of_ones_own_does_not_let_everything_in(count: int) -> None:
    rows, unit = population(1)
    rows, unit = rows[:: UNITS * ITEMS // count][:count], unit[:: UNITS * ITEMS // count][:count]
    odd = rows.copy()
    odd[7] *= -40
    model = fit_one(odd, unit, seed=3)
    assert model.threshold < 0.5 * distances(model, odd[7:8])[0]
    assert model.threshold == pytest.approx(fit_one(rows, unit, seed=3).threshold, rel=0.5)


def test_own_items_of_two_kinds_do_not_let_everything_in() -> None:
    """Three in four that are all but alike, and the others spread out: no one law of the tail."""
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(120, 4)).astype(np.float32) * np.repeat([[1e-3], [1.0]], [90, 30], axis=0)
    model = fit_one(rows, np.arange(120), seed=3)
    assert model.threshold < 2 * np.sort(distances(model, rows))[-2]


def test_items_of_another_kind_are_refused() -> None:
    model = fit()
    rng = np.random.default_rng(4)
    other = rng.normal(size=(200, DIMENSION)).astype(np.float32)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    assert np.mean([is_outside(model, row) for row in other]) > 0.9


def test_distance_is_that_of_the_full_covariance_when_every_component_is_kept() -> None:
    rows = np.random.default_rng(5).normal(size=(4000, 3)).astype(np.float32) * np.array([1, 2, 3], np.float32)
    model = fit_one(rows, np.arange(4000), seed=1)
    probe = np.array([[1.0, -2.0, 4.0]], np.float32)
    covariance = np.diag([1.0, 4.0, 9.0])
    expected = np.sqrt(probe[0] @ np.linalg.inv(covariance) @ probe[0])
    assert distances(model, probe)[0] == pytest.approx(expected, rel=0.06)


def test_single_embedding_and_many_at_once_are_judged_alike() -> None:
    model = fit()
    rows = np.concatenate([population(3)[0], 3 * population(4)[0]])
    found = outside(model, rows)
    assert 0 < found.sum() < len(rows)
    assert [is_outside(model, row) for row in rows] == found.tolist()
    distances_at = distances(model, rows)
    for row, distance in zip(rows, distances_at.tolist(), strict=True):
        closest = model.model_copy(update={"threshold": distance * (1 - 1e-9)})
        assert is_outside(closest, row)
        assert not is_outside(closest.model_copy(update={"threshold": distance * (1 + 1e-9)}), row)


def test_what_is_not_a_number_is_outside() -> None:
    assert is_outside(fit(), np.full(DIMENSION, np.nan, np.float32))


def test_without_a_model_nothing_is_outside() -> None:
    assert not is_outside(None, np.ones(3, np.float32))


def test_an_embedding_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="48 values"):
        is_outside(fit(), np.ones(47, np.float32))


def test_too_few_items_are_said_so() -> None:
    rows, unit = population(1)
    with pytest.raises(ValueError, match="at least 39 items"):
        fit_one(rows[:38], unit[:38], seed=3)
    assert fit_one(rows[:39], unit[:39], seed=3).level == 0.01
    with pytest.raises(ValueError, match="at least two units"):
        fit_one(rows[:20], unit[:20], seed=3)


def test_the_model_survives_json_and_stays_small() -> None:
    model = fit()
    again = Applicability.model_validate_json(model.model_dump_json())
    rows = population(2)[0][:50]
    assert distances(again, rows).tolist() == distances(model, rows).tolist()
    assert len(model.model_dump_json()) < 12_000


def test_a_model_whose_arrays_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="sizes it states"):
        Applicability.model_validate({**fit().model_dump(), "dimension": 47})

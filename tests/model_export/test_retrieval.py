"""Finding by similarity: recall@k, MAP@R and N-way K-shot, beside pytorch-metric-learning and beside cases by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from app.core.scoring import Metric, similarity_matrix
from model_export.datasets import LabelledItems
from model_export.measure import Embedded, Embeddings, Vectors
from model_export.retrieval import Retrieval, few_shot_hits, measure_retrieval


def labelled(identity: np.ndarray, group: np.ndarray | None = None) -> LabelledItems:
    group = np.zeros_like(identity) if group is None else group
    names = tuple(str(number) for number in np.unique(group))
    return LabelledItems([{}] * len(identity), identity, identity, group, np.zeros_like(identity), names)


def retrieve(vectors: Vectors, identity: np.ndarray, *, metric: Metric = "cosine", grouped: bool = False) -> Retrieval:
    rows = Embeddings(np.ones(len(vectors), np.bool_), vectors, None, None, {})
    embedded = Embedded(labelled(identity), np.arange(len(vectors)), rows)
    found = measure_retrieval(embedded, metric, grouped=grouped, draws=1000, seed=0)
    assert found is not None
    return found


def clusters(units: int, each: int, spread: float) -> tuple[Vectors, np.ndarray]:
    rng = np.random.default_rng(1)
    identity = np.repeat(np.arange(units), each)
    vectors = rng.normal(0, 1, (units, 8))[identity] + rng.normal(0, spread, (len(identity), 8))
    return vectors.astype(np.float32), identity


@pytest.mark.parametrize("spread", [0.05, 0.5, 1.0])
def test_figures_are_those_of_pytorch_metric_learning(spread: float) -> None:
    vectors, identity = clusters(12, 5, spread)
    found = retrieve(vectors, identity)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(CosineSimilarity()),
    )
    theirs = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(identity))
    assert found.recall_at[1].value == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert found.map_at_r.value == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)


def test_map_at_r_by_hand() -> None:
    # On a line, R = 2: item 0 finds its like at places 1 and 3, of which the first counts, with precision 1; item 1 at
    # 2 and 3, since item 2 is as near as item 0 and stands before it, and item 3 at 2 and 3: place 2, precision 1/2.
    vectors = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]], np.float32)
    ranks = retrieve(vectors, np.array([0, 0, 1, 0]), metric="euclidean")
    assert ranks.map_at_r.value == pytest.approx(np.mean([1 / 2, 1 / 4, 1 / 4]))
    assert ranks.asking == 3  # item 2 has no like


def test_an_item_of_another_identity_that_scores_the_same_stands_first() -> None:
    found = retrieve(np.ones((20, 3), np.float32), np.repeat(np.arange(5), 4))
    assert [found.recall_at[k].value for k in (1, 5, 10)] == [0.0, 0.0, 0.0]
    assert found.map_at_r.value == 0.0
    assert found.few_shot[5, 1] is not None
    assert found.few_shot[5, 1].value == 0.0


def test_perfect_encoders_find_everything_but_with_bounds_of_the_sample() -> None:
    vectors, identity = clusters(10, 7, 0.001)
    found = retrieve(vectors, identity)
    for rate in (*found.recall_at.values(), found.map_at_r, found.few_shot[5, 1], found.few_shot[5, 5]):
        assert rate is not None
        assert (rate.value, rate.high) == (1.0, 1.0)
        assert rate.low <= 0.7  # ten identities without an error: the rule of three
    assert found.few_shot[20, 1] is None


def test_chance_is_the_share_of_others_that_match() -> None:
    vectors, identity = clusters(6, 4, 0.5)
    assert retrieve(vectors, identity).chance == pytest.approx(3 / 23)


def test_a_set_in_which_nothing_has_its_like_gives_no_figures() -> None:
    rows = Embeddings(np.ones(3, np.bool_), np.eye(3, dtype=np.float32), None, None, {})
    embedded = Embedded(labelled(np.arange(3)), np.arange(3), rows)
    assert measure_retrieval(embedded, "cosine", grouped=False, draws=1000, seed=0) is None


def test_more_references_help_and_their_scores_are_averaged() -> None:
    vectors, identity = clusters(12, 6, 1.2)
    found = retrieve(vectors, identity)
    one, five = found.few_shot[5, 1], found.few_shot[5, 5]
    assert one is not None
    assert five is not None
    assert five.value > one.value + 0.05


def test_trials_stay_within_a_group_and_are_the_same_for_every_encoder() -> None:
    # two groups that look alike: identity 0 of one is identity 3 of the other, so that trials across groups would fail
    vectors, _ = clusters(3, 4, 0.001)
    identity = np.repeat(np.arange(6), 4)
    items = labelled(identity, identity // 3)
    both = np.concatenate([vectors, vectors])
    matrix = similarity_matrix(both, both, "cosine")
    hits = few_shot_hits(items, lambda a, b: matrix[np.ix_(a, b)], way=3, shot=1, seed=0)
    assert hits is not None
    assert (hits[~np.isnan(hits)] == 1.0).all()
    again = few_shot_hits(items, lambda a, b: -matrix[np.ix_(a, b)], way=3, shot=1, seed=0)
    assert again is not None
    assert np.array_equal(np.isnan(hits), np.isnan(again))
    assert few_shot_hits(items, lambda a, b: matrix[np.ix_(a, b)], way=4, shot=1, seed=0) is None

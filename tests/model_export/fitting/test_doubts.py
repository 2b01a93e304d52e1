"""What an encoder does not believe of labels: found where it is planted, and not where labels are right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_export.fitting.doubts import MISNAMED, ONE, find_doubts

EACH = 6
Vectors = npt.NDArray[np.float32]


def embedded(identities: int = 20) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Unit vectors around one centre for each identity."""
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(identities, 32)), EACH, axis=0) + rng.normal(0, 0.2, (identities * EACH, 32))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.repeat(np.arange(identities), EACH)


def test_right_labels_are_believed() -> None:
    rows, identity = embedded()
    assert list(find_doubts(rows @ rows.T, identity)) == []


def test_one_identity_under_two_names_is_doubted() -> None:
    rows, identity = embedded()
    identity[: EACH // 2] = 100  # half of the first has another name
    (doubt,) = find_doubts(rows @ rows.T, identity)
    assert {identity[doubt[0]], identity[doubt[1]]} == {0, 100}
    assert doubt[3] == ONE


def test_swapped_items_are_doubted() -> None:
    rows, identity = embedded()
    identity[0], identity[EACH] = identity[EACH], identity[0]
    doubts = list(find_doubts(rows @ rows.T, identity))
    assert {doubt[0] for doubt in doubts} == {0, EACH}
    assert {doubt[3] for doubt in doubts} == {MISNAMED}


def test_identities_of_one_item_are_passed_over() -> None:
    rows, _ = embedded(2)
    assert list(find_doubts(rows @ rows.T, np.arange(2 * EACH))) == []

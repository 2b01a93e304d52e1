"""A constant and a random encoder go through the whole evaluator, as bundles that claim another's evidence: every
figure is chance, ties never count for them, and their claims are called wrong.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from app.core.bundle import CPU, Golden, seal, write_bundle
from app.core.modalities.base import Limits
from model_export.__main__ import main
from model_export.datasets import LabelledItems, Run, Splits
from model_export.tables import LOSS_HEADING, ONE_SHOT_HEADING
from tests.model_export.pair_tables import write_pictures
from tests.model_export.printed import bounds_of, printed_tables, value_of
from tests.tiny import DIMENSION, OPSET, SIDE, open_tiny, serialise, tiny_calibration, tiny_draft, tiny_item

UNITS, VARIANTS, GROUPS = 40, 6, 8
RECIPE = """
[calibration]
population = "patterns"
unit = "pattern"
random = "another pattern"
hard = "another pattern of the same group"
draws = 1000
"""


def graph_of(kind: str) -> bytes:
    """A graph whose every vector is the same, or hangs on the pixels as a hash does.

    The hash is a product of whole numbers, exact in float32, modulo a prime: it is the same in every batch, and other
    for pictures that differ in one pixel.
    """
    rng = np.random.default_rng(3)
    weights = rng.integers(-99, 100, (SIDE * SIDE, DIMENSION)) if kind == "random" else np.zeros((64, DIMENSION))
    constants: dict[str, npt.NDArray[Any]] = {
        "flat": np.array([-1, SIDE * SIDE], np.int64),
        "weights": weights.astype(np.float32),
        "prime": np.array(251, np.float32),
        "half": np.array(125.2, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["sums"]),
        helper.make_node("Mod", ["sums", "prime"], ["rest"], fmod=1),
        helper.make_node("Abs", ["rest"], ["positive"]),
        helper.make_node("Sub", ["positive", "half"], ["raw"]),
        helper.make_node("ReduceL2", ["raw"], ["lengths"], axes=[1], keepdims=1),
        helper.make_node("Div", ["raw", "lengths"], ["vectors"]),
    ]
    return serialise(nodes, constants)


def write_encoder(kind: str, models: Path) -> Path:
    """A bundle of that graph, with the evidence that was measured of the tiny encoder."""
    items = tuple(tiny_item(identity, 0) for identity in range(4))
    draft, graph = tiny_draft(name=kind), graph_of(kind)
    assert draft.graph.opset == OPSET
    empty = np.zeros((4, DIMENSION), np.float32)
    golden = Golden(items, empty, empty, {CPU: 1e-5}, "training framework")
    rows = open_tiny(seal(draft, graph=graph, golden=golden)).embed(items, Limits())
    golden = Golden(items, rows, rows, {CPU: 1e-5}, "training framework")
    return write_bundle(models, seal(draft, graph=graph, golden=golden, calibration=tiny_calibration()), {})


def population() -> Splits:
    """Patterns in groups, halves of them told apart, and two one-shot runs of twenty."""
    unit = np.repeat(np.arange(UNITS), VARIANTS)
    half = np.where(unit < UNITS // 2, "first", "second")
    group = unit % GROUPS
    items = [tiny_item(5000 + u, v) for u in range(UNITS) for v in range(VARIANTS)]
    names = tuple(f"group {number}" for number in range(GROUPS))
    test = LabelledItems(items, unit, unit, group, np.zeros_like(unit), names, cohorts={"half": half})
    runs = [
        Run(
            [items[(first + i) * VARIANTS] for i in range(20)],
            [items[(first + i) * VARIANTS + 1] for i in range(20)],
            np.arange(20),
        )
        for first in (0, 20)
    ]
    return Splits(test, test, test, test, "patterns that nobody trained on", runs=tuple(runs))


@pytest.fixture(scope="module", params=["constant", "random"])
def evaluated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind of the encoder, and the folder of the printed tables and reports of both ways to evaluate it."""
    folder = tmp_path_factory.mktemp(request.param)
    bundle = str(write_encoder(request.param, folder / "models"))
    whole = Path("recipes/glyphs.toml").read_text("utf-8")
    recipe = folder / "patterns.toml"
    recipe.write_text(whole[: whole.index("[calibration]")] + RECIPE.strip() + "\n", "utf-8")
    table = write_pictures(folder / "table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_export.evaluate.read_splits", lambda _: population())
        few = {"MOST_UNITS": 16, "PER_UNIT_AND_GROUP": 2, "PER_IDENTITY": 2, "MOST_PAIRS": 20}
        for name, number in few.items():
            patch.setattr(f"model_export.robustness.comparisons.{name}", number)
        for name, data in {"recipe": ["--recipe", str(recipe)], "pairs": ["--pairs", str(table)]}.items():
            with redirect_stdout(StringIO()) as printed:
                assert main(["evaluate", bundle, *data, "--out", str(folder / name)]) == 0
            (folder / f"{name}.txt").write_text(printed.getvalue(), "utf-8")
    return request.param, folder


def rows_of(evaluated: tuple[str, Path], how: str, heading: str) -> list[dict[str, str]]:
    """The rows of the encoder in the table whose heading begins so."""
    kind, folder = evaluated
    tables = printed_tables((folder / f"{how}.txt").read_text("utf-8"))
    (rows,) = [rows for name, rows in tables.items() if name.startswith(heading)]
    return [row for row in rows if row.get("", f"{kind}@1.0.0") == f"{kind}@1.0.0"]


@pytest.mark.parametrize("how", ["recipe", "pairs"])
def test_verification_is_chance(evaluated: tuple[str, Path], how: str) -> None:
    for row in rows_of(evaluated, how, "Verification"):
        if evaluated[0] == "constant":
            assert (value_of(row["ROC AUC"]), value_of(row["EER"])) == (0.5, 0.5)
            assert value_of(row["FNMR at FMR 1e-01"]) == 1.0
        for name, chance in (("ROC AUC", 0.5), ("EER", 0.5)):
            low, high = bounds_of(row[name])
            assert low <= chance <= high
        low, high = bounds_of(row["FNMR at FMR 1e-01"])
        assert low <= 0.9 <= high or evaluated[0] == "constant"


def test_nothing_is_found_but_by_chance(evaluated: tuple[str, Path]) -> None:
    (found,) = rows_of(evaluated, "recipe", "Retrieval")
    (trials,) = rows_of(evaluated, "recipe", "N-way K-shot")
    (runs,) = rows_of(evaluated, "recipe", ONE_SHOT_HEADING)
    assert trials["20-way 1-shot"] == "too few items"  # five of a group
    if evaluated[0] == "constant":
        cells = (found["recall@1"], found["recall@10"], found["MAP@R"], trials["5-way 1-shot"], trials["5-way 5-shot"])
        assert [value_of(cell) for cell in (*cells, runs["accuracy"])] == [0.0] * 6  # ties are wrong
        return
    low, high = bounds_of(found["recall@1"])
    chance = value_of(found["recall@1 by chance"])
    assert chance == pytest.approx(5 / 239, abs=1e-4)
    assert low <= chance <= high
    for name in ("5-way 1-shot", "5-way 5-shot"):
        low, high = bounds_of(trials[name])
        assert low <= 0.2 <= high
    assert value_of(runs["accuracy"]) < 0.2


@pytest.mark.parametrize("how", ["recipe", "pairs"])
def test_scores_hold_no_information(evaluated: tuple[str, Path], how: str) -> None:
    for row in rows_of(evaluated, how, LOSS_HEADING):
        assert 0.9 < value_of(row["minCllr"]) <= 1.0
        assert value_of(row["Cllr"]) >= 1.0
        assert row["at most 0.05"] == "no"  # the map of another encoder


@pytest.mark.parametrize("how", ["recipe", "pairs"])
def test_wear_makes_chance_no_worse_and_no_better(evaluated: tuple[str, Path], how: str) -> None:
    rows = rows_of(evaluated, how, "Robustness")
    assert {row["change"] for row in rows} == {"rotation", "blur", "JPEG", "noise"}
    for row in rows:
        low, high = bounds_of(row["ROC AUC"])
        assert low <= 0.5 <= high
    if evaluated[0] == "constant":
        assert {row["matching pairs flipped"] for row in rows} == {"0.0%"}


def test_claims_of_another_encoder_are_called_wrong(evaluated: tuple[str, Path]) -> None:
    rows = rows_of(evaluated, "recipe", "What the bundle claims")
    assert rows
    for row in rows:
        assert "no" in (row["FMR agrees"], row["FNMR agrees"])


def test_cohorts_are_chance_too(evaluated: tuple[str, Path]) -> None:
    rows = rows_of(evaluated, "recipe", "Cohorts")
    halves = [row for row in rows if row["of"] == "half"]
    assert [row["cohort"] for row in halves] == ["first", "second"]
    assert {row["ROC AUC"] for row in rows if row["of"] == "group"} == {"too few"}  # five units each
    for row in halves:
        low, high = bounds_of(row["ROC AUC"])
        assert low <= 0.5 <= high


@pytest.mark.parametrize("how", ["recipe", "pairs"])
def test_batches_do_not_matter_and_nothing_is_refused(evaluated: tuple[str, Path], how: str) -> None:
    (batches,) = rows_of(evaluated, how, "Batch sizes")
    assert batches["within it"] == "yes"
    (refused,) = rows_of(evaluated, how, "Failure to acquire")
    assert (refused["refused"], refused["by reason"]) == ("0", "none")


@pytest.mark.parametrize("how", ["recipe", "pairs"])
def test_the_floor_beside_them_is_no_chance(evaluated: tuple[str, Path], how: str) -> None:
    """Else tables that print one half whatever is measured would pass."""
    tables = printed_tables((evaluated[1] / f"{how}.txt").read_text("utf-8"))
    floors = {name: [row for row in rows if row.get("") == "floor pixels"] for name, rows in tables.items()}
    without = {name.partition(" ")[0] for name, rows in floors.items() if not rows}
    assert without == {"Batch", "Operating", "What"} | ({"Pairs"} if how == "pairs" else set())  # a bundle's own
    (verified,) = [rows for name, rows in floors.items() if name.startswith("Verification")]
    for row in verified:
        assert bounds_of(row["ROC AUC"])[0] > 0.7
    assert (evaluated[1] / how / "report.html").stat().st_size > 50_000

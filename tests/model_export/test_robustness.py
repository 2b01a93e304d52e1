"""Wear: every change of every modality is a real one, stronger ones go farther, what is refused is counted apart."""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from app.core.evidence import GenuineScores
from app.core.modalities.base import Item
from model_export.datasets import LabelledItems
from model_export.drawings import draw_character
from model_export.pairs import read_pairs
from model_export.probes.audio import utter
from model_export.probes.series import beat
from model_export.recipe import Calibration, read_recipe
from model_export.robustness import Change, changes_of, measuring
from model_export.robustness.comparisons import PER_UNIT, PairComparisons, RecipeComparisons
from model_export.robustness.measuring import measure_robustness
from model_export.subjects import LocalSubject
from tests.model_export.pair_tables import write_pictures
from tests.model_export.tiny_sets import RECIPES
from tests.tiny import tiny_item, write_tiny


def picture() -> Item:
    file = BytesIO()
    draw_character(3, 1, (90, 60)).save(file, "PNG")
    return {"bytes": file.getvalue()}


def sound() -> Item:
    file = BytesIO()
    soundfile.write(file, utter(1, 0.5, 8000), 8000, format="WAV", subtype="PCM_16")
    return {"bytes": file.getvalue()}


def series() -> Item:
    values = beat(1, 500, 1).tolist()
    values[3] = [None]
    return {"values": values, "rate": 250}


EXAMPLES: dict[str, Callable[[], Item]] = {
    "image": picture,
    "audio": sound,
    "series": series,
    "text": lambda: {"text": "how do I change the pin of my card before I travel? " * 6, "prefix": "query"},
}


def numbers(modality: str, item: Item) -> np.ndarray:
    """What an item says, as numbers: pixels, samples, values."""
    if modality == "image":
        return np.asarray(Image.open(BytesIO(item["bytes"])).convert("L").resize((90, 60)), np.float64).ravel()
    if modality == "audio":
        return np.asarray(soundfile.read(BytesIO(item["bytes"]))[0])
    return np.array([np.nan if row[0] is None else row[0] for row in item["values"]], np.float64)


def apart(modality: str, item: Item, change: Change, strength: float) -> float:
    """How far a changed item is from the item: the squares of all differences, what is cut off counting in full; of
    texts the share of letters that they do not have in common, in order.
    """
    changed = change.apply(item, strength, np.random.default_rng(0))
    if modality == "text":
        return 1 - SequenceMatcher(None, item["text"], changed["text"], autojunk=False).ratio()
    before, after = numbers(modality, item), numbers(modality, changed)
    most = max(len(before), len(after))
    sides = [np.pad(np.nan_to_num(one), (0, most - len(one))) for one in (before, after)]
    return float(np.square(sides[0] - sides[1]).sum())


@pytest.mark.parametrize(
    ("modality", "change"), [(name, change) for name in EXAMPLES for change in changes_of(name)], ids=str
)
def test_every_strength_changes_more_than_the_one_before(modality: str, change: Change) -> None:
    item = EXAMPLES[modality]()
    distances = [apart(modality, item, change, strength) for strength in change.strengths]
    assert distances[0] > 0
    assert distances == sorted(distances)


@pytest.mark.parametrize("modality", EXAMPLES)
def test_what_is_drawn_comes_from_the_generator_and_the_rest_of_the_item_stays(modality: str) -> None:
    item = EXAMPLES[modality]()
    for change in changes_of(modality):
        first, second = (change.apply(item, change.strengths[-1], np.random.default_rng(5)) for _ in range(2))
        assert first == second
        assert {name: value for name, value in first.items() if name in ("rate", "prefix")} == {
            name: value for name, value in item.items() if name in ("rate", "prefix")
        }


def test_gaps_stay_gaps_and_a_jpeg_is_one() -> None:
    (noise,) = [change for change in changes_of("series") if change.name == "noise"]
    assert noise.apply(series(), 10, np.random.default_rng(0))["values"][3] == [None]
    (jpeg,) = [change for change in changes_of("image") if change.name == "JPEG"]
    assert Image.open(BytesIO(jpeg.apply(picture(), 20, np.random.default_rng(0))["bytes"])).format == "JPEG"


def test_a_modality_that_nothing_here_wears_has_no_curve() -> None:
    assert changes_of("measuring") == changes_of("comparisons") == changes_of("smell") == ()


UNITS = 20
CHOSEN = Calibration(population="patterns", unit="pattern", random="another pattern", draws=1000)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> LocalSubject:
    return LocalSubject(write_tiny(tmp_path_factory.mktemp("worn")))


@pytest.fixture
def patterns() -> RecipeComparisons:
    unit = np.repeat(np.arange(UNITS), 3)
    zeros = np.zeros_like(unit)
    items = LabelledItems(
        [tiny_item(4000 + u, v) for u in range(UNITS) for v in range(3)], unit, unit, zeros, zeros, ("",)
    )
    return RecipeComparisons(
        items, read_recipe(Path("recipes/heartbeat.toml")).model_copy(update={"calibration": CHOSEN})
    )


def only(monkeypatch: pytest.MonkeyPatch, *changes: Change) -> None:
    monkeypatch.setattr(measuring, "changes_of", lambda _: changes)


def test_wear_costs_what_it_takes_and_verdicts_flip(
    subject: LocalSubject, patterns: RecipeComparisons, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rotation,) = [change for change in changes_of("image") if change.name == "rotation"]
    only(monkeypatch, rotation)
    clean, *worn = measure_robustness(subject, patterns, "random", 0.6)
    assert [one.strength for one in worn] == [5, 10, 20, 45]
    assert (clean.strength, clean.refused, clean.genuine_flipped, clean.impostor_flipped) == (None, 0.0, 0.0, 0.0)
    aucs = [one.auc.value for one in (clean, *worn) if one.auc is not None]
    flipped = [one.genuine_flipped for one in (clean, *worn) if one.genuine_flipped is not None]
    assert len(aucs) == len(flipped) == 5
    assert aucs == sorted(aucs, reverse=True)
    assert flipped == sorted(flipped)
    assert aucs[0] == 1.0
    assert flipped[-1] == pytest.approx(1.0)


def test_what_the_service_refuses_is_counted_and_too_few_have_no_figures(
    subject: LocalSubject, patterns: RecipeComparisons, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_some(item: Item, share: float, generator: np.random.Generator) -> Item:
        return {"bytes": b"no picture"} if generator.random() < share else item

    only(monkeypatch, Change("breaking", "of the items", (0.3, 0.95), break_some))
    clean, some, most = measure_robustness(subject, patterns, "random", 0.6)
    assert clean.refused == 0.0
    assert some.refused == pytest.approx(0.3, abs=0.15)
    assert some.auc is not None
    assert some.genuine_flipped == 0.0  # those that are left are as they were
    assert most.refused > 0.8
    assert (most.auc, most.eer, most.genuine_flipped) == (None, None, None)


def test_one_side_of_a_pair_is_worn_and_the_other_as_it_came(
    subject: LocalSubject, patterns: RecipeComparisons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were both worn alike, an item that becomes another would still match its like."""

    def replace_all(_: Item, strength: float, generator: np.random.Generator) -> Item:
        return tiny_item(int(strength), int(generator.integers(2**31)))

    only(monkeypatch, Change("replacing", "by one pattern", (9999,), replace_all))
    _, worn = measure_robustness(subject, patterns, "random", 0.6)
    assert worn.auc is not None
    assert worn.auc.value == pytest.approx(0.5, abs=0.15)


def test_units_of_many_identities_lend_few_of_them_and_those_whole() -> None:
    unit, name, take = (axis.ravel() for axis in np.meshgrid(np.arange(20), np.arange(10), np.arange(4), indexing="ij"))
    everything = [{"text": f"{one}"} for one in range(len(unit))]
    labelled = LabelledItems(everything, unit * 10 + name, unit, name, take, tuple(map(str, range(10))))
    drawn = RecipeComparisons.draw(labelled, read_recipe(RECIPES / "signatures.toml")).labelled
    units, items = np.unique(drawn.unit, return_counts=True)
    assert len(units) == 20
    assert set(items.tolist()) == {PER_UNIT}
    assert set(np.unique(drawn.identity, return_counts=True)[1].tolist()) == {4}


def test_labelled_pairs_are_worn_on_their_second_item(
    subject: LocalSubject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_pairs(write_pictures(tmp_path, units=12), "base64")
    drawn = PairComparisons.draw(table, 0)
    kept = np.ones(len(drawn.items), np.bool_)
    vectors = subject.embed(drawn.items).vectors
    scores = drawn.score(kept, vectors, -vectors, "cosine")
    assert scores is not None
    assert isinstance(scores.genuine, GenuineScores)
    as_they_came = drawn.score(kept, vectors, vectors, "cosine")
    assert as_they_came is not None
    assert np.allclose(scores.genuine.score, -as_they_came.genuine.score)
    monkeypatch.setattr("model_export.robustness.comparisons.MOST_PAIRS", 10)
    few = PairComparisons.draw(table, 0)
    assert (few.table.label.sum(), (~few.table.label).sum()) == (10, 10)
    assert len(few.items) <= 40
    for pair in range(20):
        at = int(np.flatnonzero(table.row == few.table.row[pair])[0])
        assert few.items[int(few.table.a[pair])] == table.items[int(table.a[at])]
        assert few.items[int(few.table.b[pair])] == table.items[int(table.b[at])]
    assert few.score(np.zeros(len(few.items), np.bool_), vectors[:0], vectors[:0], "cosine") is None

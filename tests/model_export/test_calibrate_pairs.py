"""One's own evidence: what `calibrate --pairs` makes of a bundle and a table of labelled pairs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.bundle import read_bundle, write_bundle
from app.core.evidence import disagreements, fmr_at
from model_export.__main__ import main
from model_export.card import show
from model_export.claim_tables import RENEWED
from tests.core.modalities import texts
from tests.core.modalities.recordings import ecg, masked_graph, series_bundle
from tests.model_export.pair_tables import UNITS, read_csv, write_pictures, write_rows
from tests.tiny import write_tiny


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an uncalibrated bundle, a pair table, and what `calibrate --pairs` made of them."""
    folder = tmp_path_factory.mktemp("own")
    write_tiny(folder / "models", calibrated=False, status="demonstration")
    write_pictures(folder / "table")
    (folder / "models" / "tiny" / "1.0.1").mkdir()  # a version that is there already
    assert main([*calibration(folder), "--population", "our own patterns", "--unit", "pattern"]) == 0
    return folder


def calibration(folder: Path) -> list[str]:
    return ["calibrate", str(folder / "models" / "tiny" / "1.0.0"), "--pairs", str(folder / "table" / "pairs.csv")]


def test_own_evidence_stands_beside_the_old_version_and_keeps_the_fingerprint(work: Path) -> None:
    before, after = (read_bundle(work / "models" / "tiny" / version) for version in ("1.0.0", "1.0.2"))
    assert after.fingerprint == before.fingerprint
    assert (before.calibration, after.manifest.status) == (None, "released")
    found = after.calibration
    assert found is not None
    assert (found.source, found.population, found.unit) == ("yours", "our own patterns", "pattern")
    assert (found.valid_for_days, found.counts.units, found.counts.items) == (730, UNITS, 3 * UNITS)
    assert (found.counts.genuine_pairs, found.counts.impostor_pairs) == (2 * UNITS, {"labelled": UNITS * 39 // 2})
    assert found.impostor("labelled").description == "pairs labelled as not matching"
    assert found.impostor("labelled").unit_pairs == UNITS * 39 // 2
    assert "fmr_1e-2" in {point.name for point in found.operating_points}
    for point in found.operating_points:
        assert point.verified is not None
        assert point.verified.method == "cross_fitted"
        assert "our own patterns" in point.verified.population
    assert disagreements(found) == ()


def test_card_and_report_hold_no_item(work: Path) -> None:
    folder = work / "models" / "tiny" / "1.0.2"
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    for said in ("our own patterns", "cross-fitting", "pairs labelled as not matching", "ROC AUC"):
        assert said in card
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert "report/report.html" in written
    assert not any("hardest" in name for name in written)
    assert all(".png" not in line for line in card.splitlines())


def test_the_same_table_gives_the_same_evidence(work: Path, tmp_path: Path) -> None:
    words = ["--population", "our own patterns", "--unit", "pattern"]
    assert main([*calibration(work), "--out", str(tmp_path), *words]) == 0
    again = read_bundle(tmp_path / "tiny" / "1.0.1").calibration
    first = read_bundle(work / "models" / "tiny" / "1.0.2").calibration
    assert again is not None
    assert first is not None
    assert again.model_dump() | {"id": first.id} == first.model_dump()


def test_words_and_types_of_the_caller_are_in_the_evidence(work: Path, tmp_path: Path) -> None:
    table = work / "table" / "typed.csv"
    rows = read_csv(work / "table" / "pairs.csv")
    typed = [(*row, "" if row[2] == "1" else ("near", "far")[at % 2]) for at, row in enumerate(rows)]
    write_rows(table, typed, ("a", "b", "label", "impostor"))
    arguments = ["calibrate", str(work / "models" / "tiny" / "1.0.0"), "--pairs", str(table), "--out", str(tmp_path)]
    assert main([*arguments, "--impostor", "near=look alike", "--valid-for-days", "30"]) == 0
    found = read_bundle(tmp_path / "tiny" / "1.0.1").calibration
    assert found is not None
    assert {one.type: one.description for one in found.impostors} == {
        "near": "look alike",
        "far": "pairs labelled as not matching, of type far",
    }
    assert (found.valid_for_days, found.population, found.unit) == (
        30,
        "labelled pairs of typed.csv",
        "group of matching items",
    )


def test_the_old_claim_stands_beside_the_new_one(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = write_pictures(tmp_path / "others", first=6000)
    old = read_bundle(work / "models" / "tiny" / "1.0.2").calibration
    arguments = ["calibrate", str(work / "models" / "tiny" / "1.0.2"), "--pairs", str(others), "--out", str(tmp_path)]
    assert main(arguments) == 0
    new = read_bundle(tmp_path / "tiny" / "1.0.3").calibration
    assert old is not None
    assert new is not None
    folder = tmp_path / "tiny" / "1.0.3"
    card, report = (folder / "MODEL_CARD.md").read_text("utf-8"), (folder / "report/report.html").read_text("utf-8")
    lines = [line for line in capsys.readouterr().out.splitlines() if "old threshold" in line or line in card]
    (row,) = [line for line in lines if line.startswith("| fmr_1e-1")]
    cells = row.strip("| ").split(" | ")
    (before,), (after,) = ([p for p in one.operating_points if p.name == "fmr_1e-1"] for one in (old, new))
    assert cells[2:4] == [f"{before.threshold:.4f}", show(before.fmr)]
    # what the old threshold does to the new pairs lies between the old claim and none: measured, not copied
    curve = new.fmr_curve("labelled")
    assert curve is not None
    assert float(cells[6].split()[0]) == pytest.approx(fmr_at(curve, before.threshold).value, abs=0.02)
    assert cells[8].split()[0] == f"{after.threshold:.4f}"
    assert cells[9] == show(after.fmr)
    for page in (card, report):
        assert RENEWED in page
    assert RENEWED not in (work / "models" / "tiny" / "1.0.2" / "MODEL_CARD.md").read_text("utf-8")  # none before it


def test_one_identity_under_two_names_and_wrong_labels_are_named_by_their_rows(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_csv(work / "table" / "pairs.csv")
    units = [(name.partition("_")[0], other.partition("_")[0]) for name, other, _ in rows]
    named: list[tuple[Any, ...]] = [(a, b, label, *pair) for (a, b, label), pair in zip(rows, units, strict=True)]
    # the third pattern of unit 7 as if it were another's, and a pair of two units that is said to match
    named += [("7_1.png", "7_2.png", 0, "7", "also 7"), ("0_1.png", "9_1.png", 1, "0", "0")]
    table = write_rows(work / "table" / "names.csv", named, ("a", "b", "label", "unit_a", "unit_b"))
    arguments = ["calibrate", str(work / "models" / "tiny" / "1.0.0"), "--pairs", str(table), "--out", str(tmp_path)]
    assert main(arguments) == 0
    doubts = [line for line in capsys.readouterr().out.splitlines() if line.startswith("doubt: ")]
    assert len(doubts) == 2
    assert f"rows {len(rows) + 1}: wrong labels, one identity under two names" in doubts[0]
    assert f"{len(rows) + 2}" in doubts[1]
    assert main([*calibration(work), "--out", str(tmp_path)]) == 0
    assert "doubt" not in capsys.readouterr().out


def test_few_units_make_a_demonstration(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_pictures(tmp_path / "few", units=2)
    arguments = ["calibrate", str(work / "models" / "tiny" / "1.0.0"), "--pairs", str(table), "--out", str(tmp_path)]
    assert main(arguments) == 0
    bundle = read_bundle(tmp_path / "tiny" / "1.0.1")
    assert bundle.manifest.status == "demonstration"
    assert bundle.calibration is not None
    assert [(p.name, p.fmr.high, p.verified) for p in bundle.calibration.operating_points] == [("eer", 1.0, None)]
    printed = capsys.readouterr().out
    for said in ("P = 1, strictest operating point: none", "nothing is verified: cross-fitting", "a demonstration"):
        assert said in printed
    assert "not verified" in (tmp_path / "tiny" / "1.0.1" / "MODEL_CARD.md").read_text("utf-8")
    assert main(["evaluate", str(tmp_path / "tiny" / "1.0.1"), "--pairs", str(table)]) == 0
    assert "no operating point" in capsys.readouterr().out


def test_pairs_that_do_not_score_higher_are_no_evidence(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_csv(work / "table" / "pairs.csv")
    same = [row for row in rows if row[2] == "1"]
    # what matches is called different and the other way round; each item is a unit of its own
    units = {name: at for at, name in enumerate({cell for row in rows for cell in row[:2]})}
    wrong = [(a, b, 0, units[a], units[b]) for a, b, _ in same]
    wrong += [(a, b, 1, units[a], units[a]) for a, b, label in rows if label == "0"][:60]
    table = write_rows(work / "table" / "wrong.csv", wrong, ("a", "b", "label", "unit_a", "unit_b"))
    arguments = ["calibrate", str(work / "models" / "tiny" / "1.0.0"), "--pairs", str(table), "--out", str(tmp_path)]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "genuine scores are not higher than impostor scores of type labelled" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_refused_items_are_counted_and_told(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "table" / "broken.png").write_bytes(b"no picture")
    rows = read_csv(work / "table" / "pairs.csv")
    table = write_rows(work / "table" / "broken.csv", [*map(tuple, rows), ("broken.png", "1_0.png", 0)])
    arguments = ["calibrate", str(work / "models" / "tiny" / "1.0.0"), "--pairs", str(table), "--out", str(tmp_path)]
    assert main(arguments) == 0
    found = read_bundle(tmp_path / "tiny" / "1.0.1").calibration
    assert found is not None
    assert found.failure_to_acquire == {"unusable_input": pytest.approx(1 / (3 * UNITS + 1))}
    assert found.counts.units == UNITS
    assert "0.83% of the items are refused, their pairs left out: unusable_input" in capsys.readouterr().out


def test_a_side_that_is_empty_throughout_is_named_by_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path, texts.encoder(texts.wordpiece()).bundle, {})
    one, other, third = texts.SENTENCES[:3]
    table = write_rows(tmp_path / "blank.csv", [(one, other, 0), ("", third, 1)])
    for command in ("calibrate", "evaluate"):
        assert main([command, str(tmp_path / "words" / "1.0.0"), "--pairs", str(table)]) == 1
        assert "of every pair labelled 1 an item is refused or empty, that of row 2 first" in capsys.readouterr().err
    assert not (tmp_path / "words" / "1.0.1").exists()


def test_texts_and_series_are_calibrated_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    words = [word for sentence in texts.SENTENCES[:3] for word in sentence.split()]
    themes = [" ".join(rng.permutation(words)[:8]) for _ in range(30)]
    table = tmp_path / "texts.csv"
    rows: list[tuple[Any, ...]] = [(theme, f"{theme} the", 1) for theme in themes]
    write_rows(table, [*rows, *((themes[a], themes[b], 0) for a in range(30) for b in range(a))])
    write_bundle(tmp_path, texts.encoder(texts.wordpiece()).bundle, {})
    assert main(["calibrate", str(tmp_path / "words" / "1.0.0"), "--pairs", str(table)]) == 0

    hearts = [[ecg(seconds, seed=seed).tolist() for seconds in (2.0, 7.0)] for seed in range(12)]
    lines = [{"a": {"values": one}, "b": {"values": other}, "label": 1} for one, other in hearts]
    for a, b in itertools.combinations(range(12), 2):
        lines.append({"a": {"values": hearts[a][0]}, "b": {"values": hearts[b][1]}, "label": 0})
    (tmp_path / "hearts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_bundle(tmp_path, series_bundle(masked_graph()), {})
    assert main(["calibrate", str(tmp_path / "tiny" / "1.0.0"), "--pairs", str(tmp_path / "hearts.jsonl")]) == 0
    for name, units in (("words", 30), ("tiny", 12)):
        found = read_bundle(tmp_path / name / "1.0.1").calibration
        assert found is not None
        assert found.counts.units == units
        assert all(point.verified is not None for point in found.operating_points)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["calibrate", "B", "--recipe", "r.toml", "--unit", "x"], "a recipe says itself"),
        (["evaluate", "--pairs", "p.csv"], "give a bundle, or --url with --model"),
        (["evaluate", "B", "--url", "http://x", "--model", "m", "--pairs", "p.csv"], "give a bundle, or --url"),
        (["evaluate", "--url", "http://x", "--pairs", "p.csv"], "give a bundle, or --url with --model"),
    ],
)
def test_arguments_that_do_not_go_together_are_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["calibrate", "B"], ["calibrate", "B", "--recipe", "r", "--pairs", "p"]])
def test_exactly_one_source_of_data_is_named(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

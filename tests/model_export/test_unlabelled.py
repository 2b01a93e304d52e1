"""`calibrate --items`: a collection that nobody labelled, questions about it, and what the service says on them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.bundle import Bundle, read_bundle
from model_export.__main__ import main
from tests.serving import b64, load, make_app, serve
from tests.tiny import tiny_png, write_tiny

IDENTITIES, VARIANTS = 40, 3
OTHERS = 3000


def owner(name: str) -> str:
    return name.split("_")[1]


def write_collection(folder: Path, identities: int = IDENTITIES, first: int = OTHERS) -> Path:
    """Pictures whose names say what they show, in an order that does not."""
    folder.mkdir(parents=True)
    for identity in range(identities):
        for variant in range(VARIANTS):
            name = f"{(identity * VARIANTS + variant) * 7919 % 997}_{identity}.png"
            (folder / name).write_bytes(tiny_png(first + identity, variant))
    return folder


def fill(sheet: Path, answer: str | None = None) -> list[dict[str, str]]:
    """Answer every open question by what the names say, or all of them alike."""
    with sheet.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["match"] = answer or row["match"] or str(int(owner(row["a"]) == owner(row["b"])))
    write(sheet, rows)
    return rows


def write(sheet: Path, rows: list[dict[str, str]], columns: str = "number,a,b,match,a_key,b_key") -> None:
    with sheet.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns.split(","))
        table.writeheader()
        table.writerows(rows)


class Work:
    """A bundle, a collection, and the commands on them."""

    def __init__(self, folder: Path, identities: int = IDENTITIES) -> None:
        self.bundle = folder / "models" / "tiny" / "1.0.0"
        self.items = folder / "items"
        self.sheet = folder / "answers.csv"
        write_tiny(folder / "models", calibrated=False, status="demonstration")
        write_collection(self.items, identities)

    def run(self, *arguments: str) -> int:
        return main(["calibrate", str(self.bundle), "--items", str(self.items), *arguments])

    def answered(self, *arguments: str) -> int:
        return self.run("--answers", str(self.sheet), *arguments)

    def version(self, number: str) -> Bundle:
        return read_bundle(self.bundle.with_name(number))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """1.0.1 without answers; 120 answers in two rounds; 1.0.2 with them."""
    made = Work(tmp_path_factory.mktemp("unlabelled"))
    assert made.run("--population", "our patterns", "--unit", "picture") == 0
    for _ in range(2):
        assert made.answered("--ask", "60") == 0
        fill(made.sheet)
    assert made.answered() == 0
    return made


def compare(bundle: Bundle, a: bytes, b: bytes, **selectors: Any) -> dict[str, Any]:
    """A verdict of the real service on a real port."""
    with serve(make_app(load(bundle))) as port:
        body = {"a": {"base64": b64(a)}, "b": {"base64": b64(b)}, **selectors}
        response = httpx.post(f"http://127.0.0.1:{port}/compare", json=body)
    assert response.status_code == 200
    return dict(response.json())


def test_without_answers_fmr_is_bounded_and_fnmr_unknown(work: Work) -> None:
    before, after = work.version("1.0.0"), work.version("1.0.1")
    found = after.calibration
    assert found is not None
    assert (after.fingerprint, after.manifest.status) == (before.fingerprint, "released")
    assert (found.population, found.unit, found.source) == ("our patterns", "picture", "yours")
    assert (found.genuine_curves, found.ratios, found.counts.genuine_pairs) == ((), (), 0)
    assert found.impostor("random").unit_pairs == 120 * 119 // 2
    assert {point.fnmr for point in found.operating_points} == {None}


def test_verdicts_without_answers_say_that_fnmr_is_unknown(work: Work) -> None:
    said = compare(work.version("1.0.1"), tiny_png(OTHERS, 4), tiny_png(OTHERS, 5), prior=0.5)
    assert said["verdict"] == "match"
    assert [reason["code"] for reason in said["reasons"]] == ["fnmr_unknown"]
    point = said["operating_point"]
    assert (point["name"], point["fnmr"], point["impostor"]["type"]) == ("fmr_1e-1", None, "random")
    assert 0 < point["fmr"]["value"] <= point["fmr"]["high"] <= 0.1
    assert (said["posterior"], said["log_likelihood_ratio"]) == (None, None)


def test_verdicts_with_answers_have_fnmr_and_posterior(work: Work) -> None:
    said = compare(work.version("1.0.2"), tiny_png(OTHERS, 4), tiny_png(OTHERS, 5), prior=0.01, impostor="random")
    assert (said["verdict"], said["reasons"]) == ("match", [])
    fnmr, posterior = said["operating_point"]["fnmr"], said["posterior"]
    assert 0 <= fnmr["low"] <= fnmr["value"] <= fnmr["high"] < 1
    assert 0.01 < posterior["low"] <= posterior["value"] <= posterior["high"] < 1
    no = compare(work.version("1.0.2"), tiny_png(OTHERS, 4), tiny_png(OTHERS + 1, 4), prior=0.01, impostor="random")
    assert no["verdict"] == "no_match"
    assert no["posterior"]["value"] < 0.01


def test_sheet_shows_no_score_and_page_asks_what_is_open(work: Work) -> None:
    with work.sheet.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["number", "a", "b", "match", "a_key", "b_key"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 121)]
    assert len({frozenset(row[4:]) for row in rows[1:]}) == 120
    page = work.sheet.with_suffix(".html").read_text("utf-8")
    assert page.count("<form>") == 60  # the last round; earlier ones were answered
    assert "http" not in page.replace("http-equiv", "")


def test_what_the_answers_told_is_in_card_and_report(work: Work) -> None:
    folder = work.bundle.with_name("1.0.2")
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    for said in ("random pairs that match", "estimated from 120 answers", "not verified"):
        assert said in card
    assert (folder / "report" / "histogram.png").is_file()
    assert "not known" in (folder.with_name("1.0.1") / "MODEL_CARD.md").read_text("utf-8")


def test_answers_lower_the_threshold_that_hidden_matches_kept_high(work: Work) -> None:
    before, after = (work.version(number).calibration for number in ("1.0.1", "1.0.2"))
    assert before is not None
    assert after is not None
    first, second = ({p.name: p.threshold for p in one.operating_points} for one in (before, after))
    assert second["fmr_1e-2"] < first["fmr_1e-2"]
    assert after.impostors[0].unit_pairs < before.impostors[0].unit_pairs  # of things, not of items


@pytest.mark.parametrize("answer", ["0", "1"])
def test_answers_that_are_all_the_same_leave_fnmr_unknown(
    work: Work, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    sheet = tmp_path / "same.csv"
    sheet.write_bytes(work.sheet.read_bytes())
    fill(sheet, answer)
    assert work.run("--answers", str(sheet), "--out", str(tmp_path)) == 0
    kind = "match" if answer == "0" else "do not match"
    assert f"FNMR stays unknown: 0 of 120 answers {kind}, and it takes 15: ask on" in capsys.readouterr().out
    found = read_bundle(next((tmp_path / "tiny").iterdir())).calibration
    assert found is not None
    assert found.genuine_curves == ()


def test_wrong_answers_are_one_clear_line(work: Work, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = fill(work.sheet)
    cases = {
        "holds no question": [],
        "row 1: match is 1 for two that match": [{**rows[0], "match": "yes"}],
        "row 2: this pair is there twice": [rows[0], {**rows[0], "a_key": rows[0]["b_key"], "b_key": rows[0]["a_key"]}],
        "row 1 of the sheet: its items are not in this collection": [{**rows[0], "a_key": "0" * 16}],
        "row 1 of the sheet: its items are of one unit": [{**rows[0], "b_key": rows[0]["a_key"]}],
        "no question of the sheet is answered yet": [{**rows[0], "match": ""}],
    }
    sheet = tmp_path / "wrong.csv"
    for said, wrong in cases.items():
        write(sheet, wrong)
        capsys.readouterr()
        assert work.run("--answers", str(sheet), "--out", str(tmp_path)) == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "tiny").exists()


def test_a_sheet_that_nobody_named_is_not_overwritten(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answers.csv").write_text("mine")
    assert work.run("--ask", "10") == 1
    assert "answers.csv is there already" in capsys.readouterr().err
    assert (tmp_path / "answers.csv").read_text() == "mine"


def test_ten_items_claim_nothing_and_nine_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = Work(tmp_path, identities=4)
    for path in sorted(few.items.iterdir())[10:]:
        path.unlink()
    assert few.run() == 0
    assert few.version("1.0.1").manifest.status == "demonstration"
    assert few.answered("--ask", "46") == 1
    assert "46 questions are more than the 45 pairs" in capsys.readouterr().err
    assert few.answered("--ask", "45") == 0
    assert len(fill(few.sheet)) == 45
    next(few.items.iterdir()).unlink()
    assert few.run() == 1
    assert "9 items are too few; 10 are needed at least" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pairs", "p.csv", "--ask", "20"], "--ask and --answers go with --items"),
        (["--items", ".", "--impostor", "near"], "--impostor goes with --pairs"),
        (["--items", ".", "--ask", "3"], "no number of questions from 10 to 10000"),
    ],
)
def test_options_that_say_nothing_here_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["calibrate", "B", *arguments])
    except SystemExit as error:
        code = int(error.code or 0)
    assert code in (1, 2)
    assert said in capsys.readouterr().err

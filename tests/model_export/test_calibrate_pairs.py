"""One's own evidence: calibrate and evaluate on labelled pairs, a bundle on disk or a running service."""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.bundle import Bundle, read_bundle, write_bundle
from app.core.evidence import disagreements
from app.core.modalities.base import Limits
from app.core.scoring import similarity
from model_export.__main__ import main
from model_export.errors import CommandError
from model_export.evaluate import evaluate_pairs
from model_export.subjects import LocalSubject, RemoteSubject
from tests.core.modalities import texts
from tests.core.modalities.recordings import ecg, masked_graph, series_bundle
from tests.serving import client_of, load, make_app
from tests.tiny import make_tiny, open_tiny, tiny_item, tiny_png, write_tiny

UNITS = 40


def write_pictures(folder: Path, units: int = UNITS, first: int = 3000) -> Path:
    """pairs.csv over PNG files: two genuine pairs of each unit, and impostor pairs of every two units."""
    folder.mkdir(parents=True, exist_ok=True)
    for unit in range(units):
        for variant in range(3):
            (folder / f"{unit}_{variant}.png").write_bytes(tiny_png(first + unit, variant))
    rows = [(f"{unit}_0.png", f"{unit}_{variant}.png", 1) for unit in range(units) for variant in (1, 2)]
    rows += [(f"{a}_{b % 3}.png", f"{b}_{a % 3}.png", 0) for a in range(units) for b in range(a)]
    return write_rows(folder / "pairs.csv", rows)


def read_csv(path: Path) -> list[list[str]]:
    """The rows below the header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def write_rows(path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...] = ("a", "b", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


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
    assert again.model_copy(update={"id": first.id}) == first


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


def test_few_units_make_a_demonstration(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_pictures(tmp_path / "few", units=2)
    arguments = ["calibrate", str(work / "models" / "tiny" / "1.0.0"), "--pairs", str(table), "--out", str(tmp_path)]
    assert main(arguments) == 0
    bundle = read_bundle(tmp_path / "tiny" / "1.0.1")
    assert bundle.manifest.status == "demonstration"
    assert bundle.calibration is not None
    assert [(p.name, p.fmr.high, p.verified) for p in bundle.calibration.operating_points] == [("eer", 1.0, None)]
    printed = capsys.readouterr().out
    for said in ("1 unit pairs support no operating point", "nothing is verified: cross-fitting", "a demonstration"):
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


def test_evaluation_says_whether_the_claims_hold(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(work / "models" / "tiny" / "1.0.2")
    others = write_pictures(tmp_path / "others", first=5000)
    assert main(["evaluate", bundle, "--pairs", str(others), "--out", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    for said in ("ROC AUC", "EER", "FNMR at FMR 1e-02", "beyond the sample", "claimed FMR", "accuracy", "F1"):
        assert said in printed
    claims = [line.split(" | ") for line in printed.splitlines() if line.startswith("| fmr_1e-1")]
    assert [line[6] for line in claims] == ["yes"]
    report = tmp_path / "report"
    assert (report / "report.html").is_file()
    hardest = read_csv(report / "hardest.csv")
    assert {kind for kind, _, _ in hardest} == {"genuine", "labelled"}
    # the first is really the pair of that row, and the hardest of its kind
    score, row = next((float(score), int(row)) for kind, score, row in hardest if kind == "labelled")
    *files, label = read_csv(others)[row - 1]
    items = [{"bytes": (others.parent / file).read_bytes()} for file in files]
    a, b = open_tiny(read_bundle(Path(bundle))).embed(items, Limits())
    assert score == pytest.approx(float(similarity(a, b, "cosine")), abs=2e-6)
    assert score == max(float(score) for kind, score, _ in hardest if kind == "labelled")
    assert label == "0"


def test_a_claim_that_does_not_hold_is_called_so(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # impostors that are one pattern under two names, so that nearly all of them match
    table = write_pictures(tmp_path / "twins", units=30)
    rows: list[tuple[Any, ...]] = [(f"{unit}_0.png", f"{unit}_1.png", 1, unit, unit) for unit in range(30)]
    rows += [(f"{unit}_1.png", f"{unit}_2.png", 0, unit, f"{unit}, other name") for unit in range(30)]
    write_rows(table, rows, ("a", "b", "label", "unit_a", "unit_b"))
    assert main(["evaluate", str(work / "models" / "tiny" / "1.0.2"), "--pairs", str(table)]) == 0
    (claim,) = [
        line for line in capsys.readouterr().out.splitlines() if "| labelled | labelled |" in line and "1e-2" in line
    ]
    assert claim.split(" | ")[6] == "no"


class Service:
    """The real application, as a synchronous transport: what RemoteSubject meets behind --url."""

    def __init__(self, *bundles: Bundle, **changes: Any) -> None:
        self.app = make_app(load(*bundles), **changes)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)

        async def send() -> httpx.Response:
            async with client_of(self.app) as client:
                answer = await client.request(
                    request.method, request.url.path, content=request.content, headers=dict(request.headers)
                )
                return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

        return asyncio.run(send())

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self), base_url="http://twinserve")


@pytest.fixture
def service(work: Path) -> Service:
    return Service(read_bundle(work / "models" / "tiny" / "1.0.2"))


def test_a_running_service_gives_the_same_figures_as_its_bundle(
    work: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    table = work / "table" / "pairs.csv"
    evaluate_pairs(LocalSubject(work / "models" / "tiny" / "1.0.2"), table, None)
    local = capsys.readouterr().out.split("\nOperating points")[0]
    evaluate_pairs(RemoteSubject("http://twinserve", "tiny", service.client()), table, None)
    remote = capsys.readouterr().out
    assert remote.strip() == local.strip()
    assert "fmr_1e-2" in remote
    embeds = [request for request in service.requests if request.url.path == "/v1/embed"]
    assert len(embeds) == -(-3 * UNITS // 32)
    assert {json.loads(request.content)["model"] for request in embeds} == {"tiny@1.0.2"}


def test_an_item_that_the_service_refuses_is_left_out_and_the_rest_goes_on(service: Service) -> None:
    items = [tiny_item(0, 0), {"bytes": b"no"}, tiny_item(1, 0), {"bytes": b""}, tiny_item(2, 0)]
    subject = RemoteSubject("http://twinserve", "tiny", service.client())
    rows = subject.embed(items)
    assert rows.kept.tolist() == [True, False, True, False, True]
    assert rows.failure_to_acquire == {"unusable_input": 0.4}
    expected = open_tiny(make_tiny(calibrated=False)).embed([items[0], items[2], items[4]], Limits())
    assert np.allclose(rows.vectors, expected, atol=1e-6)
    with pytest.raises(CommandError, match="refused every item"):
        subject.embed([{"bytes": b""}])


def test_a_request_too_large_as_a_whole_is_sent_in_halves(work: Path) -> None:
    # a picture is some hundred bytes: thirty of them are too many, one is not
    small = Service(read_bundle(work / "models" / "tiny" / "1.0.2"), max_body_bytes=4000)
    items = [tiny_item(at, 0) for at in range(30)]
    rows = RemoteSubject("http://twinserve", "tiny", small.client()).embed(items)
    assert rows.kept.all()
    assert np.allclose(rows.vectors, open_tiny(make_tiny(calibrated=False)).embed(items, Limits()), atol=1e-6)
    assert sum(request.url.path == "/v1/embed" for request in small.requests) > 2


def test_a_service_that_changes_or_fails_is_told_in_one_line(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="no such model is served"):
        RemoteSubject("http://twinserve", "other", service.client())
    changed = RemoteSubject("http://twinserve", "tiny", service.client())
    monkeypatch.setattr(changed, "_fingerprint", "0" * 64)
    with pytest.raises(CommandError, match="changed its model"):
        changed.embed([tiny_item(0, 0)])

    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with pytest.raises(CommandError, match="connection refused"):
        RemoteSubject("http://x", "tiny", httpx.Client(transport=httpx.MockTransport(down), base_url="http://x"))
    web = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with pytest.raises(CommandError, match="no JSON object"):
        RemoteSubject("http://x", "tiny", httpx.Client(transport=web, base_url="http://x"))


def test_a_busy_service_is_asked_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("model_export.subjects.time.sleep", waited.append)
    answers = iter([429, 503, 200])

    def busy(request: httpx.Request) -> httpx.Response:
        status = next(answers, 200)
        return service(request) if status == 200 else httpx.Response(status, headers={"retry-after": "3"}, json={})

    client = httpx.Client(transport=httpx.MockTransport(busy), base_url="http://twinserve")
    assert RemoteSubject("http://twinserve", "tiny", client).key == "tiny@1.0.2"
    assert waited == [3.0, 3.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["calibrate", "B", "--recipe", "r.toml", "--unit", "x"], "go with --pairs"),
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

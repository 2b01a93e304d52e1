"""`evaluate --pairs`: do the claims of a bundle, on disk or behind a running service, hold on one's own pairs?"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.bundle import Bundle, read_bundle, seal
from app.core.modalities.base import Limits
from app.core.scoring import similarity
from model_export.__main__ import main
from model_export.claim_tables import HELD
from model_export.errors import CommandError
from model_export.evaluate import evaluate_pairs
from model_export.subjects import LocalSubject, RemoteSubject
from model_export.tables import LOSS_HEADING
from tests.model_export.pair_tables import UNITS, read_csv, write_pictures, write_rows
from tests.serving import client_of, load, make_app, picture, serve, today
from tests.tiny import make_tiny, open_tiny, tiny_item, write_tiny


@pytest.fixture(autouse=True)
def _few_are_worn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_export.robustness.comparisons.MOST_PAIRS", 20)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pair table, and a bundle calibrated on it."""
    folder = tmp_path_factory.mktemp("claims")
    bundle = write_tiny(folder / "models", calibrated=False, status="demonstration")
    assert main(["calibrate", str(bundle), "--pairs", str(write_pictures(folder / "table"))]) == 0
    return folder


def test_evaluation_says_whether_the_claims_hold(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(work / "models" / "tiny" / "1.0.1")
    others = write_pictures(tmp_path / "others", first=5000)
    assert main(["evaluate", bundle, "--pairs", str(others), "--out", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    for said in ("ROC AUC", "EER", "FNMR at FMR 1e-02", "beyond the sample", "claimed FMR", "accuracy", "F1"):
        assert said in printed
    claims = [line.split(" | ") for line in printed.splitlines() if line.startswith("| fmr_1e-1")]
    assert [line[6] for line in claims] == ["holds"]
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
    assert main(["evaluate", str(work / "models" / "tiny" / "1.0.1"), "--pairs", str(table)]) == 0
    printed = capsys.readouterr().out
    (claim,) = [line for line in printed.splitlines() if "| labelled | labelled |" in line and "1e-2" in line]
    assert claim.split(" | ")[6].startswith("higher (p = ")
    assert "refuted: labelled:fmr_1e-1, labelled:fmr_1e-2, labelled:eer" in printed
    assert "doubt: pairs labelled 1 score no higher than those labelled 0" in printed


def printed_tables(printed: str) -> dict[str, list[str]]:
    """Heading -> the lines of its table, of what `evaluate` prints."""
    blocks = re.findall(r"^([^|\n]+)\n\n((?:\|.*\n)+)", printed, re.MULTILINE)
    return {heading: [line for line in rows.splitlines() if "---" not in line] for heading, rows in blocks}


class Service:
    """The real application, as a synchronous transport: what RemoteSubject meets behind --url."""

    def __init__(self, runner: asyncio.Runner, bundle: Bundle, **changes: Any) -> None:
        self.app = make_app(load(bundle), **changes)
        self.runner = runner
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)

        async def send() -> httpx.Response:
            async with client_of(self.app) as client:
                answer = await client.request(
                    request.method, request.url.path, content=request.content, headers=dict(request.headers)
                )
                return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

        return self.runner.run(send())

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self), base_url="http://twinserve")


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all requests of a test: an engine lives on one."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def service(work: Path, runner: asyncio.Runner) -> Service:
    return Service(runner, read_bundle(work / "models" / "tiny" / "1.0.1"))


def test_a_running_service_gives_the_same_figures_as_its_bundle(
    work: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    table = work / "table" / "pairs.csv"
    evaluate_pairs(LocalSubject(work / "models" / "tiny" / "1.0.1"), table, None)
    local = printed_tables(capsys.readouterr().out)
    evaluate_pairs(RemoteSubject("http://twinserve", "tiny", service.client()), table, None)
    remote = printed_tables(capsys.readouterr().out)
    # a service neither shows its map nor batches as it is told
    assert set(local) - set(remote) == {"Batch sizes", "Operating points"}
    assert set(remote) < set(local)
    assert [name for name in remote if remote[name] != local[name]] == [LOSS_HEADING]
    assert "no map" in remote[LOSS_HEADING][1]
    assert "fmr_1e-2" in "".join(remote[HELD])
    embeds = [request for request in service.requests if request.url.path == "/v1/embed"]
    assert len(embeds) >= -(-3 * UNITS // 32)
    assert {json.loads(request.content)["model"] for request in embeds} == {"tiny@1.0.1"}


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


def test_a_request_too_large_as_a_whole_is_sent_in_halves(work: Path, runner: asyncio.Runner) -> None:
    # a picture is some hundred bytes: thirty of them are too many, one is not
    small = Service(runner, read_bundle(work / "models" / "tiny" / "1.0.1"), max_body_bytes=4000)
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
    assert RemoteSubject("http://twinserve", "tiny", client).key == "tiny@1.0.1"
    assert waited == [3.0, 3.0]


def swap_labels(table: Path, folder: Path) -> Path:
    """The same pairs, each with the other label, and an item as its unit, so that no pair labelled 0 is left out."""
    rows = [(table.parent / a, table.parent / b, 1 - int(label), a, b) for a, b, label in read_csv(table)]
    folder.mkdir()
    return write_rows(folder / "pairs.csv", rows, ("a", "b", "label", "unit_a", "unit_b"))


def test_exit_status_says_whether_a_running_service_keeps_its_claims(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fair = write_pictures(tmp_path / "fair", first=7000)
    swapped = swap_labels(fair, tmp_path / "swapped")
    few = write_pictures(tmp_path / "few", units=4, first=9000)
    typed = write_rows(
        fair.parent / "typed.csv",
        [(a, b, label, "near" * (label == "0")) for a, b, label in read_csv(fair)],
        ("a", "b", "label", "impostor"),
    )
    with serve(make_app(load(read_bundle(work / "models" / "tiny" / "1.0.1")))) as port:
        ask = ["evaluate", "--url", f"http://127.0.0.1:{port}", "--model", "tiny", "--floor", "none", "--pairs"]
        for table, options, status, said in (
            (fair, ["--point", "labelled:fmr_1e-1"], 0, "not refuted: labelled:fmr_1e-1 holds here"),
            (swapped, [], 3, "refuted: "),
            (few, [], 4, "too few pairs to say that labelled:"),
            (typed, [], 4, "no pair is of its type, only of near"),
            (fair, ["--point", "labelled:fmr_1e-5"], 1, "has no operating point labelled:fmr_1e-5"),
        ):
            assert main([*ask, str(table), *options]) == status
            out, err = capsys.readouterr()
            assert said in out + err
            assert ("swapped labels" in out) == (table == swapped)


def test_a_calibration_past_its_days_is_said_by_every_verdict_and_by_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_tiny()
    assert bundle.calibration is not None
    for days, stale in ((30, False), (31, True)):
        date = today() - timedelta(days=days)
        late = bundle.calibration.model_copy(update={"date": date, "valid_for_days": 30})
        served = seal(bundle.manifest.draft(), graph=bundle.graph, golden=bundle.golden, calibration=late)
        table = write_pictures(tmp_path / str(days), units=9)
        with serve(make_app(load(served))) as port:
            url = f"http://127.0.0.1:{port}"
            answer = httpx.post(f"{url}/v1/compare", json={"a": picture(0, 0), "b": picture(0, 1)}).json()
            file = {"probe": picture(0, 0), "references": [{"id": "r", "items": [picture(0, 1)]}], "aggregation": "max"}
            matched = httpx.post(f"{url}/v1/match", json=file).json()
            assert main(["evaluate", "--url", url, "--model", "tiny", "--floor", "none", "--pairs", str(table)]) != 1
        assert answer["verdict"] == "match"
        for reasons in (answer["reasons"], matched["references"][0]["reasons"]):
            assert ("calibration_stale" in {reason["code"] for reason in reasons}) == stale
        said = f"its evidence was valid until {date + timedelta(days=30)}" in capsys.readouterr().out
        assert said == stale

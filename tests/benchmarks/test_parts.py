"""Each part runs on the real service, and answers are equal under load, in batches and alone. No timing is judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bench import Bench, Effort, UnmeasuredError, ask_alone
from benchmarks.contenders import BARE, INFINITY, LITSERVE, TUTORIAL, Contender, contenders
from benchmarks.parts import closed, costs, latency, mixed, overload
from benchmarks.parts.closed import SERVICE
from benchmarks.servers import Server, ServerError, started
from benchmarks.subjects import BOUND
from benchmarks.workloads import WORKLOADS, Workload
from tests.serving import picture

EFFORT = Effort(rounds=1, seconds=0.3, settle_s=0.05, search_s=0.005, quick=True)
PICTURES = tuple(picture(identity, variant) for identity in range(8) for variant in range(2))
PAIRS = Workload(
    "tiny", "tiny pictures", "tiny", "/compare", tuple(zip(PICTURES[::2], PICTURES[3::2], strict=False)), (3,)
)
BATCHES = Workload("batches", "batches", "tiny", "/compare/batch", (PICTURES, PICTURES[::-1]), (2,))


@pytest.fixture(scope="module")
def bench(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    logs = tmp_path_factory.mktemp("logs")
    return Bench(tiny_models, logs / "no-peers", logs / "no-weights", logs, EFFORT, cores=1)


@pytest.fixture(scope="module")
def server(bench: Bench) -> Iterator[Server]:
    with bench.service() as running:
        yield running


def test_bound_service_and_peers_answer_alike(bench: Bench, server: Server) -> None:
    result = closed.measure(PAIRS, bench, server, lambda _: None)
    [measured] = result.rounds
    assert {one.subject for one in measured} == {BOUND, SERVICE, BARE, TUTORIAL}
    for one in measured:
        assert (one.errors, one.difference.beyond, one.difference.verdicts) == (0, 0, 0)
        assert one.rate > 0
        assert one.pss_mb > 10
        assert one.difference.answers > 0
    assert next(one for one in measured if one.subject == BOUND).layout is not None


def test_batches_answer_as_their_pairs_do_alone(bench: Bench, server: Server) -> None:
    [measured] = closed.measure(BATCHES, bench, server, lambda _: None).rounds
    assert {one.subject for one in measured} == {BOUND, SERVICE}  # the others have no batches
    assert {(one.errors, one.difference.beyond, one.difference.verdicts) for one in measured} == {(0, 0, 0)}


def test_answers_alone_hold_a_verdict_for_each_pair(server: Server) -> None:
    alone = ask_alone(server, BATCHES)
    assert [len(one.verdicts) for one in alone] == [8, 8]
    assert {verdict for one in alone for verdict in one.verdicts} <= {"match", "no_match", "undetermined"}


def test_single_compares_beside_bulk_are_all_answered(bench: Bench, server: Server) -> None:
    result = mixed.measure(PAIRS, BATCHES, bench, server)
    assert result.errors == 0
    assert result.bulk_alone > 0
    assert result.bulk_beside > 0
    assert result.loaded_p50_ms is not None


def test_latency_is_measured_at_every_rate_on_both_services(bench: Bench, server: Server) -> None:
    points = latency.measure(PAIRS, bench, server, lambda _: None)
    assert [one.subject for one in points] == [SERVICE, TUTORIAL] * len(latency.QUICK_SHARES)
    assert all(one.answered > 0 for one in points)


def test_costs_are_of_every_kind_and_embeddings_need_no_model(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "SHARES", (0.2, 0.1))  # of which a machine that stands still for a moment refuses none
    absent = Workload("absent", "what is not there", "absent", "/compare", PAIRS.requests)
    measured, missing = costs.measure(PAIRS, [PAIRS, absent], bench, lambda _: None)
    embedded, pictures = measured
    assert list(missing) == ["costs of absent"]
    assert (embedded.prepare_ms, embedded.model_ms) == (0.0, 0.0)
    assert pictures.prepare_ms > 0 < pictures.model_ms
    for one in measured:
        assert (one.full.errors, list(one.runs)) == (0, [1])
        assert one.full.rate > 0 < one.full.cpu_ms
        assert None not in one.full.p99_ms.values()
        tried = list(one.full.p99_ms)
        assert tried == list(costs.SHARES[: len(tried)])
        assert tried[-1] in (one.full.prompt_share, costs.SHARES[-1])


def test_overload_is_offered_and_accepted_answers_are_right(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "FILL_S", 0.1)
    [result] = overload.measure(PAIRS, bench, lambda _: None)
    assert result.offered > 0
    assert result.difference.answers > 0
    assert (result.difference.beyond, result.difference.verdicts, result.without_retry_after) == (0, 0, 0)


def test_a_model_or_peer_that_is_not_there_is_said_so(bench: Bench) -> None:
    with pytest.raises(UnmeasuredError, match="holds no glyphs"):
        bench.bundle("glyphs")
    full = Bench(Path("models"), bench.peers, bench.weights, bench.logs, Effort(1, 1.0, 0.1, 0.1, quick=False), 2)
    found = list(contenders(WORKLOADS["glyphs"](), full))
    assert [one.name for one in found if isinstance(one, Contender)] == [BARE, TUTORIAL]
    assert (LITSERVE, "not installed: make bench-peers") in found
    short = Workload("short-texts", "", "all-minilm-l6-v2", "/embed", (({"text": "a"},),))
    assert (INFINITY, "not installed: make bench-peers") in list(contenders(short, full))


def test_a_server_that_does_not_start_says_what_it_printed(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such model; exit 3"]
    with pytest.raises(ServerError, match="no such model"), started(command, "/", tmp_path / "log", {}):
        pass


def test_requests_vary_and_no_picture_is_twice_in_a_batch() -> None:
    glyphs, pairs = WORKLOADS["glyphs"](), WORKLOADS["pairs"]()
    assert len(set(glyphs.bodies())) == len(glyphs.requests) == 128
    assert (glyphs.units, pairs.units) == (1, 64)
    for items in pairs.requests:
        assert len({item["base64"] for item in items}) == len(items) == 128
    texts = WORKLOADS["inputs"]()
    assert texts.units == 256
    assert all(len({item["text"] for item in items}) == 256 for items in texts.requests)

"""Metrics are summed over worker slots, deaths included; logs are one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from prometheus_client import generate_latest

from app import __version__
from app.core.observe import Observer
from app.telemetry import JsonLines, States, Telemetry, shared_registry

COUNT_THEN_DIE = """
import os, signal, sys
from pathlib import Path
from app.telemetry import Telemetry
telemetry = Telemetry.shared(Path(sys.argv[1]), int(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    telemetry.request("/compare", 200, 0.004)
    telemetry.verdict("tiny@1.0.0", "fmr_1e-3", "match")
os.kill(os.getpid(), signal.SIGKILL)
"""


def value(exposition: bytes, sample: str) -> float:
    found = re.search(rf"^{re.escape(sample)} (\S+)$", exposition.decode(), re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_every_event_of_the_observer_is_counted_under_its_documented_name() -> None:
    telemetry = Telemetry(states=States(lambda: {"ready": 2, "not_ready": 1}))
    observer: Observer = telemetry
    observer.request("/compare", 200, 0.004)
    observer.refused("overloaded")
    observer.prepared("tiny@1.0.0", 0.001)
    observer.queued("tiny@1.0.0", 0.001)
    observer.batch("tiny@1.0.0", 8, 0.002)
    observer.verdict("tiny@1.0.0", "fmr_1e-3", "match")
    observer.shadowed("tiny@1.0.0", "tiny@1.1.0", "match", "match")
    observer.shadowed("tiny@1.0.0", "tiny@1.1.0", "match", "no_match")
    observer.shadow_dropped("tiny@1.0.0", "tiny@1.1.0")
    body, media_type = telemetry.exposition()
    assert media_type.startswith("text/plain")
    for sample, expected in {
        'twinserve_requests_total{code="200",route="/compare"}': 1,
        'twinserve_request_seconds_count{route="/compare"}': 1,
        'twinserve_refused_total{code="overloaded"}': 1,
        'twinserve_prepare_seconds_count{model="tiny@1.0.0"}': 1,
        'twinserve_queue_seconds_count{model="tiny@1.0.0"}': 1,
        'twinserve_batch_items_sum{model="tiny@1.0.0"}': 8,
        'twinserve_inference_seconds_sum{model="tiny@1.0.0"}': 0.002,
        'twinserve_verdicts_total{model="tiny@1.0.0",operating_point="fmr_1e-3",verdict="match"}': 1,
        'twinserve_shadow_pairs_total{candidate="tiny@1.1.0",model="tiny@1.0.0"}': 2,
        'twinserve_shadow_flips_total{candidate="tiny@1.1.0",from="match",model="tiny@1.0.0",to="no_match"}': 1,
        'twinserve_shadow_matches_total{by="model",candidate="tiny@1.1.0",model="tiny@1.0.0"}': 2,
        'twinserve_shadow_matches_total{by="candidate",candidate="tiny@1.1.0",model="tiny@1.0.0"}': 1,
        'twinserve_shadow_dropped_total{candidate="tiny@1.1.0",model="tiny@1.0.0"}': 1,
        f'twinserve_info{{version="{__version__}"}}': 1,
        'twinserve_workers{state="ready"}': 2,
        'twinserve_workers{state="not_ready"}': 1,
    }.items():
        assert value(body, sample) == expected, sample


def test_two_applications_in_one_process_count_apart() -> None:
    one, other = Telemetry(), Telemetry()
    one.refused("overloaded")
    assert value(other.exposition()[0], 'twinserve_refused_total{code="overloaded"}') == 0


def test_sum_survives_killed_workers_and_their_successors(tmp_path: Path) -> None:
    for slot, requests in ((0, 3), (1, 4), (0, 5)):
        run = subprocess.run(
            [sys.executable, "-c", COUNT_THEN_DIE, str(tmp_path), str(slot), str(requests)],
            check=False,
            env=dict(os.environ),
        )
        assert run.returncode == -signal.SIGKILL
    body = generate_latest(shared_registry(tmp_path))
    assert value(body, 'twinserve_requests_total{code="200",route="/compare"}') == 12
    assert value(body, 'twinserve_request_seconds_bucket{le="0.005",route="/compare"}') == 12
    assert value(body, 'twinserve_request_seconds_bucket{le="0.0025",route="/compare"}') == 0
    assert len({file.name.partition("_")[2] for file in tmp_path.iterdir()}) == 2  # sets: one a slot


def test_file_that_a_worker_is_just_creating_does_not_spoil_the_sum(tmp_path: Path) -> None:
    (tmp_path / "counter_0.db").touch()
    assert b"twinserve_info" in generate_latest(shared_registry(tmp_path))


def test_log_record_is_one_json_object_with_its_extras() -> None:
    record = logging.getLogger("app.api.door").makeRecord(
        "app.api.door", logging.INFO, "door.py", 1, "request", (), None, extra={"request_id": "r\n1", "ms": 1.25}
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    parsed = json.loads(line)
    assert (parsed["message"], parsed["level"], parsed["request_id"], parsed["ms"]) == ("request", "info", "r\n1", 1.25)


def test_logged_exception_stays_on_its_line() -> None:
    try:
        raise ValueError("several\nlines")
    except ValueError:
        record = logging.getLogger("x").makeRecord("x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    assert "several\nlines" in json.loads(line)["exception"]

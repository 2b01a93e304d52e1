"""Every event is counted under its name, and metrics are summed over worker slots, deaths included."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from prometheus_client import generate_latest

from app import __version__
from app.core.observe import Observer
from app.telemetry import ModelFacts, States, Telemetry, shared_registry

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
    facts = ModelFacts("tiny@1.0.0", "f00d", "fp32", "tiny-1", "CPUExecutionProvider")
    states = States(lambda: {"ready": 2, "not_ready": 1}, restarts=lambda: 3, models=lambda: [facts])
    telemetry = Telemetry(states=states)
    telemetry.watch_scores("tiny@1.0.0", (-0.5, 0.0, 0.5, 1.0))
    observer: Observer = telemetry
    observer.request("/compare", 200, 0.004)
    observer.refused("overloaded")
    observer.prepared("tiny@1.0.0", 0.001)
    observer.queued("tiny@1.0.0", 0.001)
    observer.batch("tiny@1.0.0", 8, 0.002)
    observer.verdict("tiny@1.0.0", "fmr_1e-3", "match")
    observer.scored("tiny@1.0.0", 0.3)
    observer.scored("plain@1.0.0", 0.3)
    observer.unrecorded(2)
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
        'twinserve_score_bucket{le="0.0",model="tiny@1.0.0"}': 0,
        'twinserve_score_bucket{le="0.5",model="tiny@1.0.0"}': 1,
        "twinserve_unrecorded_total": 2,
        'twinserve_workers{state="ready"}': 2,
        'twinserve_workers{state="not_ready"}': 1,
        "twinserve_worker_restarts_total": 3,
        'twinserve_model_info{calibration="tiny-1",fingerprint="f00d",model="tiny@1.0.0",precision="fp32",'
        'provider="CPUExecutionProvider"}': 1,
    }.items():
        assert value(body, sample) == expected, sample
    assert re.search(rf'^twinserve_build_info{{.*version="{__version__}".*}} 1.0$', body.decode(), re.MULTILINE)
    assert b"plain@1.0.0" not in body


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
    assert b"twinserve_build_info" in generate_latest(shared_registry(tmp_path))

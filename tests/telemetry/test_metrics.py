"""Every event is counted under its name, and metrics are summed over worker slots, deaths included."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from app import __version__
from app.core.observe import Observer
from app.supervisor.state import allocate_metrics
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


COUNT_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from app.telemetry import Telemetry
folder = Path(sys.argv[1])
telemetry = Telemetry.shared(folder, 0)
telemetry.request("/compare", 200, 0.004)
full = folder / "filler"
with full.open("wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
for number in range(3000):
    telemetry.verdict(f"model-{number}@1.0.0", "fmr_1e-3", "match")
    telemetry.verdict("model-0@1.0.0", "fmr_1e-3", "match")
print(len(telemetry.exposition()[0]))
full.unlink()
telemetry.verdict("model-2999@1.0.0", "fmr_1e-3", "match")
print("alive", telemetry.exposition()[0].count(b'model="model-2999@1.0.0"'))
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
    observer.shadowed("tiny@1.0.0", "tiny@1.1.0", "match", "match")
    observer.shadowed("tiny@1.0.0", "tiny@1.1.0", "match", "no_match")
    observer.shadow_dropped("tiny@1.0.0", "tiny@1.1.0")
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
        'twinserve_shadow_pairs_total{candidate="tiny@1.1.0",model="tiny@1.0.0"}': 2,
        'twinserve_shadow_flips_total{candidate="tiny@1.1.0",from="match",model="tiny@1.0.0",to="no_match"}': 1,
        'twinserve_shadow_matches_total{by="model",candidate="tiny@1.1.0",model="tiny@1.0.0"}': 2,
        'twinserve_shadow_matches_total{by="candidate",candidate="tiny@1.1.0",model="tiny@1.0.0"}': 1,
        'twinserve_shadow_dropped_total{candidate="tiny@1.1.0",model="tiny@1.0.0"}': 1,
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for one megabyte."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "twinserve-test", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_full_disk_ends_no_worker_and_what_found_no_room_is_counted_once_there_is(small_disk: Path) -> None:
    allocate_metrics(small_disk, slots=1)
    ran = subprocess.run(
        [sys.executable, "-c", COUNT_ON_A_FULL_DISK, str(small_disk)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, (ran.returncode, ran.stderr)
    assert ran.stdout.splitlines()[-1] == "alive 1"
    exposition = generate_latest(shared_registry(small_disk))
    labels = 'model="model-2999@1.0.0",operating_point="fmr_1e-3",verdict="match"'
    assert value(exposition, f"twinserve_verdicts_total{{{labels}}}") == 2.0
    assert value(exposition, f"twinserve_verdicts_total{{{labels.replace('2999', '0')}}}") == 3001.0


def test_disk_without_room_for_the_counters_is_known_before_anything_is_served(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        allocate_metrics(small_disk, slots=16)


def test_worker_whose_folder_was_cleaned_away_counts_in_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", COUNT_THEN_DIE, str(folder), "0", "2"], check=False)
        body = generate_latest(shared_registry(folder))
        assert value(body, 'twinserve_requests_total{code="200",route="/compare"}') == 2.0
        shutil.rmtree(folder)

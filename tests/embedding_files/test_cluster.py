"""The same command over a real Ray cluster of several nodes: the same embeddings, and a lost node loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="embed-files needs the extra `parquet`")
pytest.importorskip("ray", reason="embedding over a cluster needs the extra `ray`")

from tests.embedding_files.pictures import expected, rows, run, shards, summary, write_pictures
from tests.ray_cluster import add_node, environment, running_cluster
from tests.supervisor.live import wait_for

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
ITEMS, SHARD = 400, 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with running_cluster(2) as running:
        yield running


def begin(cluster: Any, models: Path, folder: Path, out: Path, shard: int) -> subprocess.Popen[str]:
    arguments = [str(folder), "--out", str(out), "--models", str(models), "--shard", str(shard)]
    command = [sys.executable, "-m", "app", "embed-files", *arguments, "--ray", cluster.address]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())


def test_cluster_gives_what_one_machine_gives(cluster: Any, uncalibrated_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    names = write_pictures(folder, 12)
    (folder / "a" / "none.png").write_text("no picture")
    process = begin(cluster, uncalibrated_models, folder, tmp_path / "there", 5)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert run(uncalibrated_models, folder, tmp_path / "here", "--shard", "5") == 0
    there, here = rows(tmp_path / "there"), rows(tmp_path / "here")
    assert list(there) == list(here) == sorted([*names, "a/none.png"])
    assert [row["error"] for row in there.values()] == [row["error"] for row in here.values()]
    good = [name for name in names if there[name]["error"] is None]
    assert len(good) == 12
    vectors = np.array([there[name]["embedding"] for name in good], dtype=np.float32)
    assert np.abs(vectors - expected(uncalibrated_models, folder, good)).max() <= 1e-6


def test_killed_driver_and_lost_node_lose_nothing(cluster: Any, uncalibrated_models: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    names = write_pictures(folder, ITEMS)
    lost = add_node(cluster)

    killed = begin(cluster, uncalibrated_models, folder, out, SHARD)
    wait_for("a shard", lambda: shards(out) or killed.poll() is not None)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    there = len(shards(out))
    assert 0 < there < ITEMS // SHARD, "it was too quick to be cut off"

    process = begin(cluster, uncalibrated_models, folder, out, SHARD)
    wait_for("a shard more", lambda: len(shards(out)) > there or process.poll() is not None)
    assert process.poll() is None
    cluster.remove_node(lost, allow_graceful=False)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    found = rows(out)
    assert set(found) == set(names)
    assert summary(out)["items"] == ITEMS
    vectors = np.array([found[name]["embedding"] for name in names], dtype=np.float32)
    assert np.abs(vectors - expected(uncalibrated_models, folder, names)).max() <= 1e-6


def test_cluster_that_is_not_there_is_one_line(uncalibrated_models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 1)
    arguments = [str(tmp_path / "pictures"), "--out", str(tmp_path / "out"), "--models", str(uncalibrated_models)]
    command = [sys.executable, "-m", "app", "embed-files", *arguments, "--ray", "127.0.0.1:1"]
    own = environment() | {"RAY_raylet_start_wait_time_s": "5", "RAY_gcs_rpc_server_reconnect_timeout_s": "3"}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=own, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert "twinserve: embed-files: no Ray cluster at 127.0.0.1:1: " in done.stderr

"""Killed at any moment, a run goes on: nothing is lost, nothing is there twice, nothing is half written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="embed-files needs the extra `parquet`")

from tests.embedding_files.pictures import expected, rows, run, shards, summary, write_pictures
from tests.supervisor.live import is_worker, wait_for, wait_for_end

pytestmark = pytest.mark.timeout(600)
ITEMS, SHARD = 240, 3


def begin(models: Path, folder: Path, out: Path) -> subprocess.Popen[bytes]:
    arguments = [str(folder), "--out", str(out), "--models", str(models), "--workers", "2", "--shard", str(SHARD)]
    run = [sys.executable, "-m", "app", "embed-files", *arguments]
    return subprocess.Popen(run, start_new_session=True, stderr=subprocess.DEVNULL)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if is_worker(int(child))]


def test_nothing_is_lost_or_doubled_by_kills_at_random_moments(uncalibrated_models: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    names = write_pictures(folder, ITEMS)
    moments = random.Random(7)
    cut_off = 0
    for number in range(4):
        there = len(shards(out))
        process = begin(uncalibrated_models, folder, out)
        wait_for("a shard more", lambda p=process, t=there: len(shards(out)) > t or p.poll() is not None)  # type: ignore[misc]
        time.sleep(moments.random() * 0.03)
        workers = children(process.pid) if process.poll() is None else []
        if number % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # the processes that embed are left to themselves, and end
        process.wait()
        for worker in workers:
            wait_for_end(worker)
        assert set(rows(out)) <= set(names)
        assert not (out / "embeddings.json").exists() or len(shards(out)) == ITEMS // SHARD
        cut_off += len(shards(out)) < ITEMS // SHARD
    assert cut_off >= 2, "the runs were too quick to be cut off"
    before = {file: file.stat().st_mtime_ns for file in shards(out)}
    assert run(uncalibrated_models, folder, out, "--shard", str(SHARD)) == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before, "what was done was done again"
    found = rows(out)
    assert list(found) == names
    vectors = np.array([row["embedding"] for row in found.values()], dtype=np.float32)
    assert np.abs(vectors - expected(uncalibrated_models, folder, names)).max() <= 1e-6
    assert summary(out)["items"] == ITEMS
    assert not list(out.glob("*.unfinished"))


def test_shard_has_its_name_only_once_it_is_whole(
    uncalibrated_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(folder, 4)
    written: list[bool] = []

    def write(_: object, stream: IO[bytes], **_options: object) -> None:
        stream.write(b"PAR1 and then")
        stream.flush()
        written.append((out / "part-00000.parquet").exists())
        raise KeyboardInterrupt

    monkeypatch.setattr("app.embedding_files.output.pq.write_table", write)
    assert run(uncalibrated_models, folder, out) == 130
    assert written == [False]
    assert not shards(out)


def test_half_written_shard_is_taken_away_and_written_anew(uncalibrated_models: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    names = write_pictures(folder, 4)
    out.mkdir()
    (out / "part-00000.parquet.unfinished").write_bytes(b"PAR1 and then the power went")
    assert run(uncalibrated_models, folder, out) == 0
    assert list(rows(out)) == names
    assert not list(out.glob("*.unfinished"))


def test_interrupted_run_says_so_leaves_no_process_and_goes_on(uncalibrated_models: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out"
    names = write_pictures(folder, ITEMS)
    process = begin(uncalibrated_models, folder, out)
    wait_for("a shard", lambda: shards(out) or process.poll() is not None)
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(60) == 130
    for worker in workers:
        wait_for_end(worker)
    assert run(uncalibrated_models, folder, out, "--shard", str(SHARD)) == 0
    assert list(rows(out)) == names

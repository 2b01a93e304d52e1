"""The one folder that the running service writes to. No settings, no processes."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

FILE_BYTES = 256 * 1024
"""First size of a file of metrics: some 1,500 values. It doubles when it is full: see app/telemetry/files.py."""


@contextlib.contextmanager
def state_folder(chosen: Path | None) -> Iterator[Path]:
    """Give the folder for the life of the service: the chosen one, kept, or a private temporary one, removed after.

    Raises OSError where it cannot be made, written to, or is in use by another running service.
    """
    if chosen is None:
        with tempfile.TemporaryDirectory(prefix="twinserve-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    chosen.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (chosen / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(error.errno, "another service runs on this state folder") from error
        yield chosen


@contextlib.contextmanager
def metrics_folder(state: Path) -> Iterator[Path]:
    """Give an empty folder for the metrics of one run, without what a killed service may have left in it."""
    folder = state / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def allocate_metrics(folder: Path, *, slots: int) -> None:
    """Make the files of so many workers at their first size. Raises OSError where the disk has no room for them."""
    for slot, kind in itertools.product(range(slots), ("counter", "histogram")):
        with (folder / f"{kind}_{slot}.db").open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)

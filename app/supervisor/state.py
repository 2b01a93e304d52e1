"""The one folder that the running service writes to. No settings, no processes."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


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

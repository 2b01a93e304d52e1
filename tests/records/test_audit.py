"""Lines are whole and in order, whatever fails; full files are set aside and the oldest go."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.records import AuditFile, read_audit


def lines_of(folder: Path) -> list[bytes]:
    """All lines, the oldest file first, the open one last."""
    aside = sorted(folder.glob("worker-0.*.jsonl"))
    return [line for file in (*aside, folder / "worker-0.jsonl") for line in read_audit(file)]


def opened(folder: Path, *, file_bytes: int = 1000, files: int = 0) -> AuditFile:
    return AuditFile(folder, "worker-0", file_bytes=file_bytes, files=files)


def test_lines_are_there_before_the_file_is_closed_and_go_on_after_a_restart(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append([b'{"n":1}', b'{"n":2}'])
    assert lines_of(tmp_path) == [b'{"n":1}', b'{"n":2}']
    first.close()
    second = opened(tmp_path)
    second.append([b'{"n":3}'])
    second.close()
    assert (tmp_path / "worker-0.jsonl").read_bytes() == b'{"n":1}\n{"n":2}\n{"n":3}\n'


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    opened(tmp_path / "audit").close()
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "audit" / "worker-0.jsonl").stat().st_mode & 0o777 == 0o600


def test_full_files_are_set_aside_and_no_line_is_lost_or_split(tmp_path: Path) -> None:
    audit = opened(tmp_path, file_bytes=100)
    written = [f"{number:030d}".encode() for number in range(50)]
    for line in written:
        audit.append([line])
    audit.close()
    assert lines_of(tmp_path) == written
    assert all(file.stat().st_size <= 100 for file in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 17


def test_the_oldest_files_go_where_a_number_is_set_also_over_a_restart(tmp_path: Path) -> None:
    written = [f"{number:030d}".encode() for number in range(20)]
    for part in (written[:10], written[10:]):
        audit = opened(tmp_path, file_bytes=40, files=3)
        for line in part:
            audit.append([line])
        audit.close()
    assert lines_of(tmp_path) == written[-3:]
    assert len(list(tmp_path.iterdir())) == 3


def test_one_request_larger_than_a_file_is_kept_whole(tmp_path: Path) -> None:
    audit = opened(tmp_path, file_bytes=100)
    audit.append([b"x" * 40] * 5)
    audit.append([b"y"])
    audit.close()
    assert lines_of(tmp_path) == [*[b"x" * 40] * 5, b"y"]


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """Files of this process may have 120 bytes: the kernel writes what fits, then fails, as on a full disk.

    Within a test only: what runs the tests may write its report to a file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_does_not_fit_leaves_no_torn_line_and_what_fits_later_is_kept(tmp_path: Path) -> None:
    audit = opened(tmp_path)
    with small_disk():
        audit.append([b"a" * 99])
        for _ in range(2):
            with pytest.raises(OSError, match=r"too large|a part of it"):
                audit.append([b"b" * 99])
        audit.append([b"c" * 9])
    audit.close()
    assert (tmp_path / "worker-0.jsonl").read_bytes() == b"a" * 99 + b"\n" + b"c" * 9 + b"\n"


def test_line_torn_by_a_loss_of_power_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "worker-0.jsonl").write_bytes(b'{"n":1}\n{"n"')
    audit = opened(tmp_path)
    audit.append([b'{"n":2}'])
    audit.close()
    assert lines_of(tmp_path) == [b'{"n":1}', b'{"n"', b'{"n":2}']


def test_files_of_other_writers_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "worker-0.old.000001.jsonl").write_bytes(b"other\n")
    (tmp_path / "worker-1.000001.jsonl").write_bytes(b"other\n")
    audit = opened(tmp_path, file_bytes=20, files=1)
    for _ in range(3):
        audit.append([b"x" * 15])
    audit.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "worker-0.jsonl",
        "worker-0.old.000001.jsonl",
        "worker-1.000001.jsonl",
    ]


def test_descriptor_is_not_handed_to_other_programs(tmp_path: Path) -> None:
    audit = opened(tmp_path)
    assert not os.get_inheritable(audit._descriptor)
    audit.close()

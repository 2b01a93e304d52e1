"""Records appended to files, one a line: each worker has a file of its own, which is set aside when it is full.

A line is written by one call before its verdict is given out, so that neither a killed process nor a stop loses any
that a caller has; only a machine that loses power may lose the last moments. Knows nothing of what a record holds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

SET_ASIDE = re.compile(r"(?P<name>.+)\.(?P<number>[0-9]{6,})\.jsonl")


class AuditFile:
    """The open file of one writer, `<folder>/<name>.jsonl`; full ones become `<name>.000001.jsonl` and so on.

    `file_bytes` bounds a file, unless one request's records alone are more; `files` are kept, the open one among them,
    and the oldest removed beyond that; 0 keeps all. Raises OSError where the folder or file cannot be made.
    """

    def __init__(self, folder: Path, name: str, *, file_bytes: int, files: int) -> None:
        self._folder, self._name = folder, name
        self._file_bytes, self._files = file_bytes, files
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open()

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines, all or none. Raises OSError where they could not be written, as on a full disk."""
        data = b"".join(line + b"\n" for line in lines)
        if self._size and self._size + len(data) > self._file_bytes:
            self._set_aside()
        try:
            written = os.write(self._descriptor, data)
            if written < len(data):
                raise OSError(None, "the disk took a part of it only")
        except OSError:
            os.ftruncate(self._descriptor, self._size)  # no torn line stays behind
            raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._name}.jsonl"

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        if self._size and os.pread(self._descriptor, 1, self._size - 1) != b"\n":  # a machine that lost power
            self._size += os.write(self._descriptor, b"\n")

    def _set_aside(self) -> None:
        aside = _set_aside(self._folder, self._name)
        number = aside[-1][0] + 1 if aside else 1
        self._path.rename(self._folder / f"{self._name}.{number:06d}.jsonl")
        os.close(self._descriptor)
        self._open()
        if self._files:
            aside = _set_aside(self._folder, self._name)
            for _, file in aside[: max(0, len(aside) + 1 - self._files)]:
                file.unlink(missing_ok=True)


def _set_aside(folder: Path, name: str) -> list[tuple[int, Path]]:
    """The full files of one writer, the oldest first."""
    found = [(SET_ASIDE.fullmatch(file.name), file) for file in folder.glob(f"{name}.*.jsonl")]
    return sorted((int(match["number"]), file) for match, file in found if match is not None and match["name"] == name)


def read_audit(file: Path) -> Iterator[bytes]:
    """The lines of an audit file that are not empty. Raises OSError."""
    with file.open("rb") as lines:
        yield from (line for line in (line.strip() for line in lines) if line)

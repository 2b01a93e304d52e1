"""What is done is kept: the folder of shards, each of which is there whole or not at all. No embedding here.

run.json says what is being embedded by what, so that a run which goes on is the same run; part-00000.parquet and so on
are the shards; embeddings.json comes last, once all of them are there. A lock keeps a second run out.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from app.embedding_files.embedding import Embedded

RUN, LISTING, SUMMARY, LOCK = "run.json", "listing.jsonl", "embeddings.json", "lock"
UNFINISHED = ".unfinished"


class OutputError(Exception):
    """The folder cannot be used; the message is one line."""


class Output:
    """An output folder that this process holds the lock of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def locked(cls, folder: Path) -> Iterator[Output]:
        """Give the folder, made where there is none. Raises OutputError while another run is at work, OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(f"{folder}: another run is at work there") from error
            for left in folder.glob(f"*{UNFINISHED}"):
                left.unlink()  # of a run that was killed
            yield cls(folder)

    @property
    def listing(self) -> Path:
        """Where the list of a folder's files is kept."""
        return self.folder / LISTING

    def begin(self, run: Mapping[str, Any]) -> None:
        """Begin this run, or go on with it. Raises OutputError where another was begun here."""
        file = self.folder / RUN
        if not file.exists():
            if any(self.folder.glob("*.parquet")):
                raise OutputError(f"{self.folder}: holds Parquet files of something else; give another folder")
            self._write(file, lambda stream: stream.write(_json(run)))
            return
        begun = json.loads(file.read_text(encoding="utf-8"))
        if begun != json.loads(_json(run)):
            differ = sorted(name for name in {*begun, *run} if begun.get(name) != run.get(name))
            other = f"holds another run, which differs in {', '.join(differ)}"
            raise OutputError(f"{self.folder}: {other}; give another folder")

    def has(self, number: int) -> bool:
        """Whether this shard is done."""
        return self._shard(number).exists()

    def counts(self, number: int) -> tuple[int, int]:
        """How many items a shard has that is done, and how many of them failed."""
        with pq.ParquetFile(self._shard(number)) as file:
            errors = file.read(columns=["error"]).column("error")
        return len(errors), len(errors) - errors.null_count

    def write(self, number: int, embedded: Embedded, about: Mapping[str, str]) -> None:
        """Write a shard: columns id, embedding (null where there is an error), error, notices."""
        table = _table(embedded).replace_schema_metadata(dict(about))
        self._write(self._shard(number), lambda stream: pq.write_table(table, stream, use_dictionary=False))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say that all is there."""
        self._write(self.folder / SUMMARY, lambda stream: stream.write(_json(summary)))

    def _shard(self, number: int) -> Path:
        return self.folder / shard_name(number)

    def _write(self, file: Path, write: Callable[[BinaryIO], object]) -> None:
        """Write it under another name, to the disk, and rename: cut off at any moment, the file is whole or absent."""
        draft = file.with_name(file.name + UNFINISHED)
        with draft.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # of the name
        finally:
            os.close(descriptor)


def shard_name(number: int) -> str:
    """The file of a shard; names sort as shards do, up to a hundred thousand of them."""
    return f"part-{number:05d}.parquet"


def _table(embedded: Embedded) -> pa.Table:
    dimension = embedded.vectors.shape[1]
    failed = pa.array([error is not None for error in embedded.errors], type=pa.bool_())
    flat = pa.array(embedded.vectors.reshape(-1), type=pa.float32())
    return pa.table(
        {
            "id": pa.array(embedded.ids, type=pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, dimension, mask=failed),
            "error": pa.array(embedded.errors, type=pa.string()),
            "notices": pa.array([list(one) for one in embedded.notices], type=pa.list_(pa.string())),
        }
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"

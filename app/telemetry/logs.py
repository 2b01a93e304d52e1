"""Logs: one JSON object a line, on stderr. Payloads, embeddings and scores never get here."""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
from typing import Any, BinaryIO

import orjson


@functools.lru_cache(maxsize=1)  # lines come by the thousand a second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and whatever was given as `extra`. Payloads never are."""

    _OWN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a newline."""
        return self.line(record).decode()

    def line(self, record: logging.LogRecord) -> bytes:
        """The same in UTF-8."""
        line: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update([(name, value) for name, value in record.__dict__.items() if name not in self._OWN])
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str)
        except TypeError:  # text that is no Unicode, an integer beyond 64 bits
            return json.dumps(line, ensure_ascii=False, default=str).encode(errors="backslashreplace")


class JsonHandler(logging.Handler):
    """Writes records to a binary stream as JSON lines, each at once, so that none is lost with the process."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines = JsonLines()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one; what cannot be written is told as logging tells it."""
        try:
            self._stream.write(self._lines.line(record) + b"\n")
            self._stream.flush()
        except Exception:
            self.handleError(record)


def log_to_stderr(level: str) -> None:
    """Send this process's log records of `level` and above to stderr, as JSON lines. Called once, at its start."""
    # What a line never shows is not looked for ("Optimization" in the documentation of logging).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [JsonHandler(sys.stderr.buffer)]
    root.setLevel(level.upper())
    # The HTTP library tells of each connection and worker at info; the service's own lines say it better.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))
    for library in ("asyncio", "httpx", "httpcore", "httpcore2", "PIL", "multipart", "python_multipart", "urllib3"):
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))

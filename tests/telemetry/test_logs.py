"""Logs are one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys

from app.telemetry import JsonLines


def test_log_record_is_one_json_object_with_its_extras() -> None:
    record = logging.getLogger("app.api.door").makeRecord(
        "app.api.door", logging.INFO, "door.py", 1, "request", (), None, extra={"request_id": "r\n1", "ms": 1.25}
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    parsed = json.loads(line)
    assert (parsed["message"], parsed["level"], parsed["request_id"], parsed["ms"]) == ("request", "info", "r\n1", 1.25)


def test_logged_exception_stays_on_its_line() -> None:
    try:
        raise ValueError("several\nlines")
    except ValueError:
        record = logging.getLogger("x").makeRecord("x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    assert "several\nlines" in json.loads(line)["exception"]

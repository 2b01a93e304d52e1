"""Example requests for OpenAPI, with two little pictures drawn for the project. Every one is posted by a test."""

from __future__ import annotations

from typing import Any

ONE = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAAJ0lEQVR42mP8z8DAxICEvzBcQOGjYZa/jPxMDAwMLMz/capjRDITAHMoBtRoYcL2"
    "AAAAAElFTkSuQmCC"
)
OTHER = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAALElEQVR42mP8z8DAxADFvxgYmBgYXsD5WDDLf0Z+Fsb/F/CpYfj5/z8j1FwAoQoJ"
    "59damkoAAAAASUVORK5CYII="
)
"""The same sign drawn twice, as PNG."""

A, B = {"base64": ONE}, {"base64": OTHER}

COMPARE: dict[str, Any] = {
    "at the default operating point": {"a": A, "b": B},
    "at your own threshold": {"a": A, "b": B, "threshold": 0.5},
    "with a prior": {"a": A, "b": B, "prior": 0.1},
}
COMPARE_BATCH: dict[str, Any] = {"two pairs": {"pairs": [{"a": A, "b": B}, {"a": A, "b": A}]}}
EMBED: dict[str, Any] = {
    "as numbers": {"inputs": [A, B]},
    "as base64": {"inputs": [A], "encoding_format": "base64"},
}

"""Example requests for OpenAPI, with two little pictures drawn for the project. Every one is posted by a test."""

from __future__ import annotations

from typing import Any

ONE = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQAAAACCEkxzAAAA90lEQVR42pWSPU7EMBCFP08s2AayN9hIXGBrGnIz0lHmAhScgtp0FEhIewWQdssI"
    "trBQ8KMYBzoQlix9ep7nN/4JwofxP9C3sgYI8okBUwcgqbSSkPQ8VnhqJRlw3Nbih+TF5VS+9NbhyrSXpAjvS1YBIELb1Jr5Qr5zaao9DLrz9Jfc"
    "eNb5oYcI7NK9h6bbGhqvsmRQuj4CUk6aJYMcamhjFaaljddU4THCANLmRkUy1EEZMEq/wgZQ1qj5WkZwi3Hy2/WuF5h+lODHGWtjrPlcXB8OW471"
    "XIur5+CQSW7fa+P2mc6XztQ7rC7rC8rkSmiq8tdP+AL/l45lT1e7DwAAAABJRU5ErkJggg=="
)
OTHER = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQAAAACCEkxzAAAA2klEQVR42rWRMU7DQBBF3y6WQkWOYB8hJRX4JtwAcYNY1NBTUtDT05AiIjUnAEEB"
    "HZaSApDlR7HjggNkq6c/u39m/iYpJ7NPSB2AejtXK+DsK5ShVjMwNKG8qqKyLKWfo/D5Pg84vAyomoCDz6nXwwSLCXrCeT3eF+erPpUxrnc1oMNi"
    "NmiGXXucOyp4vqiFDE8pfG7eAprYy7YiQWYEWIGjG12aSUWJENoJVv9jaabBNvoo6oe+iPquteWyTbz6bUHd2pfERrbFZ8ZdhHkyLwuOnBawU9Pe"
    "fvkP2f+GwoDaNawAAAAASUVORK5CYII="
)
"""The same sign drawn twice, as PNG."""

A, B = {"base64": ONE}, {"base64": OTHER}

COMPARE: dict[str, Any] = {
    "at the default operating point": {"a": A, "b": B},
    "at your own threshold": {"a": A, "b": B, "threshold": 0.5},
    "with a prior": {"a": A, "b": B, "prior": 0.1},
    "with its record": {"a": A, "b": B, "include": ["record"]},
}
COMPARE_BATCH: dict[str, Any] = {"two pairs": {"pairs": [{"a": A, "b": B}, {"a": A, "b": A}]}}
MATCH: dict[str, Any] = {
    "two references": {"probe": A, "references": [{"id": "this", "items": [B]}, {"id": "itself", "items": [A]}]},
    "at your own threshold, several items": {
        "probe": A,
        "references": [{"id": "this", "items": [A, B]}],
        "aggregation": "mean",
        "threshold": 0.5,
    },
}
EMBED: dict[str, Any] = {
    "as numbers": {"inputs": [A, B]},
    "as base64": {"inputs": [A], "encoding_format": "base64"},
}

"""What is asked: requests of one kind, with varied content. Bodies for the service here; peers write their own."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from benchmarks.inputs import drawing, heartbeats, photograph, recording, scan, sentence, text

Route = Literal["/compare", "/compare/batch", "/embed"]
Item = Mapping[str, Any]

GLYPHS = "glyphs"
MINILM = "all-minilm-l6-v2"


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one kind.

    `requests` holds the items of each: (a, b, a, b, ...) where it compares, else the inputs to embed. `connections`
    are the closed loops in which it is measured; `times` how much longer than others, for large requests.
    """

    name: str
    title: str
    model: str
    path: Route
    requests: tuple[tuple[Item, ...], ...]
    connections: tuple[int, ...] = (1, 4, 16, 64)
    times: float = 1.0

    @property
    def compares(self) -> bool:
        """Whether an answer is scores; else it is embeddings."""
        return self.path != "/embed"

    @property
    def units(self) -> int:
        """Pairs or inputs of one request: what throughput counts."""
        return len(self.requests[0]) // (2 if self.compares else 1)

    def bodies(self) -> list[bytes]:
        """The JSON that the service takes, one a request."""
        return [self._body(items) for items in self.requests]

    def alone(self) -> Workload:
        """The same pairs or inputs with one in each request."""
        size = 2 if self.compares else 1
        single = tuple(items[start : start + size] for items in self.requests for start in range(0, len(items), size))
        return Workload(self.name, self.title, self.model, "/compare" if self.compares else "/embed", single)

    def _body(self, items: Sequence[Item]) -> bytes:
        pairs = [{"a": a, "b": b} for a, b in zip(items[::2], items[1::2], strict=True)] if self.compares else []
        content: dict[str, Any]
        match self.path:
            case "/compare":
                content = dict(pairs[0])
            case "/compare/batch":
                content = {"pairs": pairs}
            case "/embed":
                content = {"inputs": items, "encoding_format": "base64"}
        return orjson.dumps({"model": self.model, **content})


def glyphs() -> Workload:
    """Compares of two drawings."""
    return Workload("glyphs", "compare, two 105x105 PNG", GLYPHS, "/compare", _pairs(_drawings(), 128))


def scans() -> Workload:
    """Compares of two scans."""
    pictures = [_picture(scan(character, hand)) for character in range(4) for hand in (1, 2)]
    return Workload("scans", "compare, two 1-megapixel JPEG", GLYPHS, "/compare", _pairs(pictures, 16), (4,))


def texts() -> Workload:
    """Embeds of one text each, of varied lengths."""
    requests = tuple(({"text": text(number)},) for number in range(256))
    return Workload("texts", "embed one text of 14 to 140 tokens", MINILM, "/embed", requests)


def short_texts() -> Workload:
    """Embeds of one text each, of about 16 tokens."""
    requests = tuple(({"text": sentence(number)},) for number in range(256))
    return Workload("short-texts", "embed one text of about 16 tokens", MINILM, "/embed", requests, (16, 64))


def pairs() -> Workload:
    """Batches of 64 pairs, no picture twice in one."""
    pictures = _drawings()
    rng = np.random.default_rng(2)
    requests = tuple(tuple(pictures[place] for place in rng.permutation(len(pictures))[:128]) for _ in range(4))
    return Workload("pairs", "compare/batch of 64 pairs of PNG", GLYPHS, "/compare/batch", requests, (4,))


def inputs() -> Workload:
    """Embeds of 256 texts at once."""
    requests = tuple(tuple({"text": text(256 * number + place)} for place in range(256)) for number in range(2))
    return Workload("inputs", "embed 256 texts of 14 to 140 tokens", MINILM, "/embed", requests, (4,), 3.0)


def costed() -> tuple[Workload, ...]:
    """Compares of each kind of input in the sizes that people send; what embeddings cost is HTTP and judging alone."""
    drawings, texts = _drawings()[:16], [{"text": sentence(number)} for number in range(16)]
    longer = [{"text": " ".join(sentence(50 * number + place) for place in range(4))} for number in range(16)]
    kinds: tuple[tuple[str, str, str, Sequence[Item]], ...] = (
        ("drawing", "PNG of 105x105", GLYPHS, drawings),
        ("photo-1", "colour JPEG of 1 megapixel", "groceries", _photographs(1155, 866)),
        ("photo-12", "colour JPEG of 12 megapixels", "groceries", _photographs(4000, 3000)),
        ("recording", "WAV of 10 s at 16 kHz", "digits", [_picture(recording(number)) for number in range(6)]),
        ("series", "10 s of 1 channel at 500 Hz, as JSON", "heartbeat", [_series(number) for number in range(6)]),
        ("text-16", "text of about 16 tokens", MINILM, texts),
        ("text-64", "text of about 60 tokens", MINILM, longer),
    )
    return tuple(Workload(name, title, model, "/compare", _pairs(items, 16)) for name, title, model, items in kinds)


WORKLOADS: Mapping[str, Callable[[], Workload]] = {
    "glyphs": glyphs,
    "scans": scans,
    "texts": texts,
    "short-texts": short_texts,
    "pairs": pairs,
    "inputs": inputs,
}


@cache
def _drawings() -> tuple[Item, ...]:
    return tuple(_picture(drawing(character, hand)) for character in range(48) for hand in (1, 2, 3))


def _picture(data: bytes) -> Item:
    return {"base64": base64.b64encode(data).decode()}


def _photographs(width: int, height: int) -> list[Item]:
    return [_picture(photograph(number, width, height)) for number in range(4)]


def _series(number: int) -> Item:
    return {"values": heartbeats(number), "rate": 500.0}


def _pairs(pictures: Sequence[Item], count: int) -> tuple[tuple[Item, ...], ...]:
    """`count` pairs of different pictures, no pair twice."""
    every = list(itertools.combinations(range(len(pictures)), 2))
    chosen = np.random.default_rng(1).permutation(len(every))[:count]
    return tuple((pictures[every[place][0]], pictures[every[place][1]]) for place in chosen)


def find_bundle(models: Path, name: str) -> Path | None:
    """The folder of a model's highest version, as its name alone means it; None where it is not there."""
    versions = [folder for folder in models.glob(f"{name}/*") if (folder / "manifest.json").is_file()]
    return max(versions, key=lambda folder: tuple(map(int, folder.name.split("."))), default=None)

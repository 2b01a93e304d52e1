"""What is evaluated: a bundle on this machine, or a model behind a running service. Both embed items the same way."""

from __future__ import annotations

import base64
import datetime
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np

from app.core.bundle import Bundle, ModalityChoice, read_bundle, to_http
from app.core.bundle.manifest import VERSION_REGEX, version_key
from app.core.evidence import Calibration, describe_points
from app.core.modalities.base import Item
from app.core.scoring import Metric
from app.runtime.encoder import Encoder
from model_export.errors import CommandError
from model_export.measure import Embeddings, Vectors, embed_all, shown

BATCH = 32
RETRIES = 20
TIMEOUT_S = 60.0
ITEM_ERRORS = frozenset({"unusable_input", "invalid_request", "too_large", "unsupported_media_type"})
"""Codes that are about an item, where a pointer names it; any other fails the evaluation."""


class Preparation(Protocol):
    """How items are prepared, as recipes and manifests name it."""

    @property
    def name(self) -> str:
        """The modality."""

    @property
    def params(self) -> Mapping[str, Any]:
        """What the modality's `create` takes."""


class Subject(Protocol):
    """Something that embeds items and says at which thresholds it decides, and until when that evidence is valid."""

    key: str
    preparation: Preparation
    form: str
    metric: Metric
    points: Sequence[Mapping[str, Any]]
    calibration: Calibration | None
    valid_until: datetime.date | None

    def embed(self, items: Sequence[Item]) -> Embeddings:
        """Embed items; those that are refused are counted. Raises CommandError where all are."""


def newest(folder: Path) -> Path:
    """The folder of the highest version in a folder of versions; any other folder itself."""
    versions = [one for one in folder.glob("*") if one.is_dir() and VERSION_REGEX.match(one.name)]
    return max(versions, key=lambda one: version_key(one.name), default=folder)


def highest_version(folder: Path) -> tuple[int, ...] | None:
    """The highest version that a folder of versions holds a name of; None where it holds none, or is not there."""
    there = (version_key(one.name) for one in folder.glob("*") if VERSION_REGEX.match(one.name))
    return max(there, default=None)


def points_of(bundle: Bundle) -> Sequence[Mapping[str, Any]]:
    """A bundle's operating points as /models shows them: those of a demonstration cannot be asked for."""
    return describe_points(bundle.calibration) if bundle.manifest.status == "released" else ()


def choose_point(key: str, points: Sequence[Mapping[str, Any]], named: str | None) -> Mapping[str, Any]:
    """The point TYPE:NAME, the default one where None; `key` says whose. Raises CommandError where there is none."""
    for point in points:
        if f"{point['impostor']}:{point['name']}" == named or (named is None and point["default"]):
            return point
    own = ", ".join(f"{point['impostor']}:{point['name']}" for point in points) or "none"
    raise CommandError(f"{key}: has no operating point {named or 'by default'}; it has {own}")


class LocalSubject:
    """A bundle in a folder, embedded in this process on one CPU thread. Raises BundleRefused."""

    def __init__(self, folder: Path) -> None:
        bundle: Bundle = read_bundle(folder)
        self.encoder = Encoder(bundle, device="cpu", threads=1)
        self.key, self.form = bundle.key, self.encoder.modality.form
        self.preparation: Preparation = bundle.manifest.modality
        self.metric: Metric = bundle.manifest.embedding.metric
        self.calibration: Calibration | None = bundle.calibration
        self.points: Sequence[Mapping[str, Any]] = points_of(bundle)
        self.valid_until: datetime.date | None = None
        if bundle.calibration is not None:
            self.valid_until = _valid_until(bundle.calibration.date, bundle.calibration.valid_for_days)

    def embed(self, items: Sequence[Item]) -> Embeddings:
        """See embed_all."""
        return embed_all(self.encoder, items)


class RemoteSubject:
    """A model of a running service, asked over POST /embed.

    Raises CommandError for a service that cannot be reached, does not know the model, or changes its fingerprint while
    it is being measured, since embeddings of two fingerprints say nothing about each other.
    """

    calibration: Calibration | None = None

    def __init__(self, url: str, model: str, client: httpx.Client) -> None:
        self._client = client
        told = self._json(self._send("GET", f"/v1/models/{model}"))
        if "name" not in told:
            raise CommandError(f"{url}: {told.get('detail', 'is no such service')}")
        self._model = f"{told['name']}@{told['version']}"
        self.key: str = self._model
        self.form: str = told["item_form"]
        self.preparation: Preparation = ModalityChoice(**told["modality"])
        self.metric: Metric = told["embedding"]["metric"]
        self.points: Sequence[Mapping[str, Any]] = told["operating_points"]
        self.valid_until: datetime.date | None = None
        if (evidence := told["calibration"]) is not None:
            self.valid_until = _valid_until(datetime.date.fromisoformat(evidence["date"]), evidence["valid_for_days"])
        self._fingerprint = told["fingerprint"]
        self._dimension = told["embedding"]["dimension"]
        self._batch = min(BATCH, told["limits"]["max_items"])

    def embed(self, items: Sequence[Item]) -> Embeddings:
        """Embed items in small requests; one with a refused item goes again without it, a too large one in halves."""
        kept = np.zeros(len(items), np.bool_)
        refused: Counter[str] = Counter()
        rows: list[Vectors] = []
        for start in shown(range(0, len(items), self._batch), "embedding"):
            waiting = [list(range(start, min(start + self._batch, len(items))))]
            while waiting:
                places = waiting.pop(0)
                answer = self._json(self._send("POST", "/v1/embed", self._request([items[at] for at in places])))
                if "embeddings" in answer:
                    rows.append(self._rows(answer, len(places)))
                    kept[places] = True
                elif (at := self._refused(answer, len(places))) is not None:
                    refused[answer["code"]] += 1
                    waiting[:0] = [one for one in (places[:at], places[at + 1 :]) if one]
                else:
                    middle = len(places) // 2
                    waiting[:0] = [places[:middle], places[middle:]]
        if not rows:
            raise CommandError("the service refused every item")
        shares = {code: count / len(items) for code, count in sorted(refused.items())}
        return Embeddings(kept, np.concatenate(rows), None, None, shares)

    def _request(self, items: Sequence[Item]) -> dict[str, Any]:
        return {"model": self._model, "inputs": [to_http(item) for item in items], "encoding_format": "base64"}

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """One request, tried again while the service says that it is busy."""
        for _ in range(RETRIES):
            try:
                response = self._client.request(method, path, json=body)
            except httpx.HTTPError as error:
                raise CommandError(f"{self._client.base_url}: {error or type(error).__name__}") from error
            if response.status_code not in (429, 503):
                return response
            time.sleep(min(float(response.headers.get("retry-after", 1)), 10.0))
        raise CommandError(f"{self._client.base_url}: still busy after {RETRIES} attempts")

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise CommandError(
                f"{self._client.base_url}: answers with status {response.status_code} and no JSON object"
            )
        return answer

    def _rows(self, answer: Mapping[str, Any], count: int) -> Vectors:
        if answer["fingerprint"] != self._fingerprint:
            raise CommandError("the service changed its model while it was being measured: measure again")
        rows = [np.frombuffer(base64.b64decode(one), "<f4") for one in answer["embeddings"]]
        if len(rows) != count or any(len(row) != self._dimension for row in rows):
            raise CommandError("the service gave another number of embeddings, or of another length, than it was asked")
        return np.stack(rows)

    def _refused(self, problem: Mapping[str, Any], count: int) -> int | None:
        """The place of the input that a problem is about; None where only the request as a whole is too large.

        Raises CommandError where it is about anything else.
        """
        start, _, rest = (problem.get("pointer") or "").removeprefix("/").partition("/")
        number = rest.partition("/")[0]
        if problem.get("code") in ITEM_ERRORS and start == "inputs" and number.isdecimal() and int(number) < count:
            return int(number)
        if problem.get("code") == "too_large":
            return 0 if count == 1 else None
        raise CommandError(f"the service refuses: {problem.get('detail', 'without saying why')}")


@contextmanager
def open_service(url: str, model: str) -> Iterator[RemoteSubject]:
    """A model of the service at `url`, over connections that end with the block."""
    with httpx.Client(base_url=url.rstrip("/"), timeout=TIMEOUT_S) as client:
        yield RemoteSubject(url, model, client)


def _valid_until(date: datetime.date, days: int) -> datetime.date:
    """The last day on which a calibration is not stale; the last there is, for one that outlives the calendar."""
    return datetime.date.fromordinal(min(date.toordinal() + days, datetime.date.max.toordinal()))

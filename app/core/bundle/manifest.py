"""The manifest: every field of manifest.json, its fingerprint and its digest. No file is read here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
CALIBRATION_FILE = "calibration.json"
GOLDEN_FILE = "golden.npz"
GRAPH_FILE = "model.onnx"
EXTERNAL_FILE = "model.onnx.data"
SIGNATURE_FILE = "model.sig"
"""Beside the manifest and not listed in it, which it signs; read only where signatures are asked for."""

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
VERSION_PATTERN = r"^(?:0|[1-9][0-9]{0,8})\.(?:0|[1-9][0-9]{0,8})\.(?:0|[1-9][0-9]{0,8})$"

NAME_REGEX = re.compile(NAME_PATTERN + r"\Z")
VERSION_REGEX = re.compile(VERSION_PATTERN + r"\Z")


def safe_path(path: str) -> str:
    """Return a listed file's name if it stays inside the bundle on every platform; else raise ValueError."""
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or ":" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{path!r} is not a plain relative path inside the bundle")
    return path


Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Provider = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]+ExecutionProvider$")]
ListedFile = Annotated[str, AfterValidator(safe_path)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True, defer_build=True)


class Relation(_Section):
    """What a match means in words."""

    match_means: str = Field(min_length=1, description="what two matching items have in common")
    not_: str = Field(alias="not", min_length=1, description="what a match does not mean")


class ModalityChoice(_Section):
    """Which modality prepares the items, and how; `params` are checked by the modality itself."""

    name: str
    params: dict[str, Any]


class Graph(_Section):
    """The ONNX graph: its file, its inputs in order, its one output (batch, dimension) float32."""

    file: Literal["model.onnx"] = "model.onnx"
    inputs: tuple[str, ...] = Field(min_length=1)
    output: str = Field(min_length=1)
    precision: Literal["fp32", "fp16", "int8"]
    opset: int = Field(ge=1)


class Embedding(_Section):
    """The vectors that come out, and how two of them are compared."""

    dimension: int = Field(ge=2, le=65536)
    normalized: bool = Field(description="whether every row has unit Euclidean length")
    metric: Literal["cosine", "euclidean"]

    @model_validator(mode="after")
    def _cosine_needs_unit_rows(self) -> Self:
        if self.metric == "cosine" and not self.normalized:
            raise ValueError("metric cosine needs normalized embeddings; put the L2 step into the graph")
        return self


class Numerics(_Section):
    """The arithmetic that the evidence was measured with."""

    tf32: bool = Field(description="whether CUDA may round float32 products to TF32")
    providers: tuple[Provider, ...] = Field(min_length=1, description="providers that golden.npz has a tolerance for")


class Training(_Section):
    """Where the weights come from; None where the owner of imported weights did not say."""

    recipe: str | None
    data: str
    seed: int | None
    library_versions: dict[str, str]
    duration_seconds: float | None = Field(ge=0)


class Licence(_Section):
    """Licences of the weights and of the data that they were trained on."""

    weights: str
    data: str


class Draft(_Section):
    """What an author decides about a bundle. `seal` adds what follows from the files: Manifest."""

    name: Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
    status: Literal["released", "demonstration"]
    relation: Relation
    modality: ModalityChoice
    graph: Graph
    embedding: Embedding
    numerics: Numerics
    training: Training
    licence: Licence
    intended_use: str = Field(min_length=1)


class Manifest(Draft):
    """All of manifest.json."""

    format_version: int = Field(ge=1, le=FORMAT_VERSION)
    files: dict[ListedFile, Digest] = Field(description="what serving reads: file name -> SHA-256")
    fingerprint: Digest
    manifest_digest: Digest

    @property
    def key(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"

    @property
    def assets(self) -> tuple[str, ...]:
        """Listed files that belong to the modality."""
        own = {GRAPH_FILE, EXTERNAL_FILE, CALIBRATION_FILE, GOLDEN_FILE}
        return tuple(sorted(set(self.files) - own))

    @model_validator(mode="after")
    def _lists_what_serving_needs(self) -> Self:
        for file in (GRAPH_FILE, GOLDEN_FILE):
            if file not in self.files:
                raise ValueError(f"files does not list {file}")
        if MANIFEST_FILE in self.files:
            raise ValueError(f"files lists {MANIFEST_FILE}, which cannot hold its own digest")
        return self

    def draft(self, **changes: Any) -> Draft:
        """Return the author's part with `changes`, as for a recalibration that raises the version."""
        fields = {name: getattr(self, name) for name in Draft.model_fields}
        return Draft.model_validate(fields | changes)


def canonical_json(value: Any) -> bytes:
    """Canonical form for digests: sorted keys, no spaces, UTF-8, no NaN or Infinity (ValueError)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def sha256_hex(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(draft: Draft, files: Mapping[str, str]) -> str:
    """Digest of all that decides an embedding's numbers: graph, weights, preparation, assets, precision.

    `files` maps the names of the bundle's files to their SHA-256. The calibration is not part of it, so a
    recalibrated bundle still takes the embeddings that it gave out before.
    """
    own = {GRAPH_FILE, EXTERNAL_FILE, CALIBRATION_FILE, GOLDEN_FILE}
    content = {
        "graph": files[GRAPH_FILE],
        "external_data": files.get(EXTERNAL_FILE),
        "modality": draft.modality.model_dump(mode="json"),
        "assets": {name: digest for name, digest in files.items() if name not in own},
        "precision": draft.graph.precision,
    }
    return sha256_hex(canonical_json(content))


def manifest_digest(fields: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest's canonical JSON without the field `manifest_digest`."""
    return sha256_hex(canonical_json({name: value for name, value in fields.items() if name != "manifest_digest"}))


def version_key(version: str) -> tuple[int, ...]:
    """Order of versions: by number, not by letter."""
    return tuple(int(part) for part in version.split("."))


def highest(manifests: Iterable[Manifest]) -> Manifest:
    """Return what a name alone means: the highest released version, a demonstration only where nothing is released.

    Raises ValueError for no manifests.
    """
    return max(manifests, key=lambda manifest: (manifest.status == "released", version_key(manifest.version)))

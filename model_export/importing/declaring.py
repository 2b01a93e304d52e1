"""What the owner of imported weights declares about them, and what stands there where nothing was declared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from pydantic import ValidationError

from app.core.bundle import Draft, Embedding, Graph, Licence, ModalityChoice, Numerics, Relation, Training
from model_export.errors import CommandError
from model_export.graphs import OUTPUT

UNKNOWN = "unknown: ask the owner"
UNKNOWN_RELATION = "what the owner of the weights trained them to bring together (unknown: ask the owner)"
UNKNOWN_NOT = "anything that the owner of the weights does not state"

Metric = Literal["cosine", "euclidean"]
Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Declared:
    """What the command line says about an import. None: not said, so that the source's own words or UNKNOWN stand."""

    name: str | None = None
    version: str = "1.0.0"
    match_means: str | None = None
    not_: str | None = None
    intended_use: str | None = None
    weights_licence: str | None = None
    data_licence: str | None = None


def make_draft(
    declared: Declared,
    *,
    name: str,
    modality: str,
    params: dict[str, Any],
    inputs: tuple[str, ...],
    opset: int,
    dimension: int,
    metric: Metric,
    normalized: bool,
    origin: str,
    providers: tuple[str, ...],
    libraries: tuple[str, ...],
    precision: Precision = "fp32",
) -> Draft:
    """The manifest's draft of an import: a demonstration until calibrated, of unknown recipe and seed.

    `name` is used where none is declared, `origin` says in words where the weights come from, `libraries` are the
    distributions that took part. Raises CommandError for a name or version that no bundle may have.
    """
    relation = {"match_means": declared.match_means or UNKNOWN_RELATION, "not": declared.not_ or UNKNOWN_NOT}
    try:
        return Draft(
            name=declared.name or name,
            version=declared.version,
            status="demonstration",
            relation=Relation.model_validate(relation),
            modality=ModalityChoice(name=modality, params=params),
            graph=Graph(inputs=inputs, output=OUTPUT, precision=precision, opset=opset),
            embedding=Embedding(dimension=dimension, normalized=normalized, metric=metric),
            numerics=Numerics(tf32=False, providers=providers),
            training=Training(
                recipe=None,
                data=origin,
                seed=None,
                library_versions={library: version(library) for library in libraries},
                duration_seconds=None,
            ),
            licence=Licence(weights=declared.weights_licence or UNKNOWN, data=declared.data_licence or UNKNOWN),
            intended_use=declared.intended_use or UNKNOWN,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise CommandError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def bundle_name(source: str) -> str:
    """A name that a bundle may have, from the last part of a path or of an owner/name."""
    last = re.split(r"[/\\]", source.rstrip("/\\"))[-1].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).strip("._-")[:64].strip("._-")

"""Reference vectors: items and what the original gives for them. The owner's own, read from a file, or self-made ones.

Only the owner's can tell whether a spec's preparation is the one that the encoder was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.core.errors import TwinserveError
from app.core.modalities.base import Array, Item, Limits, Modality, Window
from app.core.scoring import pool
from model_export.errors import CommandError
from model_export.graphs import one_line
from model_export.importing.foreign import Original, padded
from model_export.importing.onnx_spec import Spec
from model_export.importing.publishing import Reference, Rows, usable
from model_export.probes.choosing import probe_items

MUST = "must hold vectors (n, d), finite and not zero, item_0 to item_<n-1>, and nothing else"


def draw_reference(original: Original, modality: Modality, limit: float, *, cosine: bool) -> Reference:
    """Items drawn for the project and what the file's graph gives for them, which vouches for no preparation."""
    items = usable(modality, probe_items(modality))
    prepared = [modality.prepare(item, Limits()).windows for item in items]
    return Reference(items, embed_prepared(original, modality, prepared, cosine=cosine), "self", limit)


def embed_prepared(
    original: Original, modality: Modality, prepared: Sequence[Sequence[Window]], *, cosine: bool
) -> Rows:
    """What the file's graph gives for prepared items, each one's windows pooled: float32 (n, d)."""
    rows = []
    for windows in prepared:
        vectors = original.embed(padded(windows, modality.collate))
        rows.append(vectors[0] if len(vectors) == 1 else pool(vectors, cosine))
    return np.stack(rows)


def prepare_reference(modality: Modality, item: Item, place: int) -> Sequence[Window]:
    """The windows of the item in that place. Raises CommandError, naming it, where the modality does not take it."""
    try:
        return modality.prepare(item, Limits()).windows
    except TwinserveError as error:
        raise CommandError(f"reference item_{place}: {error.detail}") from error


def read_reference(path: Path, spec: Spec, limit: float) -> Reference:
    """Read `vectors` float32 (n, d) and `item_0` to `item_<n-1>`: bytes (uint8), a text, or float (steps, channels).

    Vectors that are compared by their cosine are brought to unit length. Raises CommandError for anything else in the
    file; no pickle is read.
    """
    items, vectors = _read(path)
    if spec.graph.metric == "cosine":
        vectors = to_unit_length(vectors)
    limit = max(limit, spec.reference_tolerance)
    return Reference(items, vectors.astype(np.float32), "reference vectors of the owner", limit)


def to_unit_length(vectors: Rows) -> Rows:
    """Rows float32 (n, d), none of zeros, divided by their lengths."""
    return np.asarray(vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True), np.float32)


def _read(path: Path) -> tuple[tuple[Item, ...], Rows]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = set(arrays.files)
            if "vectors" not in names:
                raise CommandError(f"{path}: has {_some(names)} and no 'vectors'; it {MUST}")
            vectors = arrays["vectors"]
            wanted = [f"item_{place}" for place in range(len(vectors) if vectors.ndim else 0)]
            for said, odd in (("no", set(wanted) - names), ("too many:", names - {"vectors", *wanted})):
                if odd:
                    raise CommandError(f"{path}: {len(wanted)} vectors, but {said} {_some(odd)}; it {MUST}")
            found = [arrays[name] for name in wanted]
    except CommandError:
        raise
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or one_line(error)}") from error
    except Exception as error:  # numpy and zipfile raise almost any type on damaged files
        raise CommandError(f"{path}: cannot be read as reference vectors: {one_line(error)}") from error
    whole = vectors.ndim == 2 and vectors.size and vectors.dtype.kind in "fiu"
    if not whole or not np.isfinite(vectors).all() or not np.abs(vectors).max(axis=1).all():
        shape = " x ".join(map(str, vectors.shape)) or "one value"
        raise CommandError(f"{path}: vectors are {vectors.dtype} {shape}; it {MUST}")
    return tuple(_item(path, place, array) for place, array in enumerate(found)), np.asarray(vectors, np.float32)


def _some(names: set[str]) -> str:
    """A few names in one line, whatever a file calls its arrays."""
    shown = [repr(name) for name in sorted(names)]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "") or "nothing"


def _item(path: Path, place: int, array: Array) -> Item:
    if array.dtype == np.uint8 and array.ndim == 1:
        return {"bytes": array.tobytes()}
    if array.dtype.kind == "U" and array.ndim == 0:
        return {"text": str(array)}
    if array.dtype.kind == "f" and array.ndim == 2:
        return {"values": [[None if np.isnan(value) else value for value in row] for row in array.tolist()]}
    raise CommandError(f"{path}: item_{place} is neither bytes (uint8), nor one text, nor numbers (steps, channels)")

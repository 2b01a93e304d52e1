"""A bundle in memory, verified and picklable, and its golden vectors. No file names of folders, no reading of paths.

golden.npz holds five arrays, none of objects: `items` (UTF-8 JSON list of items in their HTTP form), `framework` and
`served` (float32 (n, d)), `tolerance` (UTF-8 JSON object, provider -> largest absolute difference) and `source`.
"""

from __future__ import annotations

import base64
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from app.core.bundle.manifest import Manifest
from app.core.errors import BundleRefused
from app.core.evidence import Calibration
from app.core.modalities.base import FORMS, Item

Source = Literal["training framework", "reference vectors of the owner", "self"]
Vectors = npt.NDArray[np.float32]

MAX_GOLDEN_BYTES = 64 * 1024 * 1024
ARRAYS = ("items", "framework", "served", "tolerance", "source")


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Probe items and the embeddings that they must give, replayed at every start.

    `items` are in the engine's form, {"bytes": ...} for encoded bytes. `framework` float32 (n, d) comes from where
    the encoder was made, `served` float32 (n, d) from the exported graph on CPU. `tolerance` maps a provider's name
    to the largest absolute difference from `served` that it may show in any component.
    """

    items: tuple[Item, ...]
    framework: Vectors
    served: Vectors
    tolerance: Mapping[str, float]
    source: Source

    @property
    def vouched_by(self) -> str:
        """Who vouches for the preparation, in words: the bundle's own graph cannot show that it is a wrong one."""
        return "self: preparation unverified" if self.source == "self" else self.source


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Everything of a bundle that serving reads, verified. Picklable, so that workers never read the folder again."""

    manifest: Manifest
    golden: Golden
    graph: bytes
    calibration: Calibration | None = None
    external_data: bytes | None = None
    assets: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's name, as requests say it."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """MAJOR.MINOR.PATCH."""
        return self.manifest.version

    @property
    def key(self) -> str:
        """name@version."""
        return self.manifest.key

    @property
    def fingerprint(self) -> str:
        """What every embedding of this bundle carries; see manifest.fingerprint."""
        return self.manifest.fingerprint


def dump_golden(golden: Golden) -> bytes:
    """Return golden.npz; the same golden vectors give the same bytes."""
    arrays = {
        "items": _text(json.dumps([to_http(item) for item in golden.items], ensure_ascii=False, allow_nan=False)),
        "framework": golden.framework,
        "served": golden.served,
        "tolerance": _text(json.dumps(dict(golden.tolerance), sort_keys=True, allow_nan=False)),
        "source": _text(golden.source),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ARRAYS:
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def load_golden(data: bytes, manifest: Manifest) -> Golden:
    """Read golden.npz and check it against the manifest.

    Raises BundleRefused for arrays of objects, missing or unknown arrays, wrong dtypes or shapes, vectors that are
    not finite or not of unit length where the manifest says so, and tolerances that are no positive numbers.
    """
    arrays = _load_arrays(data)
    try:
        items = tuple(_from_http(item) for item in json.loads(_as_text(arrays["items"])))
        tolerance = json.loads(_as_text(arrays["tolerance"]))
        source = _as_text(arrays["source"])
    except (ValueError, TypeError) as error:
        reason = type(error).__name__
        raise BundleRefused(f"golden.npz: items, tolerance or source cannot be read ({reason})") from error
    if not items:
        raise BundleRefused("golden.npz: items is empty, so that a start would check nothing")
    if source not in get_args(Source):
        raise BundleRefused("golden.npz: source is none of " + ", ".join(get_args(Source)))
    _check_tolerance(tolerance, manifest)
    shape = (len(items), manifest.embedding.dimension)
    for name in ("framework", "served"):
        _check_vectors(name, arrays[name], shape, unit=manifest.embedding.normalized)
    return Golden(items, arrays["framework"], arrays["served"], tolerance, cast(Source, source))


def _load_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: info.file_size for info in archive.infolist()}
            if sorted(members) != sorted(f"{name}.npy" for name in ARRAYS):
                raise BundleRefused(f"golden.npz: must hold exactly the arrays {', '.join(ARRAYS)}")
            if sum(members.values()) > MAX_GOLDEN_BYTES:
                raise BundleRefused(f"golden.npz: unpacks to more than {MAX_GOLDEN_BYTES} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ARRAYS}
    except BundleRefused:
        raise
    except Exception as error:  # numpy and zipfile raise almost any type on damaged files
        reason = "holds pickled objects" if "allow_pickle" in str(error) else f"is damaged ({type(error).__name__})"
        raise BundleRefused(f"golden.npz: {reason}") from error


def _check_tolerance(tolerance: object, manifest: Manifest) -> None:
    if not isinstance(tolerance, dict) or not all(
        isinstance(value, float) and math.isfinite(value) and value > 0 for value in tolerance.values()
    ):
        raise BundleRefused("golden.npz: tolerance must map providers to positive numbers")
    if set(tolerance) != set(manifest.numerics.providers):
        raise BundleRefused("golden.npz: tolerance is not for the providers of manifest.json's numerics.providers")


def _check_vectors(name: str, vectors: npt.NDArray[Any], shape: tuple[int, int], *, unit: bool) -> None:
    if vectors.dtype != np.float32 or vectors.shape != shape:
        found = f"{vectors.dtype} {vectors.shape}"
        raise BundleRefused(f"golden.npz: {name} is {found}, but float32 {shape} is what the manifest and items need")
    if not np.isfinite(vectors).all():
        raise BundleRefused(f"golden.npz: {name} holds numbers that are not finite")
    if unit and not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=0, atol=1e-3):
        raise BundleRefused(f"golden.npz: {name} has rows that are not of unit length")


def _text(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)


def _as_text(array: npt.NDArray[Any]) -> str:
    if array.dtype != np.uint8 or array.ndim != 1:
        raise TypeError("text is kept as one row of uint8")
    return array.tobytes().decode("utf-8")


def to_http(item: Item) -> dict[str, Any]:
    """The item as it travels over HTTP: bytes in base64, everything else as it is."""
    if "bytes" not in item:
        return dict(item)
    others = {name: value for name, value in item.items() if name != "bytes"}
    return {"base64": base64.b64encode(item["bytes"]).decode("ascii"), **others}


def _from_http(item: object) -> Item:
    if not isinstance(item, dict) or len(set(item) & set(FORMS)) != 1:
        raise ValueError("an item has exactly one of the members " + ", ".join(FORMS))
    if "base64" not in item:
        return item
    others = {name: value for name, value in item.items() if name != "base64"}
    return {"bytes": base64.b64decode(item["base64"], validate=True), **others}

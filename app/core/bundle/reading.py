"""Reading a bundle: every rule by which one is refused, each with one line that names the file or field.

Reads the files that the manifest lists and no others, each up to a bound. Where an untrusted file could raise
anything, the error becomes BundleRefused.
"""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.core.bundle.contents import MAX_GOLDEN_BYTES, Bundle, load_golden
from app.core.bundle.manifest import (
    CALIBRATION_FILE,
    EXTERNAL_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    GRAPH_FILE,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    VERSION_REGEX,
    Manifest,
    fingerprint,
    manifest_digest,
    sha256_hex,
)
from app.core.bundle.names import ALIASES_FILE
from app.core.bundle.onnx_wire import external_locations
from app.core.errors import BundleRefused
from app.core.evidence import Calibration

Signature = tuple[tuple[str, int, int, int], ...]
MEBIBYTE = 1024 * 1024
MAX_BYTES = {
    MANIFEST_FILE: MEBIBYTE,
    CALIBRATION_FILE: 32 * MEBIBYTE,
    GOLDEN_FILE: MAX_GOLDEN_BYTES,
    GRAPH_FILE: 2048 * MEBIBYTE,  # protobuf's own limit
    EXTERNAL_FILE: 16384 * MEBIBYTE,
    SIGNATURE_FILE: MEBIBYTE,
}
MAX_ASSET_BYTES = 256 * MEBIBYTE

ManifestCheck = Callable[[Path, bytes, bytes], None]
"""Gets the folder and the bytes of manifest and signature; raises BundleRefused unless one vouches for the other."""


def read_bundle(folder: Path, check: ManifestCheck | None = None) -> Bundle:
    """Read and verify models/<name>/<version>/. Raises BundleRefused with one clear line.

    With a `check`, a bundle without a signature is refused, and one with it is read only if the check lets it pass.
    """
    folder = folder.absolute()
    return read_verified(folder, name=folder.parent.name, version=folder.name, check=check)


def read_verified(folder: Path, *, name: str, version: str, check: ManifestCheck | None = None) -> Bundle:
    """Read a bundle that must call itself `name` and `version`, whatever its folder is called."""
    written = _read(folder, MANIFEST_FILE, MAX_BYTES[MANIFEST_FILE])
    if check is not None:
        check(folder, written, _read(folder, SIGNATURE_FILE, MAX_BYTES[SIGNATURE_FILE]))
    manifest = _read_manifest(written)
    if (manifest.name, manifest.version) != (name, version):
        raise BundleRefused(f"{MANIFEST_FILE}: calls itself {manifest.key}, but its folder is {name}/{version}")
    contents = {file: _read_listed(folder, file, digest) for file, digest in manifest.files.items()}
    if fingerprint(manifest, manifest.files) != manifest.fingerprint:
        raise BundleRefused(f"{MANIFEST_FILE}: fingerprint does not follow from graph, modality, assets and precision")
    _check_graph(contents)
    return Bundle(
        manifest=manifest,
        golden=load_golden(contents[GOLDEN_FILE], manifest),
        graph=contents[GRAPH_FILE],
        calibration=_load_calibration(contents[CALIBRATION_FILE], manifest) if CALIBRATION_FILE in contents else None,
        external_data=contents.get(EXTERNAL_FILE),
        assets={file: contents[file] for file in manifest.assets},
    )


def find_bundles(models: Path) -> list[Path]:
    """Return the folders models/<name>/<version> that mean to be bundles, sorted; none where `models` is no folder.

    That is any that is called like a version or holds a manifest, so that a spoilt one is refused, not overlooked.
    Hidden folders, as unfinished writes are, do not count.
    """
    return sorted(
        folder
        for folder in models.glob("*/*")
        if folder.is_dir()
        and not folder.name.startswith(".")
        and not folder.parent.name.startswith(".")
        and (VERSION_REGEX.match(folder.name) or (folder / MANIFEST_FILE).exists())
    )


def sign(folder: Path) -> Signature:
    """Return what changes whenever a file below `folder` is written, replaced, added or removed; reads no file.

    Name, size, time of change and inode of each. A folder that is not there has no files.
    """
    files = []
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(OSError):  # removed meanwhile
            state = path.stat()
            if not stat.S_ISDIR(state.st_mode):
                files.append((str(path.relative_to(folder)), state.st_size, state.st_mtime_ns, state.st_ino))
    return tuple(files)


def sign_models(models: Path) -> Signature:
    """Return what changes whenever a bundle below `models` or aliases.toml does, as `sign`; unfinished writes aside."""
    files = [
        (f"{folder.parent.name}/{folder.name}/{name}", size, changed, inode)
        for folder in find_bundles(models)
        for name, size, changed, inode in sign(folder)
    ]
    with contextlib.suppress(OSError):
        state = (models / ALIASES_FILE).stat()
        files.append((ALIASES_FILE, state.st_size, state.st_mtime_ns, state.st_ino))
    return tuple(files)


def _read_manifest(data: bytes) -> Manifest:
    """Parse and check the manifest by itself: format first, since a newer one may well have unknown fields."""
    try:
        fields = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BundleRefused(f"{MANIFEST_FILE}: is not valid JSON in UTF-8, with each field once") from error
    if not isinstance(fields, dict):
        raise BundleRefused(f"{MANIFEST_FILE}: must be a JSON object")
    found = fields.get("format_version")
    if isinstance(found, int) and found > FORMAT_VERSION:
        raise BundleRefused(
            f"{MANIFEST_FILE}: format_version {found} is newer than {FORMAT_VERSION}, the newest that this version "
            "reads: update twinserve"
        )
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise BundleRefused(f"{MANIFEST_FILE}: {_first(error)}") from error
    if manifest_digest(fields) != manifest.manifest_digest:
        raise BundleRefused(f"{MANIFEST_FILE}: manifest_digest does not match the other fields; the file was changed")
    return manifest


def _load_calibration(data: bytes, manifest: Manifest) -> Calibration:
    try:
        calibration = Calibration.model_validate_json(data)
    except ValidationError as error:
        raise BundleRefused(f"{CALIBRATION_FILE}: {_first(error)}") from error
    check_calibration(calibration, manifest.embedding.dimension, manifest.status)
    return calibration


def check_calibration(calibration: Calibration, dimension: int, status: str) -> None:
    """Check that evidence fits the bundle that it lies in. Raises BundleRefused."""
    applicability = calibration.applicability
    if applicability is not None and applicability.dimension != dimension:
        raise BundleRefused(
            f"{CALIBRATION_FILE}: applicability has {applicability.dimension} dimensions, the embeddings {dimension}"
        )
    if status == "released" and not calibration.supported:
        raise BundleRefused(
            f"{CALIBRATION_FILE}: its evidence cannot claim an FMR of 1e-1, so that status must be demonstration"
        )


def _check_graph(contents: Mapping[str, bytes]) -> None:
    """Refuse a graph that keeps tensors anywhere but inside itself or in the listed model.onnx.data."""
    try:
        locations = external_locations(contents[GRAPH_FILE])
    except ValueError as error:
        raise BundleRefused(f"{GRAPH_FILE}: is damaged: {error}") from error
    if not locations <= {EXTERNAL_FILE}:
        other = sorted(locations - {EXTERNAL_FILE})[0]
        raise BundleRefused(f"{GRAPH_FILE}: keeps tensors in {other[:80]!r}; only {EXTERNAL_FILE} is allowed")
    if bool(locations) != (EXTERNAL_FILE in contents):
        does = "needs" if locations else "does not need"
        raise BundleRefused(f"{GRAPH_FILE}: {does} {EXTERNAL_FILE}, contrary to the manifest's files")


def _read_listed(folder: Path, file: str, digest: str) -> bytes:
    data = _read(folder, file, MAX_BYTES.get(file, MAX_ASSET_BYTES))
    if sha256_hex(data) != digest:
        raise BundleRefused(f"{file}: its SHA-256 is not the manifest's; the file was changed or damaged")
    return data


def _read(folder: Path, file: str, limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes that really lies in the folder, symbolic links followed."""
    path = folder / file
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleRefused(f"{file}: leads out of the bundle's folder")
        if not path.is_file():
            raise BundleRefused(f"{file}: is missing" if not path.exists() else f"{file}: is not a regular file")
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        raise BundleRefused(f"{file}: cannot be read ({type(error).__name__})") from error
    if len(data) > limit:
        raise BundleRefused(f"{file}: has more than {limit} bytes")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _first(error: ValidationError) -> str:
    """The first fault in one line: where, and what."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    what = "is no known field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    line = f"{where}: {what}{more}" if where else f"{what}{more}"
    # Names in the file are not ours: none may break the line or drive a terminal.
    return "".join(character if character.isprintable() else "?" for character in line)[:300]

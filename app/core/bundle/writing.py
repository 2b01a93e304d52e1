"""Writing a bundle: digests, fingerprint, and a publication that is whole or does not happen."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from app.core.bundle.contents import Bundle, Golden, dump_golden
from app.core.bundle.manifest import (
    CALIBRATION_FILE,
    EXTERNAL_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    GRAPH_FILE,
    MANIFEST_FILE,
    Draft,
    Manifest,
    fingerprint,
    manifest_digest,
    safe_path,
    sha256_hex,
)
from app.core.bundle.reading import read_verified
from app.core.errors import BundleRefused
from app.core.evidence import Calibration


def seal(
    draft: Draft,
    *,
    graph: bytes,
    golden: Golden,
    calibration: Calibration | None = None,
    external_data: bytes | None = None,
    assets: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Return the bundle of these contents, with the manifest's files, fingerprint and manifest_digest computed.

    Nothing is written. Raises pydantic's ValidationError for an asset whose name leaves the bundle.
    """
    assets = dict(assets or {})
    contents = _files(graph, golden, calibration, external_data, assets)
    digests = {file: sha256_hex(data) for file, data in sorted(contents.items())}
    fields = {
        "format_version": FORMAT_VERSION,
        **draft.model_dump(mode="json", include=set(Draft.model_fields)),
        "files": digests,
        "fingerprint": fingerprint(draft, digests),
    }
    fields["manifest_digest"] = manifest_digest(fields)
    manifest = Manifest.model_validate_json(json.dumps(fields, allow_nan=False))
    return Bundle(manifest, golden, graph, calibration, external_data, assets)


def write_bundle(models: Path, bundle: Bundle, documents: Mapping[str, bytes]) -> Path:
    """Publish a sealed bundle as models/<name>/<version>/, with `documents` (MODEL_CARD.md, report/...) beside it.

    Everything is written to a temporary sibling, read back by the rules that serving has, and renamed, so that
    nothing broken or half-written ever has a bundle's name. Raises BundleRefused where it would not be served, or
    the version exists.
    """
    manifest = bundle.manifest
    target = models / bundle.name / bundle.version
    if target.exists():
        raise BundleRefused(f"{bundle.key} exists already; a published version is never changed: raise the version")
    contents = _files(bundle.graph, bundle.golden, bundle.calibration, bundle.external_data, bundle.assets)
    fields = {"format_version": manifest.format_version} | manifest.model_dump(mode="json")
    contents[MANIFEST_FILE] = json.dumps(fields, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"
    for name in documents:
        if safe_path(name) in contents:
            raise BundleRefused(f"{name}: is a file of the bundle itself, not a document beside it")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{bundle.version}.", suffix=".tmp", dir=target.parent))
    try:
        for name, data in {**documents, **contents}.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        read_verified(draft, name=bundle.name, version=bundle.version)
        draft.chmod(0o755)  # mkdtemp's own 0700 would keep a service of another user out
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _files(
    graph: bytes,
    golden: Golden,
    calibration: Calibration | None,
    external_data: bytes | None,
    assets: Mapping[str, bytes],
) -> dict[str, bytes]:
    """The listed files' bytes; the same contents give the same bytes."""
    files = {GRAPH_FILE: graph, GOLDEN_FILE: dump_golden(golden)}
    if calibration is not None:
        files[CALIBRATION_FILE] = calibration.model_dump_json(indent=1).encode("utf-8") + b"\n"
    if external_data is not None:
        files[EXTERNAL_FILE] = external_data
    for name, data in assets.items():
        if name in (GRAPH_FILE, GOLDEN_FILE, CALIBRATION_FILE, EXTERNAL_FILE):
            raise ValueError(f"{name} is no asset's name")
        files[name] = data
    return files

"""What is fuzzed: each entry that reads a stranger's bytes, and files to begin from.

A target returns for whatever it refuses with a documented error; any other exception is a finding. What it accepts must
hold its promise too: finite numbers, of which batches can be made.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.uid import RLELossless

from app.api import schemas
from app.api.bodies import _validate, parse_json
from app.api.multipart import split_parts
from app.core.bundle.contents import dump_golden, load_golden
from app.core.bundle.onnx_wire import external_locations
from app.core.bundle.reading import _load_calibration, _read_manifest
from app.core.errors import Internal, TwinserveError
from app.core.modalities import create
from app.core.modalities.audio.containers import _ogg_checksum
from app.core.modalities.base import Item, Limits, Modality
from app.service.items import read_item
from tests import tiny
from tests.core.modalities import pictures, recordings, scans, sounds, texts
from tests.core.modalities.test_image_refusals import SOUND

LIMITS = Limits(max_body_bytes=1 << 20, max_pixels=250_000, max_seconds=10.0, max_tokens=256)
BOUNDARY = b"x"
ENVELOPES = (schemas.CompareRequest, schemas.CompareBatchRequest, schemas.MatchRequest, schemas.EmbedRequest)

Read = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Target:
    """`read` is given the fuzzer's bytes, which begin as `seeds`."""

    read: Read
    seeds: Sequence[bytes]


def find_target(name: str) -> Target:
    """Make one of NAMES; each only what it needs."""
    return MAKERS[name]()


def _image() -> Target:
    modality = create("image", {**pictures.PARAMS, "dicom": {"window": "file"}}, {})
    return Target(lambda data: _prepare(modality, {"bytes": data}), list(SOUND.values()))


def _dicom() -> Target:
    modality = create("image", {**pictures.PARAMS, "dicom": {"window": [40, 400]}}, {})
    files = [scans.scan(scans.thorax()), scans.scan(scans.thorax(), syntax=RLELossless)]
    return Target(lambda data: _prepare(modality, {"bytes": data}), files)


def _audio() -> Target:
    modality = sounds.modality(**sounds.WINDOWS)
    return Target(lambda data: _prepare(modality, {"bytes": _with_checksums(data)}), list(sounds.FILES.values()))


def _series() -> Target:
    modality = create("series", recordings.PARAMS, {})
    whole = {"values": recordings.ecg(0.5).round(2).tolist(), "rate": 250}
    return Target(lambda data: _prepare(modality, _object(data)), [json.dumps(whole).encode()])


def _text() -> Target:
    changes = {**texts.WINDOWS, "unicode_form": "NFKC"}
    modalities = [texts.modality(make(), **changes) for make in texts.TOKENIZERS.values()]

    def read(data: bytes) -> None:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode("utf-8", "surrogatepass")  # any string that JSON can hold: unpaired surrogates too
            for modality in modalities:
                _prepare(modality, {"text": text})

    return Target(read, [text.encode() for text in texts.TEXTS])


def _multipart() -> Target:
    head = b'--x\r\nContent-Disposition: form-data; name="%b"; filename="p.png"\r\nContent-Type: image/png\r\n'
    part = head + b"\r\n%b\r\n"
    both = part % (b"a", b"PNG") + part % (b"b", b"--y\r\n") + b"--x--\r\n"
    return Target(lambda data: _refused(lambda: split_parts(data, BOUNDARY, ("a", "b"), 8)), [both])


def _envelope() -> Target:
    def read(data: bytes) -> None:
        value = parse_json(data)
        for model in ENVELOPES:
            _refused(functools.partial(_validate, model, value))

    pair = b'{"a":{"base64":"AAAA"},"b":{"embedding":[1.0,2],"fingerprint":"x"}}'
    whole = [pair, b'{"pairs":[%b],"prior":0.5,"max_fmr":1e-2}' % pair, b'{"inputs":[{"text":"x\\u00e9"}]}']
    file = b'{"probe":{"text":"x"},"references":[{"id":"1","items":[{"values":[[null]]}]}],"aggregation":"mean"}'
    return Target(lambda data: _refused(lambda: read(data)), [*whole, file])


def _item() -> Target:
    bundle = tiny.make_tiny(calibrated=False)
    modality = create("image", pictures.PARAMS, {})
    given = {"embedding": [1.0] + [0] * 15, "fingerprint": bundle.fingerprint}
    seeds = [json.dumps(item).encode() for item in (given, {"base64": "AAAA", "x": {"y": [1, None]}}, {"text": "x"})]
    return Target(
        lambda data: _refused(lambda: read_item(item, bundle, modality) if (item := _object(data)) else None), seeds
    )


def _manifest() -> Target:
    written = json.dumps(tiny.make_tiny(calibrated=False).manifest.model_dump(mode="json")).encode()
    return Target(lambda data: _refused(lambda: _read_manifest(data)), [written])


def _calibration() -> Target:
    bundle = tiny.make_tiny()
    assert bundle.calibration is not None
    written = bundle.calibration.model_dump_json().encode()
    return Target(lambda data: _refused(lambda: _load_calibration(data, bundle.manifest)), [written])


def _golden() -> Target:
    bundle = tiny.make_tiny(calibrated=False)
    return Target(lambda data: _refused(lambda: load_golden(data, bundle.manifest)), [dump_golden(bundle.golden)])


def _graph() -> Target:
    def read(data: bytes) -> None:
        with contextlib.suppress(ValueError):  # what the reader of bundles makes a refusal
            external_locations(data)

    return Target(read, [tiny.tiny_graph(), texts.mean_graph(8)])


MAKERS: Mapping[str, Callable[[], Target]] = {
    "image": _image,
    "dicom": _dicom,
    "audio": _audio,
    "series": _series,
    "text": _text,
    "multipart": _multipart,
    "envelope": _envelope,
    "item": _item,
    "manifest": _manifest,
    "calibration": _calibration,
    "golden": _golden,
    "graph": _graph,
}
NAMES = tuple(MAKERS)


def _refused(read: Callable[[], object]) -> None:
    """Let documented errors pass that are one readable line. Internal is none: it means that nobody thought of it."""
    try:
        read()
    except Internal:
        raise
    except TwinserveError as error:
        if " " not in error.detail or len(error.detail) > 1000 or not error.detail.isprintable():
            raise ValueError(f"an error that is no line to read: {error.detail!r}") from error


def _prepare(modality: Modality, item: Item | None) -> None:
    def run() -> None:
        if item is None:
            return
        prepared = modality.prepare(item, LIMITS)
        assert prepared.windows
        for window in prepared.windows:
            assert all(np.isfinite(array).all() for array in window.values())
            assert np.isfinite(modality.summarize(window)).all()
        modality.collate(prepared.windows[:1])

    _refused(run)


def _object(data: bytes) -> Item | None:
    """The JSON object in these bytes, if there is one."""
    with contextlib.suppress(TwinserveError):
        value = parse_json(data)
        return value if isinstance(value, dict) else None
    return None


def _with_checksums(data: bytes) -> bytes:
    """The same, with the checksum of each Ogg page set right, which no fuzzer would guess."""
    if not data.startswith(b"OggS"):
        return data
    mended, at = bytearray(data), 0
    while at + 27 <= len(mended) and mended[at : at + 4] == b"OggS":
        end = at + 27 + mended[at + 26] + sum(mended[at + 27 : at + 27 + mended[at + 26]])
        mended[at + 22 : at + 26] = bytes(4)
        mended[at + 22 : at + 26] = _ogg_checksum(bytes(mended[at:end])).to_bytes(4, "little")
        at = end
    return bytes(mended)

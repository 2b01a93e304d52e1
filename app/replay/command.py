"""The steps of a replay, each with a line on stdout. The same code prepares, embeds and scores as for a request."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from app.core.bundle import Bundle
from app.core.errors import BundleRefused, TwinserveError
from app.core.evidence import Selectors, choose
from app.core.observe import NullObserver
from app.core.scoring import GUARD_BAND_FLOORS, decide
from app.main import make_loader, today
from app.records import Record, RecordError, check, read_public_key
from app.records.record import Signature
from app.replay.finding import ReplayError, find_bundle, find_record, read_item
from app.runtime.registry import Registry
from app.service import RawItem, Reference, Service
from app.service.matching import JudgedReference
from app.service.recording import shortest
from app.settings import Settings

REPRODUCED, DIFFERS = 0, 1
OUTSIDE = "outside_calibration"


def replay(
    settings: Settings,
    *,
    record: Path,
    items: Sequence[str],
    as_text: bool,
    request_id: str | None,
    pointer: str | None,
    key: Path | None,
) -> int:
    """Take the verdict of `record` again on `items`, print what holds, and return 0 where all does, else 1.

    `key` verifies its signature; without one the key of the settings does, if there is any.
    """
    try:
        faults = _replay(settings, record, items, as_text, request_id, pointer, key or settings.record_key_file)
    except (ReplayError, RecordError, ValueError) as error:
        faults = [str(error)]
    except TwinserveError as error:
        faults = [error.detail]
    for fault in faults:
        print(f"differs: {fault}", file=sys.stderr)
    if not faults:
        print("reproduced")
    return DIFFERS if faults else REPRODUCED


def _replay(  # noqa: PLR0917  (as the command line gives them)
    settings: Settings,
    file: Path,
    given: Sequence[str],
    as_text: bool,
    request_id: str | None,
    pointer: str | None,
    key: Path | None,
) -> list[str]:
    verify: Callable[[bytes, Signature], None] | None = None if key is None else read_public_key(key)
    record = check(find_record(file, request_id, pointer), verify)
    place = f"{record.route} {record.pointer}".rstrip()
    print(f"record: request {record.request_id}, {place}, {record.time}")
    print("sha256: that of the record")
    print(f"signature: {_signature(record, verified=verify is not None)}")
    if len(given) != len(record.inputs):
        raise ReplayError(f"the record is of {len(record.inputs)} items; {len(given)} were given")
    bundle = find_bundle(settings.models, record)
    print(f"bundle: {bundle.key}, fingerprint {bundle.fingerprint[:12]}")
    sent = [
        read_item(one, recorded, bundle.fingerprint, as_text=as_text)
        for one, recorded in zip(given, record.inputs, strict=True)
    ]
    print(f"items: all {len(sent)} are those of the record")
    now, provider = _score(settings, bundle, record, sent)
    score = shortest(now.score)
    difference = abs(score - record.score)
    print(
        f"score: {record.score!r} on {record.provider}, now {score!r} on {provider}; "
        f"difference {difference:g}, guard band {record.guard_band:g}"
    )
    where = "no operating point" if record.operating_point is None else repr(record.operating_point.threshold)
    print(f"verdict: {record.verdict}, threshold {where}")
    faults = [] if difference <= record.guard_band else ["the score"]
    return [*faults, *_verdict_faults(record), *_evidence_faults(record, bundle, now)]


def _signature(record: Record, *, verified: bool) -> str:
    if record.signature is None:
        return "none"
    return f"valid, of key {record.signature.key_id}" if verified else "there, and not checked: give --key"


def _score(settings: Settings, bundle: Bundle, record: Record, sent: Sequence[RawItem]) -> tuple[JudgedReference, str]:
    """The first item scored against the others, as /match scores a reference; and the provider that did."""
    roomy = settings.model_copy(update={"queue_items": max(settings.queue_items, len(sent))})
    with ThreadPoolExecutor(2) as executor:
        try:
            model = make_loader(roomy, NullObserver(), executor)(bundle)
        except BundleRefused as error:
            raise ReplayError(f"{bundle.key} is refused: {error.detail}") from error
        registry = Registry([model], default=None, aliases={})
        service = Service(lambda: registry, NullObserver(), executor, today)
        probe, *others = sent
        how = "max" if record.aggregation == "single" else record.aggregation
        anywhere = Selectors(threshold=0.0)  # the record's own threshold judges the recorded score
        matched = asyncio.run(service.match(None, probe, [Reference("reference", others)], how, anywhere))
    return matched.references[0], matched.provider


def _verdict_faults(record: Record) -> list[str]:
    """Whether the verdict follows from the record's own score and thresholds."""
    point, verdict = record.operating_point, "undetermined"
    if point is not None and not _is_outside(record):
        low = None if point.threshold_low is None else np.float32(point.threshold_low)
        verdict, _ = decide(np.float32(record.score), np.float32(point.threshold), low, record.guard_band)
    return [] if verdict == record.verdict else [f"the verdict: from this score and threshold follows {verdict}"]


def _evidence_faults(record: Record, bundle: Bundle, now: JudgedReference) -> list[str]:
    """Whether thresholds, guard band and applicability are those of the evidence that the record names."""
    calibration, manifest = bundle.calibration, bundle.manifest
    if (None if calibration is None else calibration.id) != record.calibration:
        have = "none" if calibration is None else calibration.id
        print(f"evidence: the record's is {record.calibration}, this bundle's {have}: thresholds were not compared")
        return []
    selectors = Selectors(**record.asked.model_dump(exclude={"references"}))
    choice = choose(
        calibration,
        manifest.status,
        selectors,
        guard_band_floor=GUARD_BAND_FLOORS[manifest.graph.precision],
        k=len(record.inputs) - 1,
        aggregation=record.aggregation,
        references=record.asked.references,
    )
    point = record.operating_point
    recorded = (None, None) if point is None else (point.threshold, point.threshold_low)
    found = tuple(None if one is None else shortest(one) for one in (choice.threshold, choice.threshold_low))
    faults = [] if found == recorded else [f"the threshold: the evidence {record.calibration} has {found[0]} there"]
    if choice.guard_band != record.guard_band:
        faults.append(f"the guard band: the evidence {record.calibration} has {choice.guard_band:g}")
    if any(reason.code == OUTSIDE for reason in now.judgement.reasons) != _is_outside(record):
        faults.append("whether the items are like those that were measured")
    return faults


def _is_outside(record: Record) -> bool:
    return any(reason.code == OUTSIDE for reason in record.reasons)

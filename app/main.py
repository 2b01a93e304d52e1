"""The composition root of a worker: here, and nowhere else, its parts are made and put together. No rules, no life.

app/worker.py is the process that uses them; deploy/ray/ uses the same parts under Ray Serve.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING

from app.access import Access
from app.api import build
from app.api.door import Door
from app.api.proxies import Proxies
from app.core.bundle import Bundle
from app.core.modalities.base import Limits
from app.core.observe import Observer, Readiness, Tracer
from app.records import AuditFile, read_signer
from app.runtime.registry import Model, load_model
from app.service import Recorder, Service
from app.settings import Settings
from app.telemetry import Telemetry

if TYPE_CHECKING:
    from app.fetch.fetching import Fetcher

PREPARE_THREADS = 2
CPU_BATCHES, CUDA_BATCHES = 1, 2  # that one worker runs side by side


def create_app(
    service: Service,
    *,
    readiness: Callable[[], Readiness],
    settings: Settings,
    telemetry: Telemetry,
    recorder: Recorder,
    access: Access | None = None,
    tracer: Tracer | None = None,
) -> Door:
    """Return the ASGI application of one worker. /metrics is part of it unless it has a port of its own."""
    return build(
        service,
        readiness=readiness,
        metrics=telemetry.exposition if settings.metrics_port is None else None,
        observer=telemetry,
        recorder=recorder,
        max_body_bytes=settings.max_body_bytes,
        max_items=settings.max_items,
        request_timeout_ms=settings.request_timeout_ms,
        max_requests=settings.max_requests,
        access=access,
        tracer=tracer,
        root_path=settings.root_path or "",
        proxies=Proxies(settings.trusted_proxies) if settings.trusted_proxies else None,
    )


def make_loader(
    settings: Settings,
    observer: Observer,
    inference: Executor,
    on_death: Callable[[str, str], None] = lambda *_: None,
) -> Callable[[Bundle], Model]:
    """Return what opens, verifies, warms and measures a bundle as the settings say; see load_model.

    Its batches run in `inference`.
    """
    return partial(
        load_model,
        limits=Limits(settings.max_body_bytes, settings.max_pixels, settings.max_seconds, settings.max_tokens),
        device=settings.device,
        threads=settings.threads,
        cuda_memory_mb=settings.cuda_memory_mb,
        batch_ms=settings.batch_ms,
        queue_items=settings.queue_items,
        queue_ms=settings.queue_ms,
        observer=observer,
        executor=inference,
        on_death=on_death,
    )


def make_fetcher(settings: Settings) -> Fetcher | None:
    """What fetches URLs; None where they are switched off."""
    if settings.url_hosts is None:
        return None
    from app.fetch.fetching import Fetcher  # noqa: PLC0415  (its library is there only where URLs are wanted)

    return Fetcher(
        settings.url_hosts,
        timeout_s=settings.url_timeout_ms / 1000,
        max_bytes=settings.url_max_bytes or settings.max_body_bytes,
    )


def make_recorder(settings: Settings, slot: int, observer: Observer) -> Recorder:
    """Return what makes records as the settings say, and keeps those of the worker in `slot` where they are to be kept.

    Raises ValueError for a key file that holds no key, OSError where its file cannot be opened.
    """
    key, state, audit = settings.record_key_file, settings.state_dir, None
    signer = None if key is None else read_signer(key)
    if settings.audit and state is not None:
        bounds = {"file_bytes": settings.audit_file_bytes, "files": settings.audit_files}
        audit = AuditFile(state / "audit", f"worker-{slot}", **bounds)
    refuses = settings.audit_on_failure == "refuse"
    return Recorder(observer, lambda: datetime.now(UTC), signer=signer, audit=audit, refuses=refuses)


def today() -> date:
    """Return the date in UTC, by which evidence grows stale."""
    return datetime.now(UTC).date()

"""Models as the service loads them, and the shapes with which a graph over token ids is run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.core.bundle import Bundle
from app.core.modalities.base import Limits
from app.core.observe import NullObserver
from app.runtime.encoder import Encoder
from app.runtime.registry import Model, load_model


def served(bundle: Bundle) -> Model:
    """Loaded with the default time for a batch."""
    return load_model(
        bundle,
        limits=Limits(),
        device="cpu",
        threads=1,
        batch_ms=50.0,
        queue_items=100,
        queue_ms=1000.0,
        observer=NullObserver(),
        executor=ThreadPoolExecutor(1),
    )


def shapes_run(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Windows and steps of each run from now on."""
    shapes: list[tuple[int, ...]] = []
    run = encoder._session.run

    def seen(output: str, feeds: Any) -> Any:
        shapes.append(feeds["input_ids"].shape)
        return run(output, feeds)

    monkeypatch.setattr(encoder._session, "run", seen)
    return shapes

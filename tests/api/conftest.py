"""One registry of tiny bundles for all tests of the edge, and a client of the application over it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from app.runtime.registry import Registry
from tests.serving import client_of, load, make_app
from tests.tiny import make_tiny


@pytest.fixture(scope="package")
def registry() -> Registry:
    """tiny (the default), plain (no evidence), trial (a demonstration) and far (Euclidean)."""
    return load(
        make_tiny(),
        make_tiny(name="plain", calibrated=False),
        make_tiny(name="trial", status="demonstration"),
        make_tiny(name="far", metric="euclidean"),
        default="tiny",
    )


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application over the registry."""
    async with client_of(make_app(registry)) as client:
        yield client

"""Fixtures for all tests: asyncio for async ones, and folders of tiny real bundles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tiny import write_tiny

LONG = bool(os.environ.get("TWINSERVE_LONG"))
"""Whether the tests of endurance are to run in full, for a quarter of an hour, and not in small."""


def pytest_configure() -> None:
    """Forget the caller's settings of the service; only where the data sets lie is the tests' business."""
    for name in [name for name in os.environ if name.startswith("TWINSERVE_") and name != "TWINSERVE_DATA"]:
        del os.environ[name]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one calibrated bundle, tiny@1.0.0. Shared by all tests: do not write to it."""
    models = tmp_path_factory.mktemp("models")
    write_tiny(models)
    return models


@pytest.fixture(scope="session")
def uncalibrated_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one bundle without evidence, tiny@1.0.0. Shared by all tests: do not write to it."""
    models = tmp_path_factory.mktemp("uncalibrated")
    write_tiny(models, calibrated=False)
    return models

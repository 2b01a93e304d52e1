"""A refused bundle is named with its reason; the default's refusal, or that of all, stops the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.observe import ModelState
from app.supervisor.catalogue import Catalogue, read_catalogue
from tests.tiny import write_tiny


def spoil(folder: Path) -> None:
    """Flip one byte of the graph."""
    graph = bytearray((folder / "model.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (folder / "model.onnx").write_bytes(bytes(graph))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Good: alpha@1.0.0 and beta@1.0.0. Spoilt: beta@2.0.0."""
    write_tiny(tmp_path, name="alpha", calibrated=False)
    write_tiny(tmp_path, name="beta", calibrated=False)
    spoil(write_tiny(tmp_path, name="beta", version="2.0.0", calibrated=False))
    return tmp_path


def test_spoilt_bundle_is_refused_and_its_neighbours_are_served(models: Path) -> None:
    catalogue = read_catalogue(models, None, check=None)
    assert [bundle.key for bundle in catalogue.bundles] == ["alpha@1.0.0", "beta@1.0.0"]
    assert list(catalogue.refused) == ["beta@2.0.0"]
    assert "\n" not in catalogue.refused["beta@2.0.0"]
    assert catalogue.fault(strict=False) is None


def test_strict_refuses_for_any(models: Path) -> None:
    assert read_catalogue(models, None, check=None).fault(strict=True)


@pytest.mark.parametrize("default", ["beta", "beta@2.0.0"])
def test_refused_default_stops_even_where_an_older_version_is_good(models: Path, default: str) -> None:
    fault = read_catalogue(models, default, check=None).fault(strict=False)
    assert fault is not None
    assert "beta@2.0.0" in fault


@pytest.mark.parametrize("default", ["alpha", "alpha@1.0.0", "beta@1.0.0"])
def test_good_default_is_served_beside_a_refused_bundle(models: Path, default: str) -> None:
    assert read_catalogue(models, default, check=None).fault(strict=False) is None


def test_alias_says_what_the_default_means(models: Path) -> None:
    (models / "aliases.toml").write_text('main = "beta@1.0.0"\nbest = "beta"\n')
    assert read_catalogue(models, "main", check=None).fault(strict=False) is None
    assert read_catalogue(models, "best", check=None).default_key == "beta@2.0.0"


@pytest.mark.parametrize("default", ["gamma", "alpha@9.0.0"])
def test_default_that_is_not_there_stops(models: Path, default: str) -> None:
    assert read_catalogue(models, default, check=None).fault(strict=False)


def test_nothing_to_serve_stops(tmp_path: Path) -> None:
    assert read_catalogue(tmp_path, None, check=None).fault(strict=False) == "no model is left to serve"
    assert read_catalogue(tmp_path / "missing", None, check=None).fault(strict=False) == "no model is left to serve"


def test_bundle_refused_by_a_worker_counts_like_any_other(models: Path) -> None:
    catalogue = read_catalogue(models, "alpha", check=None).without(
        {"alpha@1.0.0": "golden vectors are not reproduced"}
    )
    assert "alpha@1.0.0" in (catalogue.fault(strict=False) or "")


def test_readiness_names_every_bundle_and_why_it_is_not_served(models: Path) -> None:
    catalogue = read_catalogue(models, None, check=None)
    loading = catalogue.readiness([], workers_ready=0, stopping=False, swapping=False)
    assert not loading.ready
    assert loading.models["alpha@1.0.0"] == ModelState(False, "loading")
    served = catalogue.readiness(["alpha@1.0.0", "beta@1.0.0"], workers_ready=1, stopping=False, swapping=False)
    assert served.ready
    assert served.models["beta@1.0.0"] == ModelState(True)
    assert served.models["beta@2.0.0"] == ModelState(False, catalogue.refused["beta@2.0.0"])
    stopping = catalogue.readiness(["alpha@1.0.0"], workers_ready=2, stopping=True, swapping=False)
    assert not stopping.ready
    assert not stopping.models["alpha@1.0.0"].ready


def test_catalogue_of_a_worker_holds_only_what_is_left() -> None:
    assert Catalogue((), {"a@1.0.0": "x"}).without({"b@1.0.0": "y"}).refused == {"a@1.0.0": "x", "b@1.0.0": "y"}


def test_alias_of_nothing_is_told_and_others_are_not(models: Path) -> None:
    (models / "aliases.toml").write_text('best = "alpha"\nlast = "beta@2.0.0"\nlost = "gamma"\nold = "alpha@0.9.0"\n')
    assert read_catalogue(models, None, check=None).dangling() == {"lost": "gamma", "old": "alpha@0.9.0"}

"""What runs after the folder was read again: whatever was refused, what ran goes on, under the names it had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.core.bundle import read_names
from app.supervisor.catalogue import Catalogue, read_catalogue
from app.supervisor.succession import compare, expire, succeed
from tests.supervisor.test_catalogue import spoil
from tests.tiny import write_tiny


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """tiny@1.0.0 and tiny@1.1.0."""
    for version in ("1.0.0", "1.1.0"):
        write_tiny(tmp_path, version=version, calibrated=False)
    return tmp_path


def after(running: Catalogue, models: Path, *, until: float = 10.0) -> Catalogue:
    return succeed(running, read_catalogue(models, running.default, running, check=None), until=until)


def meant(catalogue: Catalogue, name: str) -> str | None:
    bundle = catalogue.meant_by(name)
    return None if bundle is None else bundle.key


def test_what_was_not_touched_is_taken_as_it_is_and_what_was_is_read_again(models: Path) -> None:
    running = read_catalogue(models, None, check=None)
    shutil.rmtree(models / "tiny" / "1.1.0")
    write_tiny(models, version="1.1.0", calibrated=False)
    graph = models / "tiny" / "1.0.0" / "model.onnx"
    graph.write_bytes(graph.read_bytes())
    now = after(running, models)
    assert all(one is other for one, other in zip(running.bundles, now.bundles, strict=True))
    assert running.signatures != now.signatures
    assert compare(running, now, now.names, retire_s=1).lines == ("no model has changed",)


def test_what_is_gone_is_retired_and_no_name_alone_means_it(models: Path) -> None:
    running = read_catalogue(models, None, check=None)
    shutil.rmtree(models / "tiny" / "1.1.0")
    now = after(running, models)
    assert now.retired == {"tiny@1.1.0": 10.0}
    assert (meant(now, "tiny"), meant(now, "tiny@1.1.0")) == ("tiny@1.0.0", "tiny@1.1.0")
    later = after(now, models, until=20.0)
    assert later.retired == {"tiny@1.1.0": 10.0}  # a second reload does not prolong it
    assert expire(later, 9.0).by_key.keys() == {"tiny@1.0.0", "tiny@1.1.0"}
    gone = expire(later, 10.0)
    assert (list(gone.by_key), gone.retired) == (["tiny@1.0.0"], {})


def test_what_comes_back_is_no_longer_retired(models: Path) -> None:
    running = read_catalogue(models, None, check=None)
    (models / "tiny" / "1.1.0").rename(models / "aside")
    retired = after(running, models)
    (models / "aside").rename(models / "tiny" / "1.1.0")
    now = after(retired, models)
    assert (now.retired, meant(now, "tiny")) == ({}, "tiny@1.1.0")
    assert "brought back tiny@1.1.0" in compare(retired, now, now.names, retire_s=1).lines


def test_what_is_spoilt_while_retired_is_let_go_of_as_was_said(models: Path) -> None:
    retired = after(read_catalogue(models, None, check=None), models)
    shutil.rmtree(models / "tiny" / "1.1.0")
    retired = after(retired, models)
    spoil(write_tiny(models, version="1.1.0", calibrated=False))
    now = after(retired, models, until=99.0)
    assert now.retired == {"tiny@1.1.0": 10.0}
    assert meant(now, "tiny") == "tiny@1.0.0"


@pytest.mark.parametrize("target", ["tiny@1.2.0", "gone", "tiny@9.0.0"])
def test_alias_that_would_mean_nothing_goes_on_meaning_what_it_does(models: Path, target: str) -> None:
    aliases = models / "aliases.toml"
    aliases.write_text('best = "tiny@1.0.0"\n')
    running = read_catalogue(models, None, check=None)
    spoil(write_tiny(models, version="1.2.0", calibrated=False))
    aliases.write_text(f'best = "{target}"\nnew = "{target}"\ntiny = "{target}"\n')
    now = after(running, models)
    assert (meant(now, "best"), meant(now, "tiny"), meant(now, "new")) == ("tiny@1.0.0", "tiny@1.1.0", None)
    report = compare(running, now, read_names(models), retire_s=1)
    assert f"refused best as {target}: it is not served; best goes on as tiny@1.0.0" in report.lines
    assert report.refused


def test_refused_higher_version_of_the_default_leaves_the_default_as_it_runs(models: Path) -> None:
    running = read_catalogue(models, "tiny", check=None)
    spoil(write_tiny(models, version="1.2.0", calibrated=False))
    assert read_catalogue(models, "tiny", check=None).fault(strict=False)  # a start refuses it
    now = after(running, models)
    assert (now.default_key, now.fault(strict=False)) == ("tiny@1.1.0", None)
    assert now.fault(strict=True)


def test_default_that_is_gone_is_a_fault_though_it_is_only_retired(models: Path) -> None:
    running = read_catalogue(models, "tiny@1.1.0", check=None)
    shutil.rmtree(models / "tiny" / "1.1.0")
    assert after(running, models).fault(strict=False) == "the default model tiny@1.1.0 is not among the models found"


def test_a_version_on_trial_is_no_default_and_its_refusal_is_none_of_the_default(models: Path) -> None:
    (models / "aliases.toml").write_text('[shadow]\ntiny = {candidate = "tiny@1.1.0", share = 0.5}\n')
    catalogue = read_catalogue(models, "tiny", check=None)
    assert (catalogue.default_key, meant(catalogue, "tiny")) == ("tiny@1.0.0", "tiny@1.0.0")
    assert catalogue.trials()["tiny@1.0.0"].candidate == "tiny@1.1.0"
    spoil(models / "tiny" / "1.1.0")
    spoilt = read_catalogue(models, "tiny", check=None)
    assert (spoilt.fault(strict=False), spoilt.trials()) == (None, {})

"""What keeps the service from running: each with one clear line and its exit code."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from app.core.bundle import seal, write_bundle
from app.settings import Settings
from app.supervisor import serve
from tests.supervisor.live import live_service
from tests.supervisor.test_catalogue import spoil
from tests.tiny import make_tiny, tiny_draft, write_tiny

pytestmark = [pytest.mark.usefixtures("signals_restored"), pytest.mark.timeout(300)]


def write_other_golden(models: Path, name: str) -> None:
    """Write a bundle that verifies but does not give the embeddings it promises."""
    honest = make_tiny(name=name, calibrated=False)
    golden = dataclasses.replace(honest.golden, served=-honest.golden.served)
    write_bundle(models, seal(tiny_draft(name=name), graph=honest.graph, golden=golden), {})


def test_port_in_use_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve(Settings(models=tmp_path, port=port)) == 2
    assert capsys.readouterr().err == f"twinserve: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_host_that_is_not_ours_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(Settings(models=tmp_path, port=0, host="192.0.2.1")) == 2  # an address for documentation
    assert capsys.readouterr().err.count("\n") == 1


def test_no_models_is_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(Settings(models=tmp_path, port=0)) == 3
    error = capsys.readouterr().err
    assert error == f"twinserve: no model is left to serve (models are looked for in {tmp_path})\n"


def test_only_model_spoilt_is_exit_3_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(write_tiny(tmp_path, calibrated=False))
    assert serve(Settings(models=tmp_path, port=0)) == 3
    refused, consequence = capsys.readouterr().err.splitlines()
    assert refused.startswith("twinserve: refused tiny@1.0.0: ")
    assert consequence.startswith("twinserve: no model is left to serve")


@pytest.mark.parametrize(
    ("settings", "consequence"),
    [
        ({"default_model": "bad"}, "the default model bad@1.0.0 is refused"),
        ({"strict_models": True}, "TWINSERVE_STRICT_MODELS is set"),
    ],
)
def test_refused_default_or_any_with_strict_is_exit_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, object], consequence: str
) -> None:
    write_tiny(tmp_path, name="good", calibrated=False)
    spoil(write_tiny(tmp_path, name="bad", calibrated=False))
    assert serve(Settings.model_validate({"models": tmp_path, "port": 0, **settings})) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert consequence in lines[1]


def test_damaged_aliases_are_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny(tmp_path, calibrated=False)
    (tmp_path / "aliases.toml").write_text("= 1")
    assert serve(Settings(models=tmp_path, port=0)) == 3
    assert capsys.readouterr().err.startswith("twinserve: aliases.toml: ")


def test_golden_vectors_not_reproduced_refuse_the_bundle_and_not_its_neighbour(tmp_path: Path) -> None:
    write_tiny(tmp_path, name="good", calibrated=False)
    write_other_golden(tmp_path, "other")
    with live_service(tmp_path) as service:
        service.wait_ready(1)
        state = service.get("/health/ready").json()
        assert state["ready"]
        assert state["models"]["good@1.0.0"] == {"ready": True, "reason": None}
        assert not state["models"]["other@1.0.0"]["ready"]
        assert state["models"]["other@1.0.0"]["reason"]
        assert len([line for line in service.lines if "refused other@1.0.0" in line]) == 1


def test_golden_vectors_of_the_default_not_reproduced_is_exit_3(tmp_path: Path) -> None:
    write_tiny(tmp_path, name="good", calibrated=False)
    write_other_golden(tmp_path, "other")
    with live_service(tmp_path, default_model="other") as service:
        assert service.wait_exit() == 3
    assert service.said("refused other@1.0.0")
    assert service.said("the default model other@1.0.0 is refused")
    assert not service.said("ready on")


def test_service_that_no_model_is_left_for_ends_at_once_not_after_its_drain(tmp_path: Path) -> None:
    write_other_golden(tmp_path, "other")
    with live_service(tmp_path, workers=2, drain_ms=600_000) as service:
        assert service.wait_exit() == 3


def test_device_that_is_not_obtained_is_exit_2(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, device="cuda") as service:
        assert service.wait_exit() == 2
    assert service.said("twinserve: device cuda")

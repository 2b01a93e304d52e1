"""The service runs where torch, onnx and matplotlib are not installed: in the environment that `make run` makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.supervisor.live import DEADLINE_S, LiveService, wait_for
from tests.tiny import tiny_png

ROOT = Path(__file__).resolve().parent.parent
SERVING = ROOT / ".venv" / "bin" / "python"
HEAVY = ("torch", "onnx", "matplotlib", "model_export.training")
needs_serving = pytest.mark.skipif(
    not SERVING.exists(), reason="no .venv here: `make test` sets it up, pytest alone not"
)


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without what could lend the other interpreter our packages, and with `settings`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TWINSERVE_", "PYTHON"))}
    return kept | settings


@needs_serving
@pytest.mark.parametrize("package", HEAVY[:3])
def test_serving_environment_has_no_training_package(package: str) -> None:
    run = subprocess.run(
        [SERVING, "-c", f"import {package}"], capture_output=True, text=True, env=environment(), cwd="/", check=False
    )
    assert f"No module named '{package}'" in run.stderr


@needs_serving
def test_service_gives_a_verdict_without_the_training_packages(tiny_models: Path) -> None:
    chosen = {"TWINSERVE_MODELS": str(tiny_models), "TWINSERVE_PORT": "0", "TWINSERVE_WORKERS": "1"}
    process = subprocess.Popen(
        [SERVING, "-m", "app"], stderr=subprocess.PIPE, text=True, env=environment(**chosen), cwd=ROOT
    )
    service = LiveService(process)
    try:
        service.wait_ready(1)
        parts = {"a": ("a.png", tiny_png(1, 0), "image/png"), "b": ("b.png", tiny_png(1, 1), "image/png")}
        answer = httpx.post(f"{service.url}/compare", files=parts, timeout=DEADLINE_S)
        assert answer.status_code == 200, answer.text
        assert answer.json()["verdict"] == "match"
        assert answer.json()["operating_point"]["fmr"]["high"] > 0
        process.terminate()
        assert service.wait_exit() == 0
    finally:
        process.kill()
        process.wait()
        wait_for("end of the log", lambda: not service._reader.is_alive())
        assert process.stderr is not None
        process.stderr.close()


def test_no_module_of_the_service_asks_for_a_training_package() -> None:
    """Every module is imported where the training packages cannot be, whatever is installed beside them."""
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "app").rglob("*.py")
        if path.name != "__main__.py"
    )
    assert len(modules) > 20
    blocked = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); import importlib"
    code = f"{blocked}; [importlib.import_module(name) for name in {modules!r}]"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr

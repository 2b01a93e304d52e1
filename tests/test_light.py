"""What runs where torch is not installed: the service, and of the offline half what measures and imports.

The service needs no onnx and no matplotlib either: the environment that `make run` makes has none of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from app.core.bundle import read_bundle
from tests.model_export.pair_tables import write_pictures
from tests.supervisor.live import DEADLINE_S, LiveService, wait_for
from tests.tiny import tiny_graph, tiny_png

ROOT = Path(__file__).resolve().parent.parent
SERVING = ROOT / ".venv" / "bin" / "python"
HEAVY = ("torch", "onnx", "matplotlib", "model_export.training")
OF_EXTRAS = {Path("embedding_files/cluster.py")}
"""Modules that are nothing without a library which the development environment has not."""
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
        if path.name != "__main__.py" and path.relative_to(ROOT / "app") not in OF_EXTRAS
    )
    assert len(modules) > 20
    blocked = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); import importlib"
    code = f"{blocked}; [importlib.import_module(name) for name in {modules!r}]"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr


REFUSING = """
import sys
before = set(sys.modules)
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from model_export.__main__ import main
for command in COMMANDS:
    print("$", *command, flush=True)
    if (status := main(command)) != 0:
        sys.exit(status)
loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - before} & BLOCKED)
assert not loaded, loaded
"""


def run_without(blocked: set[str], *commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Run commands of the offline half one after the other where the modules `blocked` cannot be imported."""
    code = REFUSING.replace("BLOCKED", repr(blocked)).replace("COMMANDS", repr(commands))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


def named(requirement: str) -> str:
    """The distribution that a requirement names, as metadata spells it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def outside_of(extra: str) -> set[str]:
    """Importable modules here that pyproject.toml's extra does not bring along, by itself or by what it needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting, found = [*project["dependencies"], *project["optional-dependencies"][extra]], {"twinserve"}
    while waiting:
        requirement = waiting.pop()
        if (extras := re.match(r"twinserve\[(.+?)\]", requirement)) is not None:
            waiting += [one for name in extras[1].split(",") for one in project["optional-dependencies"][name]]
        elif (name := named(requirement)) not in found and "extra ==" not in requirement:
            found.add(name)
            try:
                waiting += metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # of another platform or Python
                continue
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if not {named(owner) for owner in owners} & found
    }


def test_a_bare_graph_becomes_a_measured_bundle_with_the_measuring_extra_alone(tmp_path: Path) -> None:
    """inspect, import, calibrate and evaluate, each for real, on a graph and pictures that nobody trained on."""
    blocked = outside_of("measure")
    assert {"torch", "onnxscript", "safetensors", "transformers", "pytest"} <= blocked
    graph, spec, models = tmp_path / "tiny.onnx", tmp_path / "tiny.toml", tmp_path / "models"
    graph.write_bytes(tiny_graph())
    pairs = write_pictures(tmp_path / "pictures")
    run = run_without(
        blocked,
        ["inspect", str(graph), "--draft-spec", str(spec)],
        ["import", "onnx", str(graph), "--spec", str(spec), "--out", str(models)],
        ["calibrate", str(models / "tiny" / "1.0.0"), "--pairs", str(pairs)],
        ["evaluate", str(models / "tiny" / "1.0.1"), "--pairs", str(pairs), "--out", str(tmp_path / "report")],
        ["inspect", str(models / "tiny" / "1.0.1")],
    )
    assert run.returncode == 0, run.stdout + run.stderr
    calibration = read_bundle(models / "tiny" / "1.0.1").calibration
    assert calibration is not None
    assert calibration.supported
    assert (tmp_path / "report" / "report.html").is_file()
    assert "fmr_1e-2" in run.stdout


def test_training_without_torch_says_what_to_install(tmp_path: Path) -> None:
    recipe = ROOT / "recipes" / "glyphs.toml"
    run = run_without({"torch"}, ["train", str(recipe), "--out", str(tmp_path / "run")])
    assert run.returncode == 1
    assert run.stderr == "train: needs the package 'torch': install twinserve[train]\n"


def test_adapting_without_torch_says_what_to_install(tmp_path: Path) -> None:
    run = run_without({"torch"}, ["adapt", str(ROOT / "models" / "glyphs"), "--data", str(tmp_path)])
    assert run.returncode == 1
    assert run.stderr == "adapt: needs the package 'torch': install twinserve[train]\n"

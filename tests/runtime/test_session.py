"""What runs is the graph that was asked for, on the device that was asked for, or nothing."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import app.runtime.session
from app.core.bundle import CPU, CUDA
from app.core.errors import BundleRefused, DeviceUnavailable
from app.runtime.binding import BoundRuns
from app.runtime.session import check_installation, first_line, open_session
from tests.tiny import serialise, tiny_graph


def pixels(count: int) -> dict[str, Any]:
    return {"pixels": np.arange(count * 64, dtype=np.uint8).reshape(count, 8, 8, 1)}


def test_a_session_tells_its_provider_and_names() -> None:
    session = open_session(tiny_graph(), device="cpu", threads=1)
    assert (session.provider, session.inputs, session.outputs) == (CPU, ("pixels",), ("vectors",))
    assert session.run("vectors", pixels(3)).shape == (3, 16)


def test_several_sessions_of_a_process_agree() -> None:
    rows = [
        open_session(tiny_graph(), device="cpu", threads=threads).run("vectors", pixels(4)) for threads in (1, 2, 1)
    ]
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_large_batch_needed_is_given_back() -> None:
    """An arena would keep it for ever: here 100 MB of float32 pixels."""
    session = open_session(tiny_graph(), device="cpu", threads=1)
    feeds = {"pixels": np.zeros((400_000, 8, 8, 1), dtype=np.uint8)}
    before = resident_mb()
    session.run("vectors", feeds)
    assert resident_mb() - before < 60


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_cuda_that_this_runtime_lacks_is_a_startup_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(DeviceUnavailable, match="no CUDA provider"):
        open_session(tiny_graph(), device="cuda", threads=1)


def test_cuda_that_is_promised_but_not_obtained_is_a_startup_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel lists CUDA, yet the session ends on the CPU, as on a machine whose driver is missing."""
    real = onnxruntime.InferenceSession

    def on_cpu_after_all(graph: bytes, options: Any, **rest: Any) -> Any:
        return real(graph, options, **rest | {"providers": [CPU]})

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_cpu_after_all)
    with pytest.raises(DeviceUnavailable, match="only the CPU was obtained"):
        open_session(tiny_graph(), device="cuda", threads=1)
    assert open_session(tiny_graph(), device="auto", threads=1).provider == CPU


def test_cuda_searches_briefly_rounds_as_told_and_keeps_within_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def refuse(*_: Any, providers: list[Any], **__: Any) -> Any:
        asked.append(providers[0])
        raise RuntimeError("no device here")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    for settings in ({}, {"tf32": True, "cuda_memory_mb": 512}):
        with pytest.raises(DeviceUnavailable, match="no device here"):
            open_session(tiny_graph(), device="cuda", threads=1, **settings)  # type: ignore[arg-type]
    exact = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    bounded = {"gpu_mem_limit": str(512 * 1024 * 1024), "arena_extend_strategy": "kSameAsRequested"}
    assert asked == [(CUDA, exact), (CUDA, exact | {"use_tf32": "1"} | bounded)]


def test_a_session_on_cuda_runs_in_buffers_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CPU in the device's place, whose tensors are made and filled by the same calls."""
    devices: list[str] = []

    def on_cpu(ort: Any, session: Any, output: str, device: str) -> BoundRuns:
        devices.append(device)
        return BoundRuns(ort, session, output, "cpu")

    monkeypatch.setattr(app.runtime.session, "BoundRuns", on_cpu)
    plain, bound = (open_session(tiny_graph(), device="cpu", threads=1) for _ in range(2))
    bound.provider = CUDA
    for _ in range(2):
        np.testing.assert_array_equal(bound.run("vectors", pixels(3)), plain.run("vectors", pixels(3)))
    assert devices == ["cuda"]


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this machine may really have CUDA")
def test_auto_takes_the_cpu_where_there_is_no_cuda() -> None:
    assert open_session(tiny_graph(), device="auto", threads=1).provider == CPU


@pytest.mark.parametrize(
    ("installed", "fault"),
    [
        ({"onnxruntime", "onnxruntime-gpu"}, "both onnxruntime and onnxruntime-gpu are installed"),
        (set(), "ONNX Runtime is not installed"),
    ],
)
def test_start_fails_unless_exactly_one_wheel_is_installed(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], fault: str
) -> None:
    def distribution(name: str) -> object:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return object()

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(DeviceUnavailable, match=fault):
        check_installation()
    with pytest.raises(DeviceUnavailable, match=fault):
        open_session(tiny_graph(), device="cpu", threads=1)


def test_operators_outside_onnx_are_refused() -> None:
    node = helper.make_node("Anything", ["pixels"], ["vectors"], domain="com.example")
    model = onnx.load_model_from_string(serialise([node], {}))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(BundleRefused, match=r"^graph: ONNX Runtime refuses it: "):
        open_session(model.SerializeToString(), device="cpu", threads=1)


@pytest.mark.parametrize("graph", [b"", b"no graph", b"ORTM" * 20, tiny_graph()[:200]])
def test_a_damaged_graph_is_refused_in_one_line(graph: bytes) -> None:
    with pytest.raises(BundleRefused) as caught:
        open_session(graph, device="cpu", threads=1)
    assert "\n" not in caught.value.detail


def test_error_lines_hold_no_paths() -> None:
    error = RuntimeError("/home/builder/onnxruntime/core/graph.cc:12 Model refused\nstack\nframes")
    assert first_line(error) == "... Model refused"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("x" * 1000))) == 200

"""The only importer of onnxruntime: opens a graph on a device that was really obtained, and runs it.

No environment variable, configuration inside a graph, or silent fallback of ONNX Runtime changes what is run here.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from app.core.bundle import CPU, CUDA
from app.core.errors import BundleRefused, DeviceUnavailable
from app.runtime.binding import BoundRuns

Device = Literal["cpu", "cuda", "auto"]
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
ERRORS_ONLY = 3  # severities: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal


class Session:
    """An open graph. Thread-safe, as ONNX Runtime's sessions are."""

    def __init__(self, session: Any, ort: Any) -> None:
        self._session, self._ort = session, ort
        self._bound: dict[str, BoundRuns | None] = {}
        self.provider: str = session.get_providers()[0]
        self.inputs: tuple[str, ...] = tuple(node.name for node in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(node.name for node in session.get_outputs())

    def run(self, output: str, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Run the graph on arrays with a leading batch axis and return `output`, float32 as the graph declares it."""
        if self.provider == CUDA and (bound := self._binding(output)) is not None:
            return bound.run(feeds)
        result: npt.NDArray[np.float32] = self._session.run([output], dict(feeds))[0]
        return result

    def _binding(self, output: str) -> BoundRuns | None:
        """Buffers on the device for this output; None where the graph does not say how long its rows are."""
        if output not in self._bound:
            bound = BoundRuns(self._ort, self._session, output, "cuda")
            self._bound[output] = bound if bound.fits else None
        return self._bound[output]


def check_installation() -> None:
    """Check that exactly one ONNX Runtime wheel is installed. Raises DeviceUnavailable with what to do.

    Both wheels install the same package, so that with both it is chance which one runs.
    """
    found = [name for name in DISTRIBUTIONS if _is_installed(name)]
    if not found:
        raise DeviceUnavailable("ONNX Runtime is not installed: install twinserve[cpu] or twinserve[cuda]")
    if len(found) > 1:
        raise DeviceUnavailable(
            "both onnxruntime and onnxruntime-gpu are installed, and it is chance which one runs: uninstall both, "
            "then install twinserve[cpu] or twinserve[cuda]"
        )


def _onnxruntime() -> Any:
    """The package, imported on first need: it is an extra, and importing this module must work without it.

    Official builds send usage events to their maker and keep an identifier on disk, unless told not to before they
    load (onnxruntime's Privacy.md); a service that is given people's inputs does neither.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415

    return onnxruntime


def open_session(
    graph: bytes,
    *,
    device: Device,
    threads: int,
    external_data: Mapping[str, bytes] | None = None,
    tf32: bool = False,
    cuda_memory_mb: int | None = None,
) -> Session:
    """Open a graph with exactly `threads` intra-op threads and no inter-op parallelism.

    `external_data` maps a file name in the graph to its bytes; `cuda_memory_mb` bounds what this graph may take of the
    device, in MiB; None leaves it without a bound. `cuda` is CUDA or an error, `auto` CUDA where it can
    be had and else CPU; the provider is read back from the session, not from the request. Raises BundleRefused for
    a graph that ONNX Runtime does not take, DeviceUnavailable where the device is not to be had.
    """
    check_installation()
    ort = _onnxruntime()

    ort.set_default_logger_severity(ERRORS_ONLY)
    has_cuda = CUDA in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise DeviceUnavailable("device cuda: this ONNX Runtime has no CUDA provider; install twinserve[cuda]")
    options = _options(ort, threads, external_data or {})
    if device != "cpu" and has_cuda:
        try:
            session = _open(ort, graph, options, [(CUDA, _cuda_options(tf32, cuda_memory_mb)), CPU])
        except Exception as error:
            if device == "cuda":
                raise DeviceUnavailable(f"device cuda: {first_line(error)}") from error
        else:
            if session.provider == CUDA:
                return session
            if device == "cuda":
                raise DeviceUnavailable("device cuda: only the CPU was obtained; check driver and CUDA libraries")
    # On CPU a plan of memory, kept for every shape that was ever run, gains nothing that could be measured, and where
    # padding is cut there are thousands of shapes.
    options.enable_mem_pattern = False
    try:
        return _open(ort, graph, options, [CPU])
    except Exception as error:  # the bindings raise many types of their own
        raise BundleRefused(f"graph: ONNX Runtime refuses it: {first_line(error)}") from error


def _open(ort: Any, graph: bytes, options: Any, providers: list[Any]) -> Session:
    session = ort.InferenceSession(graph, options, providers=providers, enable_fallback=0, read_config_from_model=0)
    session.disable_fallback()
    session._model_bytes = None  # a copy of the graph that it keeps for a fallback, which is off
    return Session(session, ort)


def _options(ort: Any, threads: int, external_data: Mapping[str, bytes]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERRORS_ONLY
    # The bytes are ONNX, never ONNX Runtime's own format, which it would otherwise detect and accept.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Idle threads sleep: spinning would burn the quota that the other workers share.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Memory straight from the C library: an arena keeps what the largest batch ever needed, a third of a worker's
    # memory after the warm-up, and gains 3 % at most (MiniLM, 32 texts of 128 tokens).
    options.enable_cpu_mem_arena = False
    if external_data:
        names, contents = list(external_data), list(external_data.values())
        options.add_external_initializers_from_files_in_memory(names, contents, [len(data) for data in contents])
    return options


def _cuda_options(tf32: bool, memory_mb: int | None) -> dict[str, str]:
    # HEURISTIC: an exhaustive search costs seconds for each shape and may choose otherwise at the next start.
    options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "1" if tf32 else "0"}
    if memory_mb is not None:
        # As much as is asked for: doubling, the default, would meet the bound at half of it.
        options |= {"gpu_mem_limit": str(memory_mb * 2**20), "arena_extend_strategy": "kSameAsRequested"}
    return options


def first_line(error: Exception) -> str:
    """Return an error's first line without source paths and at most 200 characters long, fit for one line on stderr."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", text)
    return re.sub(r"\S*/\S*", "...", text)[:200]


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

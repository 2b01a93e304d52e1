"""What the service takes of the machine: how many workers, how many descriptors. No processes."""

from __future__ import annotations

import importlib.metadata
import resource

from app.runtime.cpus import available_cpus

DESCRIPTORS = 65_536


def default_workers(device: str) -> int:
    """One worker where a GPU is used, else one a usable CPU.

    What `auto` will get is told from the wheel alone: that with CUDA is installed to use a GPU, and asking the
    device itself would need the engine, which the supervisor does not load.
    """
    return 1 if expects_gpu(device) else available_cpus()


def expects_gpu(device: str) -> bool:
    """Whether this device is, or is likely to be, a GPU."""
    return device == "cuda" or (device == "auto" and _cuda_wheel_is_installed())


def _cuda_wheel_is_installed() -> bool:
    try:
        importlib.metadata.distribution("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def raise_descriptor_limit() -> None:
    """Let this process and its workers hold many connections: the usual soft limit of 1,024 is for old programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

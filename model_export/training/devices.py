"""What a training runs on: device, precision and threads."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import torch

from model_export.errors import CommandError
from model_export.recipe import Compute


def choose_device(compute: Compute) -> torch.device:
    """The device of a recipe. Raises CommandError for CUDA that is not there, or a precision that it cannot do."""
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise CommandError(
            "compute.device: cuda, and torch finds none here; set cpu or auto, or install torch with CUDA"
        )
    device = torch.device("cpu" if compute.device == "cpu" or not torch.cuda.is_available() else "cuda")
    if compute.precision == "bf16" and not _calculates_bf16(device):
        name = torch.cuda.get_device_name() if device.type == "cuda" else "this CPU"
        raise CommandError(f"compute.precision: {name} has no bf16 (a CPU needs AMX or AVX512-BF16); set fp32")
    return device


def _calculates_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself: where a CPU only imitates it, training is slower than in fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """The context in which the encoder runs forwards in training."""
    return torch.autocast(device.type, torch.bfloat16, enabled=compute.precision == "bf16")


@contextlib.contextmanager
def held_threads(threads: int | None) -> Iterator[None]:
    """Run torch on so many threads inside, as many as before where None."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory. Activations of many megabytes, mapped anew each step, cost half of the time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no allocation of its own mapping
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: hand nothing back

"""The half encoder: weights and activations in float16, as torch casts them, for any architecture.

What scales the inputs, and what normalises the vectors, stays in float32: pixels and measured steps may go far beyond
what float16 holds, and a norm squared does so first of all.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from model_export.encoders import TwinEncoder
from model_export.errors import CommandError


def to_half(encoder: TwinEncoder) -> TwinEncoder:
    """A copy of the encoder with every weight and buffer in float16, which still gives float32 (batch, dimension).

    Each layer with weights takes float16, whatever it is given. A `front` works as it does, in float32 where it has no
    weights, and hands on float16. Raises CommandError for weights that float16 cannot hold.
    """
    half = copy.deepcopy(encoder).half().eval()
    check_finite(half)
    for name, part in half.named_modules():
        if name and (part._parameters or part._buffers):
            part.register_forward_pre_hook(_take_half, with_kwargs=True)
    if isinstance(front := getattr(half, "front", None), nn.Module):
        front.register_forward_hook(_give_half)
    half.register_forward_hook(_check_normalised)
    return half


def check_finite(module: nn.Module) -> None:
    """Raise CommandError, naming the first weight that float16 cannot hold."""
    for name, value in module.state_dict().items():
        if not torch.isfinite(value).all():
            raise CommandError(f"fp16 cannot hold the weight {name}: float16 ends at 65504")


def _take_half(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(_cast(one) for one in given), {name: _cast(one) for name, one in named.items()}


def _give_half(_: nn.Module, __: tuple[Any, ...], given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_cast(one) for one in given)


def _check_normalised(_: nn.Module, __: tuple[Any, ...], given: torch.Tensor) -> None:
    if given.dtype != torch.float32:
        raise CommandError("this encoder normalises in float16: its forward must end with l2_normalize")


def _cast(value: Any) -> Any:
    """Tensors of fractions in float16; whole numbers, truth values and what is no tensor as they are."""
    return value.half() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

"""Twin encoders: one torch module, shared weights, both inputs through it. One file an architecture.

An encoder takes the arrays that a modality prepares, in the order of its attribute `inputs`, scales them itself, and
returns vectors (batch, dimension), of unit length but where Euclidean distance compares vectors as they are. So the
exported graph holds everything after preparation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from app.core.modalities.base import Window


class TwinEncoder(nn.Module):
    """What every encoder is: a module that names the arrays its `forward` takes."""

    inputs: tuple[str, ...]
    normalise: bool = True
    """Whether embeddings are scaled to unit length; make_encoder sets it from the recipe."""

    def finish(self, vectors: torch.Tensor) -> torch.Tensor:
        """The last step of every encoder, (batch, dimension) -> float32 of that shape."""
        return l2_normalize(vectors) if self.normalise else vectors.to(torch.float32)

    def for_export(self) -> TwinEncoder:
        """What a float32 graph is made of: itself, or a copy that gives the same vectors and runs faster as a graph.

        For nothing else. The encoder stays as it is, so that the graph is held against what was trained.
        """
        return self

    def count(self, windows: Sequence[Window]) -> None:
        """Take from the training windows what is counted, not learnt, once before the first step."""


def l2_normalize(vectors: torch.Tensor) -> torch.Tensor:
    """Scale rows to unit length, (batch, dimension) -> float32 of that shape, whatever precision they come in.

    Written out, not F.normalize: ONNX Runtime's quantisation tools cannot follow the latter's graph.
    """
    vectors = vectors.to(torch.float32)
    squares = (vectors * vectors).sum(dim=-1, keepdim=True)
    return vectors * torch.rsqrt(torch.clamp_min(squares, 1e-12))


def as_ink(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels 0..255 (batch, height, width, channels) -> float32 (batch, channels, height, width), white 0 and black 1.

    Paper is then 0, and the zero padding of a convolution continues it.
    """
    return (255.0 - pixels.permute(0, 3, 1, 2).to(torch.float32)) / 255.0


def masked_mean(steps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over real steps: (batch, steps, width), mask 1 or 0 (batch, steps) -> float32 (batch, width).

    In float32 whatever the encoder's precision: float16 cannot count beyond 2048.
    """
    weight = mask.to(torch.float32).unsqueeze(-1)
    return (steps.to(torch.float32) * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)

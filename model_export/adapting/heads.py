"""What is done to an embedding after the encoder, as numbers. How it is found is not said here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.scoring import Float32

Float64 = npt.NDArray[np.float64]
TINY = 1e-24
"""Least sum of squares that is divided by, as in the graph."""


@dataclass(frozen=True, eq=False)
class Hidden:
    """The hidden layer of a small network: inner float32 (d, h), bias (h,), outer (h, k)."""

    inner: Float32
    bias: Float32
    outer: Float32


@dataclass(frozen=True, eq=False)
class Head:
    """From an embedding x (d,) to (x - mean) @ matrix, mean float32 (d,), matrix float32 (d, k); with `hidden` plus
    relu((x - mean) @ inner + bias) @ outer. Scaled to length 1 where `normalise`.

    `name` is its kind, `said` what it is in words.
    """

    name: str
    said: str
    mean: Float32
    matrix: Float32
    normalise: bool
    hidden: Hidden | None = None

    @property
    def dimension(self) -> int:
        """k, what comes out."""
        return int(self.matrix.shape[1])

    def apply(self, rows: Float32) -> Float32:
        """Embeddings float32 (n, d) to float32 (n, k), calculated in float64 and rounded once."""
        centred = rows.astype(np.float64) - self.mean
        out: Float64 = centred @ self.matrix
        if self.hidden is not None:
            out += np.maximum(centred @ self.hidden.inner + self.hidden.bias, 0.0) @ self.hidden.outer
        if self.normalise:
            out /= np.sqrt(np.maximum((out * out).sum(axis=1, keepdims=True), TINY))
        return out.astype(np.float32)


def no_head(dimension: int, *, normalise: bool) -> Head:
    """The embeddings as they are."""
    eye = np.eye(dimension, dtype=np.float32)
    return Head("none", "the embeddings as they are", np.zeros(dimension, np.float32), eye, normalise)

"""The tutorial service: FastAPI, plain `def` endpoints, one default session, one process.

`python -m benchmarks.peers.tutorial BUNDLE PORT`. Written as tutorials write it, not as well as one could: it is what
most people have before they look for a server.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.kernel import Encoder


class CompareRequest(BaseModel):
    """Two items."""

    a: dict[str, Any]
    b: dict[str, Any]


class EmbedRequest(BaseModel):
    """Items to embed."""

    inputs: list[dict[str, Any]]


def create_app(encoder: Encoder) -> FastAPI:
    """The application."""
    app = FastAPI()

    @app.post("/compare")
    def compare(request: CompareRequest) -> dict[str, float]:
        return {"score": float(np.dot(encoder.embed(request.a), encoder.embed(request.b)))}

    @app.post("/embed")
    def embed(request: EmbedRequest) -> dict[str, list[list[float]]]:
        return {"embeddings": [encoder.embed(item).tolist() for item in request.inputs]}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(Encoder(Path(sys.argv[1]))), port=int(sys.argv[2]), log_level="warning")

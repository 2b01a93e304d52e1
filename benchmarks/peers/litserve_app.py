"""The same network behind LitServe: `python -m benchmarks.peers.litserve_app BUNDLE PORT WORKERS`.

One worker process a core with one inference thread each, which is its best layout on a CPU. Batching is left off: it
does not pay for convolutions there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import onnxruntime

from benchmarks.peers.kernel import Encoder


class CompareAPI(litserve.LitAPI):  # type: ignore[misc]  # LitServe is not installed where types are checked
    """Compares two pictures."""

    def __init__(self, folder: Path) -> None:
        super().__init__(api_path="/compare")
        self._folder = folder

    def setup(self, device: str) -> None:
        """Load the model; `device` is always the CPU here."""
        del device
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._encoder = Encoder(self._folder, options)

    def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def]  # LitServe takes a type for a schema
        """The pair."""
        return request["a"], request["b"]

    def predict(self, pair: Any) -> float:
        """Its score."""
        return float(np.dot(*(self._encoder.embed(item) for item in pair)))

    def encode_response(self, score: float) -> dict[str, float]:
        """The answer."""
        return {"score": score}


if __name__ == "__main__":
    bundle, port, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    server = litserve.LitServer(CompareAPI(bundle), accelerator="cpu", workers_per_device=workers, timeout=60)
    server.run(port=port, generate_client_file=False, log_level="warning")

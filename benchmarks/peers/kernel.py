"""What a peer needs of a bundle: items to arrays by the very preparation that the service uses, so that scores agree.

A peer's own preparation would measure another model. Needs no package that the service does not need.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from app.core import modalities
from app.core.bundle import read_bundle
from app.core.modalities.base import Limits


class Encoder:
    """A bundle's preparation and its graph in a session with these `options`; None is ONNX Runtime's defaults."""

    def __init__(self, folder: Path, options: onnxruntime.SessionOptions | None = None) -> None:
        bundle = read_bundle(folder)
        self._modality = modalities.create(
            bundle.manifest.modality.name, bundle.manifest.modality.params, bundle.assets
        )
        self._session = onnxruntime.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])

    def embed(self, item: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        """One item, as it came in JSON, to float32 (d,)."""
        if "base64" in item:
            item = {"bytes": base64.b64decode(item["base64"])}
        [window] = self._modality.prepare(item, Limits()).windows
        row: npt.NDArray[np.float32] = self._session.run(None, self._modality.collate([window]))[0][0]
        return row

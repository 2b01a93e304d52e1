"""Pictures that a set keeps as arrays, as the files that a caller would post."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image


def to_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Grey pixels uint8 (height, width), or colours (height, width, 3), as PNG bytes."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()

"""Pictures as thumbnails."""

from __future__ import annotations

import base64
from io import BytesIO

from PIL import Image, ImageOps

from app.core.modalities.base import Item

SIDE = 120


def show(item: Item) -> str:
    """The first frame, upright, at most 120 pixels a side, as PNG in the page. Raises OSError for what is no picture
    that Pillow reads.
    """
    picture = ImageOps.exif_transpose(Image.open(BytesIO(item["bytes"])))
    if picture.mode not in ("1", "L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    if picture.mode == "1":
        picture = picture.convert("L")
    picture.thumbnail((SIDE, SIDE))
    file = BytesIO()
    picture.save(file, "PNG")
    return f"<img alt='' src='data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'>"

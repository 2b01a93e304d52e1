"""Handwriting-like pictures drawn for the project: for examples/ and for the golden probes. No data set's items.

An invented character is a few pen strokes that hang together; a hand draws them with its own slant, size and tremor.
The same numbers always give the same picture.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

Points = npt.NDArray[np.float64]
"""Points of a stroke in the order drawn, (n, 2), x to the right, y down."""

PAPER, INK = 255, 0
OVERSAMPLING = 4
ORIENTATION_TAG = 0x0112

# Control points of the strokes that characters are made of, each within [-1, 1] both ways.
STROKES: tuple[tuple[tuple[float, float], ...], ...] = (
    ((0.0, -1.0), (0.06, -0.3), (-0.04, 0.4), (0.0, 1.0)),  # stem
    ((-1.0, 0.05), (-0.3, -0.08), (0.4, 0.04), (1.0, -0.05)),  # bar
    ((0.5, -0.9), (-0.5, -0.7), (-0.8, 0.1), (-0.3, 0.8), (0.6, 0.7)),  # open bowl
    ((0.1, -0.8), (-0.7, -0.3), (-0.5, 0.6), (0.4, 0.7), (0.7, -0.1), (0.15, -0.75)),  # closed bowl
    ((-0.1, -1.0), (-0.05, 0.2), (0.15, 0.85), (0.6, 0.8), (0.75, 0.3)),  # hook
    ((-0.9, 0.3), (-0.5, -0.5), (0.0, 0.0), (0.5, 0.5), (0.9, -0.3)),  # wave
    ((-0.8, 0.9), (0.3, 0.0), (0.35, -0.9), (-0.25, -0.8), (-0.1, 0.1), (0.8, 0.8)),  # loop
    ((-0.8, -0.7), (0.0, -0.75), (0.65, -0.7), (0.5, 0.1), (0.35, 0.9)),  # corner
    ((-0.7, -0.8), (-0.2, 0.3), (0.0, 0.9), (0.25, 0.2), (0.75, -0.9)),  # valley
)


def draw_character(character: int, hand: int, size: tuple[int, int] = (200, 160)) -> Image.Image:
    """Draw one invented character as one hand writes it: dark ink on white paper, mode L, `size` is width, height."""
    shape = _character(np.random.default_rng([character, 1]))
    rng = np.random.default_rng([character, hand, 2])
    strokes = _written(shape, rng)
    canvas = Image.new("L", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING), PAPER)
    pen = ImageDraw.Draw(canvas)
    reach = 0.36 * min(size) * OVERSAMPLING
    width = rng.uniform(0.036, 0.046) * min(size) * OVERSAMPLING
    for stroke in strokes:
        _ink(pen, stroke * reach + np.array(canvas.size) / 2, width * rng.uniform(0.9, 1.1), rng)
    return canvas.resize(size, Image.Resampling.BOX)


def probe_files() -> list[bytes]:
    """Encode drawn pictures so that a wrong decoder or preparation shows: a dozen of files, each with its own trap."""
    colours = ImageOps.colorize(draw_character(7, 1, (120, 200)), "midnightblue", "lightyellow")
    wide = np.asarray(draw_character(4, 1, (150, 150))).astype(np.uint16) * 257
    turned = Image.Exif()
    turned[ORIENTATION_TAG] = 6
    mirrored = Image.Exif()
    mirrored[ORIENTATION_TAG] = 5
    return [
        _encoded(draw_character(1, 1), "PNG"),
        _encoded(draw_character(1, 2), "PNG"),
        _encoded(draw_character(2, 1, (90, 210)), "PNG"),
        _encoded(_on_glass(draw_character(3, 1)), "PNG"),
        _encoded(Image.fromarray(wide), "PNG"),
        _encoded(draw_character(5, 1).rotate(90, expand=True), "JPEG", exif=turned, quality=90),
        _encoded(colours, "JPEG", exif=mirrored, quality=90),
        _encoded(draw_character(6, 1, (260, 130)).quantize(16), "PNG"),
        _encoded(colours, "WEBP", lossless=True),
        _encoded(draw_character(8, 1).convert("RGB"), "BMP"),
        _encoded(draw_character(9, 1, (161, 99)), "TIFF", compression="tiff_lzw"),
        _encoded(draw_character(10, 1).convert("1"), "PNG"),
    ]


def _character(rng: np.random.Generator) -> list[Points]:
    """Choose two to four strokes, each after the first beginning on, or crossing, one already there; fit to [-1, 1]."""
    strokes: list[Points] = []
    for kind in rng.choice(len(STROKES), size=int(rng.integers(2, 5)), replace=False):
        points = np.array(STROKES[kind]) * rng.uniform(0.6, 1.0, size=2) * (1.0 if len(strokes) < 2 else 0.6)
        points = points @ _turn(rng.integers(0, 8) * np.pi / 4)
        if strokes:
            there = strokes[int(rng.integers(len(strokes)))]
            anchor = points[0] if rng.random() < 0.6 else points[len(points) // 2]
            points = points + there[int(rng.integers(len(there)))] - anchor
        strokes.append(points)
    everything = np.concatenate(strokes)
    low, high = everything.min(axis=0), everything.max(axis=0)
    return [(stroke - (low + high) / 2) / ((high - low).max() / 2) for stroke in strokes]


def _written(shape: list[Points], rng: np.random.Generator) -> list[Points]:
    """One hand's version of a character's strokes: its own slant, proportions, place, and unsteady control points."""
    slant = np.array([[1.0, 0.0], [rng.uniform(-0.18, 0.18), 1.0]])
    affine = slant @ _turn(np.radians(rng.uniform(-7, 7))) @ np.diag(rng.uniform(0.82, 1.08, size=2))
    place = rng.uniform(-0.08, 0.08, size=2)
    return [(stroke + rng.normal(0, 0.05, stroke.shape)) @ affine + place for stroke in shape]


def _ink(pen: ImageDraw.ImageDraw, control: Points, width: float, rng: np.random.Generator) -> None:
    """Draw one stroke as discs along its curve: thinner where the pen lands and lifts, uneven between."""
    curve = _curve(control)
    along = np.linspace(0, 1, len(curve))
    press = 0.72 + 0.28 * np.sin(np.pi * along) ** 0.5 + 0.08 * np.sin(2 * np.pi * (along * 1.7 + rng.random()))
    for (x, y), radius in zip(curve, width * press / 2, strict=True):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=INK)


def _curve(control: Points, steps: int = 120) -> Points:
    """Points on the uniform Catmull-Rom spline through `control`, `steps` a segment.

    Catmull and Rom, "A class of local interpolating splines" (1974), as one cubic Bezier a segment.
    """
    ends = np.concatenate([2 * control[:1] - control[1:2], control, 2 * control[-1:] - control[-2:-1]])
    t = np.linspace(0, 1, steps)[:, np.newaxis]
    pieces = []
    for before, start, end, after in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        one, two = start + (end - before) / 6, end - (after - start) / 6
        pieces.append((1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * one + 3 * (1 - t) * t**2 * two + t**3 * end)
    return np.concatenate(pieces)


def _turn(angle: float) -> Points:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _on_glass(drawing: Image.Image) -> Image.Image:
    """The ink alone, on full transparency whose hidden colour is black: dropping alpha would show a black picture."""
    alpha = ImageOps.invert(drawing)
    return Image.merge("RGBA", [Image.new("L", drawing.size, 0)] * 3 + [alpha])


def _encoded(picture: Image.Image, format_: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()

"""Signatures of invented writers, as ink on paper. Nobody wrote them: numpy and Pillow draw all.

A writer is a number; it decides the run of the pen. Each time they sign, the pen strays a little. A forger follows
the writer's run with a hand of their own: slower, shakier, and with the proportions they are used to.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 300, 120
PAPER, INK = 235, 30
Points = npt.NDArray[np.float64]


def sign(writer: int, time: int) -> Image.Image:
    """A writer's own signature, mode L."""
    rng = np.random.default_rng([53, writer, time])
    return _drawn(_run(writer) + rng.normal(0, 1.2, (len(_run(writer)), 2)), rng, slant=rng.normal(0, 0.03))


def forge(writer: int, forger: int) -> Image.Image:
    """The same signature as somebody imitates it who has seen it, mode L."""
    rng, hand = np.random.default_rng([53, writer, forger, 1]), np.random.default_rng([53, forger, 2])
    run = _run(writer)
    run = (run - run.mean(axis=0)) * hand.uniform(0.75, 1.2, 2) + run.mean(axis=0)
    return _drawn(run + rng.normal(0, 9.0, run.shape), rng, slant=hand.normal(0, 0.25))


def _run(writer: int) -> Points:
    """Points that the pen of a writer passes, (n, 2): loops up and down while it moves to the right."""
    rng = np.random.default_rng([53, writer])
    count = int(rng.integers(10, 18))
    across = np.cumsum(rng.uniform(-0.35, 1.0, count))
    across = 45 + (across - across.min()) / np.ptp(across) * rng.uniform(150, 205)
    tall = np.where(rng.random(count) < 0.3, 40, 18)  # some letters rise or fall further
    down = 62 + np.resize([-1, 1], count) * rng.uniform(0.3, 1.0, count) * tall
    return np.stack([across, down], axis=1)


def _drawn(run: Points, rng: np.random.Generator, slant: float) -> Image.Image:
    """Ink along a smooth curve through the points, on grey paper with noise."""
    run = run + np.outer((HEIGHT / 2 - run[:, 1]) * slant, [1, 0])
    picture = Image.new("L", (2 * WIDTH, 2 * HEIGHT), PAPER)
    pen, width = ImageDraw.Draw(picture), rng.uniform(5, 7)
    curve = 2 * _smooth(run)
    pen.line([(x, y) for x, y in curve], fill=INK, width=round(width), joint="curve")
    pixels = np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)) + rng.normal(0, 3, (HEIGHT, WIDTH))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _smooth(run: Points, steps: int = 20) -> Points:
    """Points of the Catmull-Rom spline (1974) through `run`."""
    ends = np.concatenate([2 * run[:1] - run[1:2], run, 2 * run[-1:] - run[-2:-1]])
    t = np.linspace(0, 1, steps)[:, np.newaxis]
    pieces = []
    for before, start, end, after in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        bend = 2 * before - 5 * start + 4 * end - after
        cubic = 3 * (start - end) + after - before
        pieces.append(start + (end - before) * t / 2 + bend * t**2 / 2 + cubic * t**3 / 2)
    return np.concatenate(pieces)

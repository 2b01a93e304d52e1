"""A graph of ArcFace's shape with random weights, and drawn faces: it has learned nothing, and nobody is in them.

Random features keep some of what sets two drawings apart, which is all that this example needs. With photographs they
would do the same, badly: put your own encoder in its place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

SIDE, FILTERS, DIMENSION = 112, 24, 512
INPUT, OUTPUT = "input.1", "embedding"
LARGE = 336
"""Drawn three times as large, then reduced, so that edges are smooth."""


def standin_encoder() -> bytes:
    """An ONNX graph: input.1 float32 (batch, 3, 112, 112), about -1 to 1, to float32 (batch, 512) of any length."""
    rng = np.random.default_rng(31)
    filters = rng.normal(0, 0.1, (FILTERS, 3, 9, 9))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)  # blind to even light, which all pictures share
    cells = FILTERS * 7 * 7
    head = rng.normal(0, 1 / np.sqrt(cells), (cells, DIMENSION))
    nodes = [
        helper.make_node("Conv", [INPUT, "filters"], ["edges"], pads=[4, 4, 4, 4], strides=[4, 4]),
        helper.make_node("PRelu", ["edges", "slope"], ["found"]),
        helper.make_node("AveragePool", ["found"], ["cells"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["cells"], ["row"]),
        helper.make_node("Gemm", ["row", "head", "offset"], [OUTPUT]),
    ]
    constants = {
        "filters": filters,
        "slope": np.full((FILTERS, 1, 1), 0.1),
        "head": head - head.mean(axis=0),
        "offset": np.zeros(DIMENSION),
    }
    graph = helper.make_graph(
        nodes,
        "standin",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def draw_face(person: int, photo: int) -> Image.Image:
    """An invented face, cropped as ArcFace wants it: RGB, 112x112, the eyes where aligned eyes are.

    The person decides shape and colours; the photo decides light, backdrop, expression and how it was aligned.
    """
    who, how = np.random.default_rng([41, person]), np.random.default_rng([41, person, photo])
    light = how.uniform(0.9, 1.05)
    skin = np.array([235, 190, 160]) * who.uniform(0.35, 1.0)
    hair, iris = np.array([190, 150, 110]) * who.uniform(0.1, 1.0), who.uniform(30, 160, 3)
    width, chin = who.uniform(30, 38), who.uniform(100, 112)
    apart, eye, brow = who.uniform(17, 22), who.uniform(2.8, 4.5), who.uniform(6, 11)
    nose, mouth, fringe = who.uniform(3, 7), who.uniform(9, 17), who.uniform(14, 34)
    beard, glasses = who.random() < 0.3, who.random() < 0.25
    smile, lid = how.uniform(-1, 4), eye * how.uniform(0.7, 1.0)
    picture = Image.new("RGB", (LARGE, LARGE), _colour(np.full(3, how.uniform(110, 150)), 1.0))
    pen = ImageDraw.Draw(picture)
    x, y = 56 + how.normal(0, 0.8), how.normal(0, 0.8)

    def oval(middle: float, height: float, half: float, tall: float, colour: npt.NDArray[np.float64]) -> None:
        box = (middle - half, height + y - tall, middle + half, height + y + tall)
        pen.ellipse([3 * edge for edge in box], fill=_colour(colour, light))

    oval(x, 50, width + 7, 52, hair)
    oval(x, (chin + 8) / 2, width, (chin - 8) / 2, skin)
    oval(x, 2, width, fringe, hair)
    if beard:
        oval(x, 94, width * 0.75, 17, hair)
    for side in (-1, 1):
        place = x + side * apart
        oval(place, 52, eye + 3, lid, np.array([245.0, 245, 240]))
        oval(place, 52, eye * 0.7, lid, iris)
        oval(place, 52 - brow, 8, 1.6, hair)
        if glasses:
            frame = [3 * edge for edge in (place - 11, 43 + y, place + 11, 61 + y)]
            pen.rectangle(frame, outline=_colour(np.array([30.0, 30, 30]), light), width=5)
    oval(x, 70, nose, 4, skin * 0.8)
    oval(x, 92 - smile / 2, mouth + smile, 2.5 + smile / 3, np.array([170.0, 70, 70]))
    noise = how.normal(0, 4, (SIDE, SIDE, 3))
    pixels = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX)) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _colour(colour: npt.NDArray[np.float64], light: float) -> tuple[int, int, int]:
    red, green, blue = (int(min(255.0, value * light)) for value in colour)
    return red, green, blue

"""What an ONNX file says of its own graph: inputs, outputs, and the first steps that an input goes through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

MOST_STEPS = 12
SMALL = 4096
"""Constants of at most so many numbers are read; larger ones are weights, of which the shape is enough."""
ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div"})
PASSED = ELEMENTWISE | {"Cast", "Identity", "Transpose", "BatchNormalization"}
"""Operators after which the same numbers, or the same numbers scaled, go on."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: numpy's word for its dtype, its axes with None for any size; dims None where undeclared."""

    name: str
    dtype: str
    dims: tuple[int | None, ...] | None

    @property
    def rank(self) -> int | None:
        """The number of axes."""
        return None if self.dims is None else len(self.dims)


@dataclass(frozen=True)
class Facts:
    """A file's graph, and where the spec is to lie, to which the paths in it are relative."""

    path: Path
    spec_folder: Path
    model: onnx.ModelProto
    inputs: Sequence[Port]
    outputs: Sequence[Port]

    def beside(self, name: str) -> Path | None:
        """A file of that name in the graph's folder or the one above, as exports of repositories have them."""
        places = (self.path.parent, self.path.resolve().parent.parent)
        return next((place / name for place in places if (place / name).is_file()), None)


@dataclass(frozen=True, slots=True)
class Step:
    """One operator on the way of an input. `constants` are small constant operands by their place, `shapes` those of
    all constant ones; `perm` is of Transpose.
    """

    operator: str
    constants: Mapping[int, npt.NDArray[Any]]
    shapes: Mapping[int, tuple[int, ...]]
    perm: tuple[int, ...] | None = None


def read_facts(path: Path, model: onnx.ModelProto, spec_folder: Path) -> Facts:
    """The facts of a graph that foreign.read_graph has read."""
    return Facts(path, spec_folder, model, _ports(model.graph.input), _ports(model.graph.output))


def first_steps(model: onnx.ModelProto, name: str) -> tuple[Step, ...]:
    """The operators that an input alone goes through, up to the first that mixes it with weights or splits its way."""
    return tuple(_steps(model.graph, name))


def _steps(graph: onnx.GraphProto, name: str) -> Iterator[Step]:
    constants = {one.name: one for one in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    for _ in range(MOST_STEPS):
        takers = [node for node in graph.node if name in node.input and node.op_type != "Shape"]
        if len(takers) != 1:
            return
        node = takers[0]
        found = {place: constants[one] for place, one in enumerate(node.input) if one in constants}
        small = {place: one for place, one in found.items() if int(np.prod(one.dims)) <= SMALL}
        perm = next((tuple(one.ints) for one in node.attribute if one.name == "perm"), None)
        yield Step(
            node.op_type,
            {place: numpy_helper.to_array(one) for place, one in small.items()},
            {place: tuple(one.dims) for place, one in found.items()},
            perm,
        )
        if node.op_type not in PASSED or (node.op_type in ELEMENTWISE and not found):
            return
        name = node.output[0]


def affine(steps: Sequence[Step]) -> tuple[float, float] | None:
    """What the first steps do to a value x before anything is learned: a and b of a x + b, means over channels.

    None where they do nothing of the kind.
    """
    a, b, scaled = 1.0, 0.0, False
    for step in steps:
        if step.operator not in ELEMENTWISE or not step.constants:
            if step.operator in PASSED and step.operator != "BatchNormalization":
                continue
            break
        ((place, array),) = step.constants.items()
        number = float(np.mean(array))
        if step.operator == "Add":
            b += number
        elif step.operator == "Sub":
            a, b = (a, b - number) if place == 1 else (-a, number - b)
        elif step.operator == "Mul":
            a, b = a * number, b * number
        elif place == 1 and number:
            a, b = a / number, b / number
        else:
            break
        scaled = True
    return (a, b) if scaled else None


def channel_axis(steps: Sequence[Step], rank: int) -> tuple[int, int] | None:
    """The axis of the input along which its channels lie, and how many the first convolution takes; None if unknown."""
    axes = list(range(rank))
    for step in steps:
        if step.operator == "Transpose" and step.perm is not None and len(step.perm) == rank:
            axes = [axes[place] for place in step.perm]
        elif step.operator == "Conv" and len(step.shapes.get(1, ())) == rank:
            return axes[1], step.shapes[1][1]
        elif step.operator not in PASSED:
            break
    return None


def numbers_seen(steps: Sequence[Step]) -> tuple[float, float] | None:
    """Mean and deviation of the values in training, where a BatchNormalization is what the input meets first."""
    first = next((step for step in steps if step.operator not in ("Cast", "Identity", "Transpose")), None)
    if first is None or first.operator != "BatchNormalization" or not {3, 4} <= set(first.constants):
        return None
    mean, variance = (first.constants[place].astype(np.float64) for place in (3, 4))
    return float(mean.mean()), float(np.sqrt(np.maximum(variance, 0).mean()))


def _ports(values: Sequence[onnx.ValueInfoProto]) -> tuple[Port, ...]:
    return tuple(_port(value) for value in values)


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        return Port(value.name, "no tensor", None)
    dtype = str(np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    if not tensor.HasField("shape"):
        return Port(value.name, dtype, None)
    return Port(value.name, dtype, tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim))

"""Where an ONNX graph says that its tensors lie outside it, read from the protobuf wire format without onnx.

ONNX Runtime would follow such a reference to any file it can reach, so it is looked at before a graph is opened.
Field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

from collections.abc import Iterator

# message -> {field number: the message it holds}; only the ways that lead to a TensorProto are listed
NESTED: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
    "Entry": {},
}
MAX_DEPTH = 64


def external_locations(graph: bytes) -> set[str]:
    """Return the file names that a serialised ModelProto refers to.

    Raises ValueError for bytes that are no protobuf message, or nest deeper than MAX_DEPTH.
    """
    return set(_locations(memoryview(graph), "Model", 0))


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError("the graph nests too deep")
    if kind == "Entry":
        entry = {number: bytes(value) for number, value in _fields(message)}
        if entry.get(1) == b"location":
            yield entry.get(2, b"").decode("utf-8")
        return
    for number, value in _fields(message):
        if (nested := NESTED[kind].get(number)) is not None:
            yield from _locations(value, nested, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (field number, content) of the length-delimited fields; the others are skipped."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        match key & 7:
            case 0:
                _, place = _varint(message, place)
            case 1:
                place += 8
            case 5:
                place += 4
            case 2:
                length, place = _varint(message, place)
                if place + length > len(message):
                    raise ValueError("the graph is cut short")
                yield key >> 3, message[place : place + length]
                place += length
            case _:
                raise ValueError("the graph is no protobuf message")
    if place != len(message):
        raise ValueError("the graph is cut short")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("the graph is cut short")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
    raise ValueError("the graph is no protobuf message")

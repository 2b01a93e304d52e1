"""8-bit graphs: which method, what is rounded and what is left, and the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.runtime.session import open_session
from model_export.errors import CommandError
from model_export.export import to_onnx
from model_export.precisions.eight_bits import Feeds, to_int8
from tests.model_export.precisions.test_half import untrained
from tests.tiny import projection, serialise, tiny_graph, tiny_pixels

Arrays = dict[str, npt.NDArray[np.generic]]


def no_feeds() -> Sequence[Feeds]:
    raise AssertionError("only a static graph asks for items")


def shipped(name: str) -> tuple[bytes, list[Arrays]]:
    """The graph of a shipped recipe's untrained encoder, and feeds for it."""
    encoder, modality = untrained(name)
    return to_onnx(encoder, modality), [modality.collate([window]) for window in modality.examples()[:2]]


def lend(feeds: list[Arrays]) -> Callable[[], Sequence[Feeds]]:
    return lambda: feeds


def int8_weights(graph: bytes) -> dict[str, npt.NDArray[np.int8]]:
    """Those of one dimension or more; scalars are zero points."""
    tensors = onnx.load_from_string(graph).graph.initializer
    return {one.name: numpy_helper.to_array(one) for one in tensors if one.data_type == TensorProto.INT8 and one.dims}


def cosine(graph: bytes, other: bytes, feeds: list[Arrays]) -> float:
    """The least cosine between the vectors of two graphs."""
    rows = [
        np.concatenate([open_session(one, device="cpu", threads=1).run("vectors", feed) for feed in feeds])
        for one in (graph, other)
    ]
    return float((rows[0] * rows[1]).sum(axis=1).min())


@pytest.mark.parametrize(
    ("name", "method", "left_whole"),
    [("glyphs", "static", 0), ("heartbeat", "static", 4), ("heartbeat-gru", "weights", 4)],
)
def test_each_architecture_is_quantised_in_its_own_way(name: str, method: str, left_whole: int) -> None:
    graph, feeds = shipped(name)
    small, made = to_int8(graph, lend(feeds))
    assert made == method
    assert len(small) < 0.4 * len(graph)
    assert cosine(graph, small, feeds) > 0.98
    model = onnx.load_from_string(small).graph
    floats = {one.name for one in model.initializer if one.data_type == TensorProto.FLOAT}
    # the sums that level and average the inputs are convolutions with ones, and stay in float32
    assert sum(node.op_type == "Conv" and node.input[1] in floats for node in model.node) == left_whole


def test_a_product_of_matrices_is_quantised_dynamically() -> None:
    small, made = to_int8(tiny_graph(), no_feeds)
    assert made == "dynamic"
    assert "MatMulInteger" in {node.op_type for node in onnx.load_from_string(small).graph.node}
    pixels = np.stack([tiny_pixels(identity, 0) for identity in range(8)])[..., np.newaxis]
    assert cosine(tiny_graph(), small, [{"pixels": pixels}]) > 0.999


def test_a_table_of_tokens_is_stored_in_8_bits() -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["ids", "flat"], ["flat_ids"]),
        helper.make_node("Gather", ["table", "flat_ids"], ["steps"], axis=0),
        helper.make_node("ReduceSum", ["steps", "axes"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weights"], ["vectors"]),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "flat": np.array([-1, 64]),
        "axes": np.array([1]),
        "table": rng.normal(size=(256, 16)).astype(np.float32),
        "weights": rng.normal(size=(16, 16)).astype(np.float32),
    }
    small, _ = to_int8(serialise(nodes, constants), no_feeds)
    tables = [one for one in onnx.load_from_string(small).graph.initializer if list(one.dims) == [256, 16]]
    assert [one.data_type for one in tables] == [TensorProto.UINT8]  # looked up, not multiplied: all eight bits


def test_multiplied_weights_keep_seven_bits_so_that_no_processor_overflows() -> None:
    graph, feeds = shipped("glyphs")
    for small, _ in (to_int8(graph, lend(feeds)), to_int8(tiny_graph(), no_feeds)):
        largest = [int(np.abs(weights.astype(int)).max()) for weights in int8_weights(small).values()]
        assert largest
        assert max(largest) <= 64


@pytest.mark.parametrize("name", ["digits", "heartbeat-gru"])
def test_the_same_graph_and_items_give_the_same_bytes(name: str) -> None:
    graph, feeds = shipped(name)
    assert to_int8(graph, lend(feeds)) == to_int8(graph, lend(feeds))


def test_nothing_of_the_machine_or_of_unused_operators_is_left() -> None:
    graph, feeds = shipped("digits")
    model = onnx.load_from_string(to_int8(graph, lend(feeds))[0])
    assert [one.domain for one in model.opset_import] == [""]
    assert not model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_an_item_alone_equals_itself_in_a_batch_where_ranges_are_static() -> None:
    graph, feeds = shipped("glyphs")
    session = open_session(to_int8(graph, lend(feeds))[0], device="cpu", threads=1)
    pictures = np.random.default_rng(0).integers(0, 256, (4, *feeds[0]["pixels"].shape[1:]), dtype=np.uint8)
    together = session.run("vectors", {"pixels": pictures})
    alone = np.concatenate([session.run("vectors", {"pixels": one[np.newaxis]}) for one in pictures])
    assert np.abs(together - alone).max() < 1e-5


def test_a_graph_without_learned_weights_is_refused() -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["vectors"]),
    ]
    constants = {"flat": np.array([-1, 64]), "weights": np.ones_like(projection())}
    with pytest.raises(CommandError, match="no learned weights"):
        to_int8(serialise(nodes, constants), no_feeds)


def test_what_the_library_cannot_read_is_one_line() -> None:
    with pytest.raises(CommandError, match=r"onnxruntime\.quantization") as caught:
        to_int8(b"no graph", no_feeds)
    assert "\n" not in str(caught.value)

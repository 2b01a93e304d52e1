"""The half encoder: float16 within, float32 at both ends, for each architecture that a recipe names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from app.core.modalities.base import Modality
from app.runtime.session import open_session
from model_export.encoders import TwinEncoder, l2_normalize
from model_export.errors import CommandError
from model_export.export import to_onnx
from model_export.precisions.half import to_half
from model_export.recipe import read_recipe
from model_export.training import make_modality, make_network
from model_export.windows import stack_windows
from tests.model_export.tiny_sets import RECIPES

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
NAMES = ["glyphs", "digits", "heartbeat", "heartbeat-gru"]


def untrained(name: str) -> tuple[TwinEncoder, Modality]:
    """The encoder of a shipped recipe before its first step, and its modality."""
    recipe = read_recipe(RECIPES / f"{name}.toml")
    torch.manual_seed(0)
    modality = make_modality(recipe, Path())
    return make_network(recipe, modality, Path()).eval(), modality


@pytest.mark.parametrize("name", NAMES)
def test_graph_of_the_half_encoder_gives_nearly_the_vectors_of_the_whole_one(name: str) -> None:
    encoder, modality = untrained(name)
    graph = to_onnx(to_half(encoder), modality)
    window = modality.examples()[-1]
    batch = stack_windows([window])
    with torch.inference_mode():
        wanted = encoder(*(batch[one] for one in encoder.inputs)).numpy()
    session = open_session(graph, device="cpu", threads=1)
    got = session.run("vectors", modality.collate([window]))
    assert got.dtype == np.float32
    assert np.abs(np.linalg.norm(got, axis=1) - 1).max() < 1e-6  # normalised in float32: float16 leaves 1e-3
    assert 0 < np.abs(got - wanted).max() < 5e-3


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_float16_and_both_ends_float32(name: str) -> None:
    encoder, modality = untrained(name)
    model = onnx.load_from_string(to_onnx(to_half(encoder), modality))
    weights = {one.name: one.data_type for one in model.graph.initializer}
    assert all(weights[key] == FLOAT16 for key in weights if key.endswith((".weight", ".weight_ih_l0")))
    assert sum(kind == FLOAT for kind in weights.values()) <= 5  # constants of the scaling and the norm
    assert all(one.type.tensor_type.elem_type != FLOAT16 for one in (*model.graph.input, *model.graph.output))
    made_by = {output: node for node in model.graph.node for output in node.output}
    (root,) = [node for node in model.graph.node if node.op_type == "Sqrt"][-1:]
    found, waiting = None, [root.input[0]]
    while found is None:  # up from the norm, to the first cast: all between is float32
        node = made_by[waiting.pop()]
        found = node if node.op_type == "Cast" else None
        waiting += [one for one in node.input if one in made_by]
    assert found.attribute[0].i == FLOAT


@pytest.mark.parametrize("name", ["glyphs", "heartbeat-gru"])
def test_export_of_one_checkpoint_gives_the_same_half_bytes(name: str) -> None:
    encoder, modality = untrained(name)
    assert to_onnx(to_half(encoder), modality) == to_onnx(to_half(encoder), modality)


def test_the_encoder_itself_stays_whole() -> None:
    encoder, modality = untrained("digits")
    before = to_onnx(encoder, modality)
    to_half(encoder)
    assert to_onnx(encoder, modality) == before


def test_inputs_beyond_float16_are_scaled_before_they_are_cast() -> None:
    encoder, modality = untrained("heartbeat")
    (window,) = [modality.examples()[0]]
    far = {name: rows * 1e6 if name == "values" else rows for name, rows in window.items()}
    session = open_session(to_onnx(to_half(encoder), modality), device="cpu", threads=1)
    near, scaled = (session.run("vectors", modality.collate([one])) for one in (window, far))
    assert np.isfinite(scaled).all()  # the front divides by the deviation, which takes the factor away
    assert np.abs(near - scaled).max() < 5e-3


class _Line(TwinEncoder):
    """One linear layer of a given weight."""

    inputs = ("pixels",)

    def __init__(self, weight: float, *, whole: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        nn.init.constant_(self.layer.weight, weight)
        self.whole = whole

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layer(pixels)
        return l2_normalize(made) if self.whole else nn.functional.normalize(made)


def test_weights_beyond_float16_are_named() -> None:
    with pytest.raises(CommandError, match=r"weight layer\.weight"):
        to_half(_Line(1e5, whole=True))


def test_an_encoder_that_normalises_in_float16_is_refused() -> None:
    assert to_half(_Line(1.0, whole=True))(torch.ones(1, 2)).dtype == torch.float32
    with pytest.raises(CommandError, match="l2_normalize"):
        to_half(_Line(1.0, whole=False))(torch.ones(1, 2))

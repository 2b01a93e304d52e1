"""Encoders of sequences: padding changes nothing, and the exported graph is the encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional

from app.core import modalities
from app.core.modalities.base import Modality
from model_export import recipe
from model_export.encoders import TwinEncoder
from model_export.encoders.bag import BagEncoder
from model_export.encoders.choosing import make_encoder
from model_export.encoders.fronts import StepFront
from model_export.errors import CommandError
from model_export.export import to_onnx
from model_export.recipe import Tokenizer
from model_export.tokenizer import count_tokens, train_tokenizer

CHOICES: dict[str, recipe.EncoderChoice] = {
    "gru": recipe.RecurrentChoice(name="gru", hidden=12, layers=2, width=10, dropout=0.2, dimension=8),
    "lstm": recipe.RecurrentChoice(name="lstm", hidden=12, layers=2, width=10, dropout=0.2, dimension=8),
    "transformer": recipe.TransformerChoice(
        name="transformer", hidden=12, inner=20, heads=3, layers=2, width=10, dropout=0.2, dimension=8
    ),
    "convolutional_1d": recipe.Convolutional1dChoice(
        name="convolutional_1d", filters=12, blocks=3, kernel=5, width=10, dropout=0.2, dimension=8
    ),
    "bag": recipe.BagChoice(name="bag", hidden=12, width=10, dropout=0.2, dimension=8),
    "lexical bag": recipe.BagChoice(
        name="bag", hidden=12, width=10, dimension=20, lexical_share=0.4, lexical_dimension=12
    ),
    "spectral": recipe.SpectralChoice(name="spectral", stages=(4, 6, 8), dropout=0.2, dimension=8),
    "averaged gru": recipe.RecurrentChoice(name="gru", hidden=12, every=4, level=5, dimension=8),
    "averaged transformer": recipe.TransformerChoice(
        name="transformer", hidden=12, inner=20, heads=2, every=4, level=5, dimension=8
    ),
    "averaged convolution": recipe.Convolutional1dChoice(
        name="convolutional_1d", filters=12, blocks=2, kernel=3, every=4, level=5, dimension=8
    ),
}
TOKENIZER = train_tokenizer(
    ["how do I change my pin", "where is my card", "book a table"] * 3, Tokenizer(vocabulary=100)
)


def text() -> Modality:
    params = {
        "tokenizer": "tokenizer.json",
        "unicode_form": "NFKC",
        "max_tokens": 32,
        "lengths": [8, 16, 32],
        "pad_id": 0,
        "inputs": ["input_ids", "attention_mask"],
        "prefixes": {},
        "long_text": "refuse",
    }
    return modalities.create("text", params, {"tokenizer.json": TOKENIZER})


def series() -> Modality:
    params = {
        "channels": [{"name": "x", "unit": "g"}, {"name": "y", "unit": "g"}],
        "rate": 50.0,
        "min_steps": 4,
        "max_steps": 64,
        "ladder": [16, 64],
        "long": "refuse",
        "gaps": "refuse",
        "normalisation": "none",
    }
    return modalities.create("series", params, {})


def audio() -> Modality:
    features = {"kind": "log_mel", "n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 12, "fmin": 60.0}
    params = {
        "rate": 8000,
        "mixdown": "mean",
        "resampler": "soxr_hq",
        "trim": "off",
        "min_seconds": 0.1,
        "max_seconds": 1.0,
        "long": {"policy": "refuse"},
        "ladder_seconds": [0.5, 1.0],
        "silence_db": -60.0,
        "clipping_share": 0.05,
        "features": features | {"fmax": 3800.0, "floor": 1e-6, "mel_scale": "htk", "normalise": "none"},
    }
    return modalities.create("audio", params, {})


def tokens(batch: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(2, count_tokens(TOKENIZER), (batch, steps)), torch.ones((batch, steps), dtype=torch.int64)


def values(batch: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, steps, 2), torch.ones(batch, steps)


def bands(batch: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, steps, 12), torch.ones(batch, steps)


Draw = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]
KINDS: dict[str, tuple[Callable[[], Modality], Draw]] = {
    "text": (text, tokens),
    "series": (series, values),
    "audio": (audio, bands),
}
WORDS_ONLY, STEPS_ONLY = {"lexical bag"}, {"spectral"}
CASES = [
    pytest.param(choice, *kind, id=f"{name}-{modality}")
    for name, choice in CHOICES.items()
    for modality, kind in KINDS.items()
    if not (modality == "text" and (name.startswith("averaged") or name in STEPS_ONLY))
    if modality == "text" or name not in WORDS_ONLY
]


def made(choice: recipe.EncoderChoice, modality: Modality) -> TwinEncoder:
    torch.manual_seed(0)
    encoder = make_encoder(choice, modality, count_tokens(TOKENIZER))
    with torch.no_grad():  # norms that have seen data, and no zeros that would hide a mistake
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        for name, buffer in encoder.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.5)
    encoder.eval()
    return encoder


def padded(tensors: tuple[torch.Tensor, torch.Tensor], more: int) -> tuple[torch.Tensor, torch.Tensor]:
    content, mask = tensors
    wide = (0, more) if content.ndim == 2 else (0, 0, 0, more)
    return functional.pad(content, wide), functional.pad(mask, (0, more))


@pytest.mark.parametrize(("choice", "modality", "draw"), CASES)
def test_padding_changes_no_embedding(
    choice: recipe.EncoderChoice, modality: Callable[[], Modality], draw: Draw
) -> None:
    encoder = made(choice, modality())
    for steps in (5, 16, 33):
        tensors = draw(3, steps)
        with torch.inference_mode():
            alone = encoder(*tensors)
            for more in (1, 3, 31):
                assert torch.allclose(encoder(*padded(tensors, more)), alone, atol=1e-6)
            changed = tensors[0].roll(1, dims=0)
            assert not torch.allclose(encoder(changed, tensors[1]), alone, atol=1e-3)


@pytest.mark.parametrize(("choice", "modality", "draw"), CASES)
def test_the_graph_is_the_encoder_at_any_batch_and_length(
    choice: recipe.EncoderChoice, modality: Callable[[], Modality], draw: Draw
) -> None:
    kind = modality()
    encoder = made(choice, kind)
    session = onnxruntime.InferenceSession(to_onnx(encoder, kind), providers=["CPUExecutionProvider"])
    for batch, steps in ((1, 4), (3, 17), (5, 64)):
        tensors = padded(draw(batch, steps), 3)
        feed = {name: tensor.numpy() for name, tensor in zip(encoder.inputs, tensors, strict=True)}
        (got,) = session.run(None, feed)
        with torch.inference_mode():
            assert np.abs(got - encoder(*tensors).numpy()).max() < 1e-5
        assert np.abs(np.linalg.norm(got, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_recurrent_encoder_is_one_node_that_reads_in_order(name: str) -> None:
    encoder = made(CHOICES[name], series())
    graph = onnx.load_from_string(to_onnx(encoder, series()))
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count(name.upper()) == 2  # two layers, however many the steps
    content, mask = values(2, 30)
    with torch.inference_mode():
        assert not torch.allclose(encoder(content, mask), encoder(content.flip(1), mask), atol=1e-3)


def test_a_transformer_reads_the_order_of_its_steps() -> None:
    encoder = made(CHOICES["transformer"], series())
    content, mask = values(2, 30)
    with torch.inference_mode():
        assert not torch.allclose(encoder(content, mask), encoder(content.flip(1), mask), atol=1e-3)


def test_a_graph_of_unscaled_vectors_keeps_their_lengths() -> None:
    for name, kind in (("gru", series), ("bag", series), ("transformer", text)):
        choice = CHOICES[name].model_copy(update={"normalise": False})
        encoder = made(choice, kind())
        tensors = (tokens if kind is text else values)(4, 9)
        with torch.inference_mode():
            wanted = encoder(*tensors).numpy()
        assert np.abs(np.linalg.norm(wanted, axis=1) - 1).max() > 0.01
        session = onnxruntime.InferenceSession(to_onnx(encoder, kind()), providers=["CPUExecutionProvider"])
        feed = {name: tensor.numpy() for name, tensor in zip(encoder.inputs, tensors, strict=True)}
        assert np.abs(session.run(None, feed)[0] - wanted).max() < 1e-5


def test_levelling_takes_a_slow_drift_away() -> None:
    front = StepFront(name="values", channels=1, every=1, level=25)
    time = torch.arange(400.0)
    beat = torch.sin(time * 1.3).reshape(1, -1, 1)
    drift = (torch.sin(time * 0.01) * 5 + 3).reshape(1, -1, 1)
    mask = torch.ones(1, 400)
    clean, drifting = front(beat, mask)[0], front(beat + drift, mask)[0]
    inside = slice(15, -15)  # at the ends fewer steps stand around
    assert float((clean - drifting)[:, inside].abs().max()) < 0.1
    assert float((beat - beat - drift)[:, inside].abs().max()) > 5


def test_averaging_means_real_steps_only() -> None:
    front = StepFront(name="values", channels=1, every=4, level=0)
    content = torch.tensor([[[1.0], [3.0], [5.0], [7.0], [10.0], [20.0], [99.0], [99.0]]])
    mask = torch.tensor([[1.0, 1, 1, 1, 1, 1, 0, 0]])
    rows, real = front(content, mask)
    assert rows.flatten().tolist() == [4.0, 15.0]
    assert real.tolist() == [[1.0, 1.0]]


def test_encoders_refuse_what_their_modality_does_not_make() -> None:
    picture = recipe.ConvolutionalChoice(name="convolutional", filters=4, blocks=1, dimension=4)
    with pytest.raises(CommandError, match="only texts have words"):
        make_encoder(CHOICES["lexical bag"], series(), 0)
    with pytest.raises(CommandError, match="not text"):
        make_encoder(CHOICES["spectral"], text(), 30)
    with pytest.raises(CommandError, match="takes pictures"):
        make_encoder(picture, series(), 0)
    waveform = {"kind": "waveform"}
    sound = modalities.create("audio", audio().params.model_dump() | {"features": waveform}, {})  # type: ignore[attr-defined]
    with pytest.raises(CommandError, match="steps x channels"):
        make_encoder(CHOICES["gru"], sound, 0)


def test_the_lexical_part_weighs_tokens_by_their_rarity_and_decides_its_share() -> None:
    encoder = make_encoder(CHOICES["lexical bag"], text(), 30)
    assert isinstance(encoder, BagEncoder)
    before = encoder.lexical.clone()
    encoder.count([{"input_ids": np.array(row)} for row in ([2, 3, 3], [2, 4], [2, 5])])
    factor = (encoder.lexical / before)[:, 0]
    assert factor[2:5].tolist() == pytest.approx([1.0, np.log(4 / 2) + 1, np.log(4 / 2) + 1])  # 3 of 3, 1, 1
    assert float(factor[9]) == pytest.approx(np.log(4) + 1)
    one, same = torch.tensor([[7]]), torch.ones((1, 1), dtype=torch.int64)
    encoder.eval()
    with torch.inference_mode():
        vector = encoder(one, same)[0]
    assert float(vector[8:].norm() ** 2) == pytest.approx(0.4, abs=1e-5)
    encoder.train()
    assert encoder(one, same).shape == (1, 8)  # the learned part trains alone


def test_the_same_texts_give_the_same_tokenizer() -> None:
    texts = ["how do I change my pin", "where is my card", "naive cafe", "book a table for two"] * 5
    assert train_tokenizer(texts, Tokenizer(vocabulary=120)) == train_tokenizer(texts, Tokenizer(vocabulary=120))
    assert count_tokens(train_tokenizer(texts, Tokenizer(vocabulary=120))) <= 120

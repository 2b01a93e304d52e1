"""Which encoder a recipe names, for the arrays that its modality makes."""

from __future__ import annotations

from app.core.modalities.base import Modality, Window
from model_export import recipe
from model_export.encoders import TwinEncoder
from model_export.encoders.bag import BagEncoder
from model_export.encoders.convolutional import ConvolutionalEncoder
from model_export.encoders.convolutional_1d import Convolutional1dEncoder
from model_export.encoders.fronts import Front, StepFront, TokenFront
from model_export.encoders.recurrent import RecurrentEncoder
from model_export.errors import CommandError


def make_encoder(choice: recipe.EncoderChoice, modality: Modality, vocabulary: int) -> TwinEncoder:
    """The untrained encoder; `vocabulary` counts the tokens of a text modality, 0 for others.

    Raises CommandError where the encoder cannot take what the modality makes.
    """
    window = modality.examples()[0]
    if isinstance(choice, recipe.ConvolutionalChoice):
        if "pixels" not in window:
            raise CommandError(f"encoder.name: {choice.name} takes pictures, and this modality makes none")
        height, width, channels = window["pixels"].shape
        if height != width:
            raise CommandError("modality.params: the convolutional encoder takes square pictures")
        return ConvolutionalEncoder(
            size=width, channels=channels, filters=choice.filters, blocks=choice.blocks, dimension=choice.dimension
        )
    front = _front(choice, window, vocabulary)
    dropout, dimension = choice.dropout, choice.dimension
    if isinstance(choice, recipe.Convolutional1dChoice):
        return Convolutional1dEncoder(
            front=front,
            filters=choice.filters,
            blocks=choice.blocks,
            kernel=choice.kernel,
            dropout=dropout,
            dimension=dimension,
        )
    if isinstance(choice, recipe.RecurrentChoice):
        return RecurrentEncoder(
            front=front, hidden=choice.hidden, layers=choice.layers, dropout=dropout, dimension=dimension
        )
    if choice.lexical_share and "input_ids" not in window:
        raise CommandError("encoder.lexical_share: only texts have words")
    return BagEncoder(
        front=front,
        hidden=choice.hidden,
        dropout=dropout,
        dimension=dimension,
        lexical_share=choice.lexical_share,
        lexical_dimension=choice.lexical_dimension,
    )


def _front(choice: recipe.SequenceChoice, window: Window, vocabulary: int) -> Front:
    if "input_ids" in window:
        if set(window) != set(TokenFront.inputs):
            raise CommandError("modality.params.inputs: a trained encoder takes input_ids and attention_mask")
        return TokenFront(vocabulary=vocabulary, width=choice.width)
    names = set(window) - {"mask"}
    if len(names) != 1 or "mask" not in window:
        raise CommandError("encoder.name: this encoder takes sequences, and this modality makes none")
    (name,) = names
    if window[name].ndim != 2:
        raise CommandError(f"encoder.name: this encoder takes steps x channels, and {name} is not of that shape")
    return StepFront(name=name, channels=window[name].shape[1], every=choice.every, level=choice.level)

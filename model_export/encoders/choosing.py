"""Which encoder a recipe names, for the arrays that its modality makes."""

from __future__ import annotations

from pathlib import Path

from app.core.modalities.base import Modality, Window
from model_export import recipe
from model_export.encoders import TwinEncoder
from model_export.encoders.bag import BagEncoder
from model_export.encoders.centring import Centring
from model_export.encoders.convolutional import ConvolutionalEncoder
from model_export.encoders.convolutional_1d import Convolutional1dEncoder
from model_export.encoders.drawing import DrawingEncoder
from model_export.encoders.fronts import Front, StepFront, TokenFront
from model_export.encoders.recurrent import RecurrentEncoder
from model_export.encoders.residual import ResidualEncoder
from model_export.encoders.spectral import SpectralEncoder
from model_export.encoders.timm_backbone import TimmEncoder
from model_export.encoders.transformer import TransformerEncoder
from model_export.errors import CommandError, needing


def make_encoder(
    choice: recipe.EncoderChoice, modality: Modality, vocabulary: int, directory: Path | None = None
) -> TwinEncoder:
    """The untrained encoder; `vocabulary` counts the tokens of a text modality, 0 for others.

    One of sentence-transformers comes with the weights of its `directory`, which must be given.
    Raises CommandError where the encoder cannot take what the modality makes.
    """
    window = modality.examples()[0]
    if isinstance(choice, recipe.SentenceTransformersChoice):
        if directory is None:
            raise ValueError("an encoder of sentence-transformers is made of its directory")
        with needing("import"):
            from model_export.encoders.sentences import make_sentence_encoder  # noqa: PLC0415

        encoder = make_sentence_encoder(directory, choice)
    elif isinstance(choice, recipe.SequenceEncoderChoice):
        encoder = _make_sequence_encoder(choice, window, _front(choice, window, vocabulary))
    else:
        encoder = _make_picture_encoder(choice, window)
    encoder.normalise = choice.normalise
    return encoder


def _make_picture_encoder(choice: recipe.PictureChoice, window: Window) -> TwinEncoder:
    if "pixels" not in window:
        raise CommandError(f"encoder.name: {choice.name} takes pictures, and this modality makes none")
    height, width, channels = window["pixels"].shape
    size, dimension = (height, width), choice.dimension
    match choice:
        case recipe.ConvolutionalChoice(filters=filters, blocks=blocks):
            if min(size) < 2**blocks:
                raise CommandError(f"encoder.blocks: {blocks} halvings leave nothing of {height} x {width} pixels")
            return ConvolutionalEncoder(
                size=size, channels=channels, filters=filters, blocks=blocks, dimension=dimension
            )
        case recipe.ResidualChoice():
            return ResidualEncoder(
                size=size,
                channels=channels,
                stages=choice.stages,
                blocks=choice.blocks,
                halve_first=choice.halve_first,
                pooling=choice.pooling,
                dropout=choice.dropout,
                dimension=dimension,
            )
        case recipe.DrawingChoice(side=side, stages=stages, blocks=blocks):
            if channels != 1:
                raise CommandError(f"encoder.name: drawing takes one channel, and modality.params make {channels}")
            centring = Centring(size=size, side=side, spread=choice.spread, jitter=choice.jitter)
            return DrawingEncoder(centring=centring, side=side, stages=stages, blocks=blocks, dimension=dimension)
        case recipe.TimmChoice(model=model, dropout=dropout):
            return TimmEncoder(model=model, size=size, channels=channels, dropout=dropout, dimension=dimension)


def _make_sequence_encoder(choice: recipe.SequenceEncoderChoice, window: Window, front: Front) -> TwinEncoder:
    dropout, dimension = choice.dropout, choice.dimension
    match choice:
        case recipe.Convolutional1dChoice(filters=filters, blocks=blocks, kernel=kernel):
            return Convolutional1dEncoder(
                front=front, filters=filters, blocks=blocks, kernel=kernel, dropout=dropout, dimension=dimension
            )
        case recipe.SpectralChoice(stages=stages):
            if not isinstance(front, StepFront):
                raise CommandError("encoder.name: spectral takes bands of sounds or channels of a series, not text")
            return SpectralEncoder(front=front, stages=stages, dropout=dropout, dimension=dimension)
        case recipe.RecurrentChoice(name=cell, hidden=hidden, layers=layers):
            return RecurrentEncoder(
                front=front, cell=cell, hidden=hidden, layers=layers, dropout=dropout, dimension=dimension
            )
        case recipe.TransformerChoice(hidden=hidden, inner=inner, heads=heads, layers=layers):
            return TransformerEncoder(
                front=front,
                hidden=hidden,
                inner=inner,
                heads=heads,
                layers=layers,
                dropout=dropout,
                dimension=dimension,
            )
        case recipe.BagChoice(hidden=hidden, lexical_share=share, lexical_dimension=lexical_dimension):
            if share and "input_ids" not in window:
                raise CommandError("encoder.lexical_share: only texts have words")
            return BagEncoder(
                front=front,
                hidden=hidden,
                dropout=dropout,
                dimension=dimension,
                lexical_share=share,
                lexical_dimension=lexical_dimension,
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

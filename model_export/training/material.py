"""Whether there is anything to learn with and from: refused early, before the first step, or said where it costs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from app.core import modalities
from app.core.errors import BundleRefused
from model_export.datasets import LabelledItems
from model_export.encoders.choosing import make_encoder
from model_export.errors import CommandError
from model_export.recipe import Recipe
from model_export.tokenizer import count_tokens, train_tokenizer
from model_export.training.run_folder import TOKENIZER_FILE


def check_network(recipe: Recipe, path: Path) -> None:
    """Raise CommandError, before an item is read, for params the modality refuses, or an encoder that does not fit.

    The tokenizer of a text encoder comes with the items. One that was taught nothing stands in for it. What begins with
    other weights is checked with them, by find_start.
    """
    if recipe.encoder.from_ is not None:
        return
    tokenizer = None if recipe.tokenizer is None else train_tokenizer((), recipe.tokenizer)
    assets = {} if tokenizer is None else {TOKENIZER_FILE: tokenizer}
    try:
        modality = modalities.create(recipe.modality.name, recipe.modality.params, assets)
        make_encoder(recipe.encoder, modality, 0 if tokenizer is None else count_tokens(tokenizer))
    except BundleRefused as error:
        raise CommandError(f"{path}: {error.detail}") from error
    except CommandError as error:
        raise CommandError(f"{path}: {error}") from error


def check_training_items(items: LabelledItems) -> None:
    """Raises CommandError for items that have nothing to tell apart, or nothing to bring together."""
    if not len(items):
        raise CommandError("data: no item is left to train on")
    counts = np.unique(items.identity, return_counts=True)[1]
    if len(counts) == 1:
        raise CommandError(f"data: all {len(items)} training items have one identity: nothing is there to tell apart")
    if counts.max() == 1:
        raise CommandError(f"data: each of the {len(items)} training items is the only one of its identity: none match")
    alone = int((counts == 1).sum())
    if alone:
        print(
            f"note: {alone} of {len(counts)} training identities have one item, which can only be paired with itself",
            file=sys.stderr,
        )

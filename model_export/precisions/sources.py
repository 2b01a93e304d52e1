"""Where the half encoder comes from: the run folder that a bundle was exported from, or the directory it was imported
from. A graph alone has no framework that could cast it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.core.bundle import Bundle
from app.core.modalities.base import Limits
from model_export.errors import CommandError, needing
from model_export.recipe import read_recipe

SAME = 1e-4
"""Largest difference in any component between the source's float32 vectors and the bundle's `framework` ones: the
tolerance that a start allows too, since another machine sums in another order."""


def half_graph(source: Path, bundle: Bundle) -> bytes:
    """The float16 graph of a run or of a sentence-transformers directory, which must be the bundle's own.

    Raises CommandError where it is neither, or another encoder.
    """
    if (source / "checkpoint.safetensors").is_file():
        return _half_run(source, bundle)
    if (source / "modules.json").is_file():
        with needing("import"):
            from model_export.importing.sentence_encoders import half_sentence_encoder  # noqa: PLC0415

        vectors, make = half_sentence_encoder(source, bundle)
        _check_same(source, bundle, vectors)
        return make()
    raise CommandError(f"{source}: is neither a run folder nor a sentence-transformers directory, as fp16 needs")


def _half_run(run: Path, bundle: Bundle) -> bytes:
    from model_export.export import read_run, to_onnx, torch_embed_prepared  # noqa: PLC0415  # int8 needs no torch
    from model_export.precisions.half import to_half  # noqa: PLC0415
    from model_export.training import make_modality, make_network  # noqa: PLC0415

    recipe = read_recipe(run / "recipe.toml")
    modality = make_modality(recipe, run)
    encoder, _ = read_run(run, make_network(recipe, modality, run))
    prepared = [modality.prepare(item, Limits()) for item in bundle.golden.items]
    _check_same(run, bundle, torch_embed_prepared(encoder, prepared))
    return to_onnx(to_half(encoder), modality)


def _check_same(source: Path, bundle: Bundle, vectors: npt.NDArray[np.float32]) -> None:
    """Raise CommandError unless the source gives the vectors that the bundle says its framework gave."""
    wanted = bundle.golden.framework
    difference = float(np.abs(vectors - wanted).max()) if vectors.shape == wanted.shape else np.inf
    if not difference <= SAME:
        raise CommandError(f"{source}: is not what {bundle.key} was made from: its golden vectors are others")

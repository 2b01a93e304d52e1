"""Which imports are written: those whose graph, as the service runs it, gives what the original gives.

Nothing is written where one comparison fails. What is written serves at once, its verdicts undetermined until it is
calibrated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from app.core.bundle import CPU, CUDA, Draft, Golden, seal, write_bundle
from app.core.bundle.contents import Source
from app.core.errors import TwinserveError
from app.core.modalities.base import Item, Limits, Modality, Ragged, Window
from app.runtime.encoder import Encoder
from app.runtime.padding import padding_matters
from model_export.card import write_card
from model_export.errors import CommandError
from model_export.graphs import serialise, strip_metadata

Rows = npt.NDArray[np.float32]

PARITY = {"fp32": 1e-5, "fp16": 5e-3, "int8": 5e-3}
"""Largest difference in any component between the graph that serves and the original, vectors of unit length; longer
ones are divided by their largest component. Of fp32 some tens of rounding steps; float16 keeps three digits, and an
8-bit graph may round to the next level where another batch size orders its sums otherwise."""
TOLERANCE = {
    "fp32": {CPU: 1e-4, CUDA: 1e-3},
    "fp16": {CPU: 1e-2, CUDA: 1e-2},
    "int8": {CPU: 2e-2, CUDA: 2e-2},
}
"""What a start may differ by, as in export: other instruction sets sum in another order. Of unit vectors, as above."""
FEWEST_PROBES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Items, the vectors float32 (n, d) that the original gives for them, and who vouches for those vectors."""

    items: tuple[Item, ...]
    vectors: Rows
    source: Source
    limit: float
    """Largest difference in any component, of vectors of unit length."""


def check_free(models: Path, name: str, version: str) -> None:
    """Refuse a version that is there already before any long work. Raises CommandError."""
    if (models / name / version).exists():
        raise CommandError(f"{models / name / version} exists already; a published version is never changed")


def publish(
    models: Path,
    draft: Draft,
    model: onnx.ModelProto,
    *,
    assets: Mapping[str, bytes],
    reference: Reference,
    further: Callable[[Encoder], None],
) -> Path:
    """Write the bundle and return its folder. `further` holds the source's own comparisons, and raises as this does.

    Raises CommandError, or what the kernel raises for a bundle that would not be served.
    """
    graph, external = serialise(strip_metadata(model))
    scale = max(1.0, float(np.abs(reference.vectors).max()))
    tolerance = {provider: most * scale for provider, most in TOLERANCE[draft.graph.precision].items()}
    golden = Golden(reference.items, reference.vectors, reference.vectors, tolerance, reference.source)
    # The serving encoder needs a bundle to say what it serves; what it gives then replaces `served`.
    sealed = seal(draft, graph=graph, golden=golden, external_data=external, assets=assets)
    encoder = Encoder(sealed, device="cpu", threads=1)
    served = encoder.embed(reference.items, Limits())
    compare("golden items", served, reference.vectors, reference.limit)
    limit = PARITY[draft.graph.precision]
    windows = [window for item in reference.items for window in encoder.prepare(item, Limits()).windows]
    together = encoder.encode(windows)
    compare("one by one and together", np.concatenate([encoder.encode([one]) for one in windows]), together, limit)
    _check_padding(encoder, windows, limit)
    _tell_padding(encoder)
    further(encoder)
    golden = replace(golden, served=served)
    bundle = seal(draft, graph=graph, golden=golden, external_data=external, assets=assets)
    return write_bundle(models, bundle, {"MODEL_CARD.md": write_card(draft, None, "", [])})


def compare(what: str, got: Rows, wanted: Rows, limit: float) -> None:
    """Print and judge the largest difference in any component. Raises CommandError beyond `limit`."""
    if got.shape != wanted.shape:
        raise CommandError(f"{what}: the graph gives {got.shape}, the original {wanted.shape}; nothing is written")
    difference = float(np.abs(got - wanted).max() / max(1.0, float(np.abs(wanted).max())))
    print(f"parity of {what}: largest difference {difference:.1e} (limit {limit:.0e})")
    if not difference <= limit:
        raise CommandError(f"{what}: differs by {difference:.2e}, allowed is {limit:.0e}; nothing is written")


def usable(modality: Modality, items: Sequence[Item]) -> tuple[Item, ...]:
    """The probes that this modality takes: its params may refuse some, such as a script its tokenizer does not know.

    Raises CommandError where hardly any is left, so that a start would check nothing.
    """
    taken = []
    for item in items:
        try:
            modality.prepare(item, Limits())
        except TwinserveError:
            continue
        taken.append(item)
    if len(taken) < FEWEST_PROBES:
        raise CommandError(
            f"modality.params take {len(taken)} of the {len(items)} items drawn to check a bundle; at least "
            f"{FEWEST_PROBES} are needed: look at its limits, or name reference vectors"
        )
    return tuple(taken)


def _check_padding(encoder: Encoder, windows: Sequence[Window], limit: float) -> None:
    """Pad each window to a longer one of the ladder: its embedding must stay. No ladder, nothing to check.

    The examples fill a length, so that their last step has padding beside it for the first time.
    """
    examples = encoder.modality.examples()
    lengths = sorted({_length(window) for window in examples})
    pad_id = encoder.bundle.manifest.modality.params.get("pad_id", 0)
    shorter = [window for window in (*windows, *examples) if _length(window) <= lengths[0]] if len(lengths) > 1 else []
    for length in lengths[1:]:
        longer = [_pad(window, length, pad_id) for window in shorter]
        compare(
            f"padding to {length}, which must change nothing", encoder.encode(longer), encoder.encode(shorter), limit
        )


def _tell_padding(encoder: Encoder) -> None:
    """Print whether padding is cut on CPU, as each start finds out anew. Where it is not, that costs time only."""
    if isinstance(encoder.modality, Ragged):
        reason = padding_matters(encoder, encoder.modality)
        print(f"padding on CPU: {'cut to the longest of a run' if reason is None else f'stays as declared: {reason}'}")


def _length(window: Window) -> int:
    return len(next(iter(window.values())))


def _pad(window: Window, length: int, pad_id: int) -> Window:
    """Rows of padding at the end of each array: zeros, `pad_id` among token ids."""
    return {
        name: np.concatenate(
            [rows, np.full((length - len(rows), *rows.shape[1:]), pad_id if name == "input_ids" else 0, rows.dtype)]
        )
        for name, rows in window.items()
    }

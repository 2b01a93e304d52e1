"""`adapt BUNDLE --data DATA`: fit heads on frozen embeddings, choose one on validation, join it to the graph, and
publish it with evidence of its own, if held-out units show that it is better.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from app.core.bundle import Draft, Graph
from app.core.bundle.manifest import NAME_REGEX
from app.core.modalities.base import Limits
from app.core.scoring import pool
from app.runtime.encoder import Encoder
from model_export.adapting.drafting import draft_adapted, next_major, relation_of
from model_export.adapting.finding import Chosen, find_head
from model_export.adapting.frozen import encode_windows
from model_export.adapting.joining import join
from model_export.adapting.judging import judge, require_better
from model_export.adapting.own import read_own
from model_export.calibrate import calibrate_splits
from model_export.card import markdown_table
from model_export.errors import CommandError
from model_export.fitting.layouts import find_layout
from model_export.importing.publishing import PARITY, Reference, compare, publish
from model_export.importing.reading import opset_of
from model_export.subjects import LocalSubject, newest

COMPARED = 64
"""Validation items on which the joined graph is held against the head, beside the golden ones."""


@dataclass(frozen=True)
class Asked:
    """What the command line says; None where it does not."""

    bundle: Path
    data: Path
    levels: Sequence[str]
    columns: Mapping[str, str]
    modality: str | None
    split_by: str | None
    name: str | None
    match_means: str | None
    not_: str | None
    duplicates: str
    models: Path | None


def adapt(asked: Asked) -> Path:
    """Write the new bundle and return its folder.

    Raises CommandError in one line, and writes nothing, where no head is better.
    """
    folder = newest(asked.bundle)
    old = LocalSubject(folder)
    manifest = old.encoder.bundle.manifest
    if (precision := manifest.graph.precision) != "fp32":
        raise CommandError(f"{manifest.key} is {precision}: give the fp32 bundle, and quantize what comes of it")
    name = asked.name or f"{manifest.name}-adapted"
    if not NAME_REGEX.match(name):
        raise CommandError(f"{name!r} is no name of a bundle: small letters, digits and hyphens, at most 64")
    layout = find_layout(asked.data, levels=asked.levels, columns=asked.columns, modality=asked.modality)
    own = read_own(layout, manifest, split_by=asked.split_by, duplicates=asked.duplicates)
    relation = relation_of(manifest, asked.match_means, asked.not_, own)
    chosen = find_head(old, own)
    if chosen.head.name == "none":
        raise CommandError(f"no head is better than none, so nothing is written: {chosen.said}")
    models = asked.models or folder.resolve().parents[1]
    draft = draft_adapted(manifest, (name, next_major(models / name)), relation, own, chosen)
    with tempfile.TemporaryDirectory() as waiting:  # until it is shown to be better, and has its evidence
        new = LocalSubject(_write_joined(Path(waiting), draft, old.encoder, chosen))
        judged = judge(old, new, own.splits, own)
        heading, rows = table = judged.table()
        print("\n".join([f"\n{heading}\n", *markdown_table(rows), ""]))
        require_better(judged, manifest.key)
        print(f"better: {judged.line}")
        return calibrate_splits(new, own.splits, own, models, source="yours", before=[table])


def _write_joined(waiting: Path, draft: Draft, old: Encoder, chosen: Chosen) -> Path:
    """The bundle without evidence, if its graph gives what the head makes of the embeddings that are served."""
    bundle, head = old.bundle, chosen.head
    model, output = join(bundle, head)
    draft = draft.model_copy(update={"graph": _graph(draft.graph, model, output)})
    prepared = [old.prepare(item, Limits()) for item in bundle.golden.items]
    vectors = np.stack([pool(head.apply(encode_windows(old, [one])), head.normalise) for one in prepared])

    def check_own(new: Encoder) -> None:
        own = chosen.validation.items.items
        several = [new.prepare(own[place], Limits()) for place in range(min(COMPARED, len(own)))]
        got = encode_windows(new, several)
        compare("own items", got, head.apply(chosen.validation.rows[: len(got)]), PARITY["fp32"])

    reference = Reference(bundle.golden.items, vectors, bundle.golden.source, PARITY["fp32"])
    return publish(waiting, draft, model, assets=bundle.assets, reference=reference, further=check_own)


def _graph(old: Graph, model: onnx.ModelProto, output: str) -> Graph:
    return Graph(inputs=old.inputs, output=output, precision=old.precision, opset=opset_of(model))

"""`inspect FILE.onnx` and `inspect BUNDLE`: what a graph takes and gives, a draft of its spec, what a bundle is.

Nothing is changed, and nothing written but the draft.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from app.core import modalities
from app.core.bundle import Bundle, read_bundle
from app.core.errors import TwinserveError
from app.runtime.encoder import Encoder
from app.runtime.session import Session
from model_export.card import markdown_table, point_rows, type_rows
from model_export.drafting.choosing import draft_spec, recognise
from model_export.drafting.entries import Entry, plain, toml, write_toml
from model_export.drafting.graph import Facts, read_facts
from model_export.errors import CommandError
from model_export.graphs import describe_value, graphs_of
from model_export.importing.foreign import Original, match_inputs, open_original, output_of, padded
from model_export.importing.onnx_spec import Spec, read_assets
from model_export.importing.reading import opset_of, precision_of, read_graph
from model_export.precisions.facts import describe_graph
from model_export.subjects import newest, points_of

OPERATORS_SHOWN = 8


def inspect(path: Path, draft: Path | None) -> None:
    """Print what lies at `path`: a bundle, the highest of a folder of versions, or an ONNX file; of that write a draft
    of its spec to `draft`.

    Raises CommandError or BundleRefused for what is neither, and for a draft that would replace a file.
    """
    if path.is_dir():
        if draft is not None:
            raise CommandError(f"{path}: --draft-spec is for an ONNX file; a bundle has its manifest")
        print("\n".join(_describe_bundle(read_bundle(newest(path)))))
        return
    if draft is not None and draft.exists():
        raise CommandError(f"{draft} exists already: name another file for the draft")
    model = read_graph(path)
    print("\n".join(plain(line) for line in _describe_file(path, model)))
    session = open_original(model)
    facts = read_facts(path, model, path.parent if draft is None else draft.parent)
    if draft is not None:
        _write_draft(facts, session, draft)
        return
    modality, why = recognise(facts)
    print(f"seems to be of modality {modality}: {plain(why)}\n--draft-spec writes a spec for it")


def _describe_file(path: Path, model: onnx.ModelProto) -> Iterator[str]:
    nodes = Counter(node.op_type for graph in graphs_of(model) for node in graph.node)
    weights = sum(int(np.prod(one.dims)) for graph in graphs_of(model) for one in graph.initializer)
    yield f"{path.name}: {precision_of(model)}, opset {opset_of(model)}, {weights:,} weights"
    for word, values in (("takes", model.graph.input), ("gives", model.graph.output)):
        yield from (f"  {word} {describe_value(value)}" for value in values)
    shown = ", ".join(f"{name} {count}" for name, count in nodes.most_common(OPERATORS_SHOWN))
    more = len(nodes) - OPERATORS_SHOWN
    yield f"  operators: {shown}" + (f" and {more} more kinds" if more > 0 else "")


def _write_draft(facts: Facts, session: Session, draft: Path) -> None:
    entries = draft_spec(facts)
    tried = _try(facts, session, entries)
    head = [
        f"Draft of a spec for {facts.path.name}, by `inspect --draft-spec`. Above each field stands how sure it is:",
        "KNOWN from the file, a GUESS with its reason, or what to ASK THE OWNER. A wrong guess of the preparation",
        "gives wrong embeddings and no error: check each, best with the owner's vectors (docs/importing.md).",
        tried,
    ]
    draft.write_text(write_toml(head, entries), "utf-8")
    counts = Counter(entry.sure for entry in entries)
    print(
        f"wrote {draft}: {counts['KNOWN']} fields known, {counts['GUESS']} guesses, "
        f"{counts['ASK THE OWNER']} to ask the owner"
    )
    for entry in entries:
        if entry.sure == "GUESS":
            print(plain(f"  guess: {entry.field} = {toml(entry.value)}: {entry.why}"))
    print(f"{tried}\n  python -m model_export import onnx {facts.path} --spec {draft} --reference NPZ")


def _try(facts: Facts, session: Session, entries: list[Entry]) -> str:
    """Run the graph as the draft says, on synthetic items; one line on what came of it."""
    spec = Spec.model_validate(tomllib.loads(write_toml([], entries)))
    try:
        assets = read_assets(spec, facts.spec_folder)
        examples = modalities.create(spec.modality.name, spec.modality.params, assets)
        feeds = match_inputs(facts.model, spec.graph, tuple(examples.examples()[0]))
        raw = spec.graph.model_copy(update={"normalise": False})
        original = Original(session, raw, feeds, output_of(facts.model, spec.graph))
        rows = original.embed(padded(examples.examples(), examples.collate))
    except OSError as error:
        return f"It does not run yet: {Path(error.filename or '').name}: {error.strerror}"
    except (CommandError, TwinserveError) as error:
        return plain(f"It does not run yet: {error}")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    same = f"{lengths.min():.3g}" + (f" to {lengths.max():.3g}" if np.ptp(lengths) > 1e-3 else "")
    return f"It runs: vectors of {rows.shape[1]} numbers, of length {same} before unit length is appended"


def _describe_bundle(bundle: Bundle) -> Iterator[str]:
    manifest, golden, calibration = bundle.manifest, bundle.golden, bundle.calibration
    embedding, licence = manifest.embedding, manifest.licence
    encoder = Encoder(bundle, device="cpu", threads=1)
    encoder.replay_golden()
    megabytes = (len(bundle.graph) + len(bundle.external_data or b"")) / 1e6
    yield f"{bundle.key}: {manifest.status}, fingerprint {bundle.fingerprint}"
    yield f"  two items match when they are {manifest.relation.match_means}; not: {manifest.relation.not_}"
    yield f"  for: {manifest.intended_use}"
    yield f"  licence: weights {licence.weights}; data {licence.data}"
    yield f"  origin: {manifest.training.data}"
    yield f"  prepares {manifest.modality.name}: {json.dumps(dict(manifest.modality.params), ensure_ascii=False)}"
    yield f"  {describe_graph(bundle)}; {megabytes:.1f} MB"
    unit = "of unit length, " if embedding.normalized else ""
    yield f"  embeddings: {embedding.dimension} numbers, {unit}compared by {embedding.metric}"
    yield f"  golden: {len(golden.items)} items; source: {golden.vouched_by}; reproduced here on {encoder.provider}"
    if calibration is None:
        yield "  evidence: none, so that a verdict without a threshold is undetermined, reason uncalibrated"
        return
    counts = calibration.counts
    yield f"  evidence {calibration.id} ({calibration.source}): {calibration.population}"
    yield (
        f"  {counts.units} of the unit '{calibration.unit}', {counts.items} items, {calibration.date}, valid for "
        f"{calibration.valid_for_days} days"
    )
    yield from ["", *markdown_table(point_rows(calibration))]
    default = next((point for point in points_of(bundle) if point["default"]), None)
    if default is not None:
        yield f"\nat the default threshold, {default['threshold']:.4f}, matches of each type:\n"
        yield from markdown_table(type_rows(calibration, float(default["threshold"])))

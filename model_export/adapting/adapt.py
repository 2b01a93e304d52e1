"""`adapt BUNDLE --data DATA`: fit heads on frozen embeddings, choose one on validation, join it to the graph, and publish
it with evidence of its own, if held-out units show that it is better.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx

from app.core.bundle import Bundle, Draft, Embedding, Graph, Licence, Relation, Training
from app.core.bundle.manifest import NAME_REGEX, VERSION_REGEX, version_key
from app.core.modalities.base import Limits
from app.core.scoring import pool
from app.runtime.encoder import Encoder
from model_export.adapting.choosing import Validation, best_of, watched
from model_export.adapting.frozen import Frozen, embed_frozen, encode_windows
from model_export.adapting.heads import Head, no_head
from model_export.adapting.joining import join
from model_export.adapting.judging import judge, require_better
from model_export.adapting.learning import Lesson, learn
from model_export.adapting.own import Own, read_own
from model_export.adapting.whitening import whitenings
from model_export.calibrate import calibrate_splits
from model_export.card import markdown_table
from model_export.errors import CommandError
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
    name: str | None
    match_means: str | None
    not_: str | None
    duplicates: str
    models: Path | None


@dataclass(frozen=True, eq=False)
class Chosen:
    """The head, validation's areas of the best of each kind, the validation items, and the seconds it took."""

    head: Head
    areas: Mapping[str, float]
    impostor: str
    validation: Frozen
    seconds: float

    @property
    def said(self) -> str:
        """The areas in words."""
        areas = ", ".join(f"{name} {area:.4f}" for name, area in self.areas.items())
        return f"ROC AUC on validation against {self.impostor} impostors: {areas}"


def adapt(asked: Asked) -> Path:
    """Write the new bundle and return its folder. Raises CommandError in one line, and writes nothing, where no head is
    better.
    """
    folder = newest(asked.bundle)
    old = LocalSubject(folder)
    bundle = old.encoder.bundle
    if (precision := bundle.manifest.graph.precision) != "fp32":
        raise CommandError(f"{bundle.key} is {precision}: give the fp32 bundle, and quantize what comes of it")
    name = asked.name or f"{bundle.name}-adapted"
    if not NAME_REGEX.match(name):
        raise CommandError(f"{name!r} is no name of a bundle: small letters, digits and hyphens, at most 64")
    own = read_own(
        asked.data,
        bundle,
        levels=asked.levels,
        columns=asked.columns,
        modality=asked.modality,
        duplicates=asked.duplicates,
    )
    relation = _relation(asked, bundle)
    chosen = _choose(old, own)
    if chosen.head.name == "none":
        raise CommandError(f"no head is better than none, so nothing is written: {chosen.said}")
    models = asked.models or folder.resolve().parents[1]
    model, output = join(bundle, chosen.head)
    draft = _draft(bundle, name, _version(models / name), relation, own, chosen, Joined(model, output))
    with tempfile.TemporaryDirectory() as waiting:  # until it is shown to be better, and has its evidence
        new = LocalSubject(_publish(Path(waiting), draft, model, old.encoder, chosen))
        judged = judge(old, new, own.splits, own)
        heading, rows = table = judged.table()
        print("\n".join([f"\n{heading}\n", *markdown_table(rows), ""]))
        require_better(judged, bundle.key)
        print(f"better: {judged.line}")
        return calibrate_splits(new, own.splits, own, models, source="yours", before=[table])


def _choose(old: LocalSubject, own: Own) -> Chosen:
    """The best head on validation; the best of each kind is printed."""
    began = time.monotonic()
    splits, normalise = own.splits, old.encoder.bundle.manifest.embedding.normalized
    training = embed_frozen(old.encoder, splits.training)
    frozen = embed_frozen(old.encoder, watched(splits.validation, own.seed))
    bare = no_head(training.rows.shape[1], normalise=normalise)
    validation = Validation.begin(frozen, old.metric, own, bare)
    found = [(bare, validation.look(bare))]
    if tried := list(whitenings(training.rows, training.identity_of_rows(), normalise=normalise)):
        found.append(best_of(tried, validation))
    start = max(found, key=_area)[0]
    lesson = Lesson(training, own.sampler, validation, own.seed)
    found += [learn(start, lesson, hidden=hidden) for hidden in (False, True)]
    for head, area in found:
        print(f"validation: {head.name:9}  ROC AUC {area:.4f}  {head.said}")
    head = max(found, key=_area)[0]  # of equals the first, which is the simpler
    areas = {one.name: area for one, area in found}
    return Chosen(head, areas, validation.impostor, frozen, time.monotonic() - began)


def _area(found: tuple[Head, float]) -> float:
    return found[1]


@dataclass(frozen=True, eq=False)
class Joined:
    """The graph with its head, and its output."""

    model: onnx.ModelProto
    output: str


def _publish(waiting: Path, draft: Draft, model: onnx.ModelProto, old: Encoder, chosen: Chosen) -> Path:
    """The bundle without evidence, if its graph does what the head does with the embeddings that are served."""
    bundle, head = old.bundle, chosen.head
    prepared = [old.prepare(item, Limits()) for item in bundle.golden.items]
    rows = [head.apply(encode_windows(old, [one])) for one in prepared]
    vectors = np.stack([pool(one, head.normalise) for one in rows])

    def check_own(new: Encoder) -> None:
        own = chosen.validation.items.items
        several = [new.prepare(own[place], Limits()) for place in range(min(COMPARED, len(own)))]
        got = encode_windows(new, several)
        compare("own items", got, head.apply(chosen.validation.rows[: len(got)]), PARITY["fp32"])

    reference = Reference(bundle.golden.items, vectors, bundle.golden.source, PARITY["fp32"])
    return publish(waiting, draft, model, assets=bundle.assets, reference=reference, further=check_own)


def _draft(
    bundle: Bundle, name: str, number: str, relation: Relation, own: Own, chosen: Chosen, joined: Joined
) -> Draft:
    manifest, training = bundle.manifest, bundle.manifest.training
    fitted = own.splits.training
    how = (
        f"{chosen.head.said}, fitted to {len(fitted)} {own.said} of {len(np.unique(fitted.identity))} identities behind "
        f"the frozen encoder {bundle.key} (fingerprint {manifest.fingerprint}); {chosen.said}"
    )
    libraries = {package: version(package) for package in ("onnx", "onnxruntime", "pytorch-metric-learning", "torch")}
    return manifest.draft(
        name=name,
        version=number,
        status="demonstration",  # until it is calibrated
        relation=relation,
        graph=Graph(inputs=manifest.graph.inputs, output=joined.output, precision="fp32", opset=opset_of(joined.model)),
        embedding=Embedding(
            dimension=chosen.head.dimension,
            normalized=manifest.embedding.normalized,
            metric=manifest.embedding.metric,
        ),
        training=Training(
            recipe=training.recipe,
            data=f"{training.data}; then {how}",
            seed=own.seed,
            library_versions=training.library_versions | libraries,
            duration_seconds=round(chosen.seconds, 1),
        ),
        licence=Licence(
            weights=manifest.licence.weights,
            data=f"{manifest.licence.data}; of the head: {own.said}, licence not stated",
        ),
        intended_use=f"Telling whether two {own.said} match, where a match means {relation.match_means}.",
    )


def _relation(asked: Asked, bundle: Bundle) -> Relation:
    """What a match means: as given, else as for the bundle, which is said aloud."""
    relation = bundle.manifest.relation
    if asked.match_means is None:
        print(f"a match means, as for {bundle.key}, {relation.match_means}; --match-means says otherwise")
        return Relation(match_means=relation.match_means, **{"not": asked.not_ or relation.not_})
    not_ = asked.not_ or f"more than that: what the names in {asked.data.name} say was taken as it is"
    return Relation(match_means=asked.match_means, **{"not": not_})


def _version(folder: Path) -> str:
    """The next major version: other weights than those before under this name give other embeddings."""
    there = [version_key(one.name) for one in folder.glob("*") if VERSION_REGEX.match(one.name)]
    return f"{max(there)[0] + 1 if there else 1}.0.0"

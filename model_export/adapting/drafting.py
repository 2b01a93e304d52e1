"""What the new bundle says of itself: which encoder it comes from, which head stands behind it, how that was chosen."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

from app.core.bundle import Draft, Embedding, Licence, Manifest, Numerics, Relation, Training
from model_export.adapting.finding import Chosen
from model_export.adapting.own import Own
from model_export.importing.publishing import TOLERANCE
from model_export.subjects import highest_version

PACKAGES = ("onnx", "onnxruntime", "pytorch-metric-learning", "torch")


def draft_adapted(old: Manifest, key: tuple[str, str], relation: Relation, own: Own, chosen: Chosen) -> Draft:
    """The manifest of `old` with what the head changes; the graph's part is still that of the encoder.

    key: name and version.
    """
    fitted = own.splits.training
    how = (
        f"{chosen.head.said}, fitted to {len(fitted)} {own.said} of {len(np.unique(fitted.identity))} identities, "
        f"behind the frozen encoder {old.key} (fingerprint {old.fingerprint}); {chosen.said}"
    )
    libraries = {package: version(package) for package in PACKAGES}
    return old.draft(
        name=key[0],
        version=key[1],
        status="demonstration",  # until it is calibrated
        relation=relation,
        embedding=Embedding(
            dimension=chosen.head.dimension, normalized=old.embedding.normalized, metric=old.embedding.metric
        ),
        numerics=Numerics(tf32=old.numerics.tf32, providers=tuple(TOLERANCE["fp32"])),
        training=Training(
            recipe=old.training.recipe,
            data=f"{old.training.data}; then {how}",
            seed=own.seed,
            library_versions=old.training.library_versions | libraries,
            duration_seconds=round(chosen.seconds, 1),
        ),
        licence=Licence(
            weights=old.licence.weights, data=f"{old.licence.data}; of the head: {own.said}, licence not stated"
        ),
        intended_use=f"Telling whether two {own.said} match, where a match means {relation.match_means}.",
    )


def relation_of(old: Manifest, match_means: str | None, not_: str | None, own: Own) -> Relation:
    """What a match means: as given, else as for the encoder, which is said aloud."""
    if match_means is None:
        print(f"a match means, as for {old.key}, {old.relation.match_means}; --match-means says otherwise")
        return Relation(match_means=old.relation.match_means, **{"not": not_ or old.relation.not_})
    return Relation(match_means=match_means, **{"not": not_ or own.layout.unsaid})


def next_major(folder: Path) -> str:
    """1.0.0; where versions are there, the next major one: other weights give other embeddings."""
    highest = highest_version(folder)
    return f"{1 if highest is None else highest[0] + 1}.0.0"

"""Short questions by intent: Banking77 (Casanueva et al. 2020) and CLINC150 (Larson et al. 2019) as text items.

Expects banking77/queries.tsv.gz and clinc150/{queries.tsv.gz, domains.json} in one folder; out-of-scope questions are
left out, since nothing says which of them match. Identity = unit = intent, group = domain; Banking77 is one domain.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_export.datasets import LabelledItems, Splits
from model_export.recipe.data import IntentsData

BANKING, CLINC = "banking77", "clinc150"


def read_splits(folder: Path, data: IntentsData) -> Splits:
    """Cut by intent, each domain in the shares that the recipe names, drawn by its seed."""
    everything = read_questions(folder)
    generator = np.random.default_rng(data.seed)
    parts: list[list[int]] = [[], [], [], []]
    for group in np.unique(everything.group):
        intents = generator.permutation(np.unique(everything.identity[everything.group == group]))
        ends = np.cumsum([round(share * len(intents)) for share in data.shares])
        for part, chosen in zip(parts, np.split(intents, ends), strict=True):
            part.extend(chosen.tolist())
    calibration, test, validation, training = (everything.select(np.isin(everything.identity, p)) for p in parts)
    return Splits(
        training=training,
        validation=_at_most(validation, data.per_intent, generator),
        calibration=_at_most(calibration, data.per_intent, generator),
        test=_at_most(test, data.per_intent, generator),
        test_population=f"questions of {len(parts[1])} other intents of the same domains",
    )


def read_questions(folder: Path) -> LabelledItems:
    """All questions of both sets that have an intent, each text once within its intent."""
    domains = json.loads((folder / CLINC / "domains.json").read_text("utf-8"))
    domain_of = {f"{CLINC}/{intent}": domain for domain, intents in domains.items() for intent in intents}
    banking = [(f"{BANKING}/{intent}", text) for text, intent in _rows(folder / BANKING / "queries.tsv.gz")]
    clinc = [
        (f"{CLINC}/{intent}", text) for text, intent in _rows(folder / CLINC / "queries.tsv.gz") if intent != "oos"
    ]
    domain_of |= {intent: BANKING for intent, _ in banking}
    questions = dict.fromkeys([*banking, *clinc])
    intents, names = sorted(domain_of), sorted(set(domain_of.values()))
    number = {intent: place for place, intent in enumerate(intents)}
    identity = np.array([number[intent] for intent, _ in questions], np.int64)
    group_of = np.array([names.index(domain_of[intent]) for intent in intents], np.int64)
    return LabelledItems(
        [{"text": text} for _, text in questions],
        identity,
        identity,
        group_of[identity],
        np.arange(len(identity)),
        tuple(names),
    )


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """(text, intent) of every row."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield row["text"], row["intent"]


def _at_most(items: LabelledItems, most: int, generator: np.random.Generator) -> LabelledItems:
    """At most so many items of each identity, drawn."""
    kept: npt.NDArray[np.bool_] = np.zeros(len(items), np.bool_)
    for identity in np.unique(items.identity):
        kept[generator.permutation(np.flatnonzero(items.identity == identity))[:most]] = True
    return items.select(kept)

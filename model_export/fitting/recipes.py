"""The recipe that `fit` writes: from the data's layout, what its items are, and what training begins with.

It is a file like any other: `train`, `export`, `calibrate` and `evaluate` follow it, and its user may edit it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_export.datasets import LabelledItems, Splits
from model_export.drafting.entries import plain, toml
from model_export.fitting.layouts import NOT_STATED, Layout
from model_export.fitting.starts import Start
from model_export.recipe import Recipe, read_recipe
from model_export.training.run_folder import write_whole

GROUPED_SHARE, OWN_GROUPED_SHARE = 0.5, 0.85
"""Share of batches from few groups; and from one, where groups are kinds of item that every unit has."""


@dataclass(frozen=True)
class Wanted:
    """What only the user can say: name and version of the bundle, and what a match means and does not."""

    name: str
    version: str
    match_means: str
    not_: str


@dataclass(frozen=True)
class Material:
    """The data as it was found and cut: `more` fields of `[data]` than its layout says, `grouped` as in a recipe's
    calibration, None without hard impostors.
    """

    layout: Layout
    more: Mapping[str, Any]
    splits: Splits
    grouped: str | None
    has_units: bool


def lasting(minutes: float) -> dict[str, Any]:
    """The length of a training of so many minutes, with a step of warm-up for each."""
    return {"minutes": round(minutes, 4), "warmup_steps": int(minutes)}


def write_recipe(path: Path, wanted: Wanted, material: Material, start: Start, length: Mapping[str, Any]) -> Recipe:
    """Write the recipe of a training of such a length, by the fields of `[schedule]`, and read it back, checked."""
    text = _text(_comments(material.layout, start), _sections(wanted, material, start, length))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    return read_recipe(path)


def _comments(layout: Layout, start: Start) -> list[str]:
    return [
        f"Written by fit, from {layout.path}: {layout.said};",
        f"{start.said}.",
        "Edit it, raise `version`, and follow it anew with `fit` and the name of this file; docs/recipes.md has every",
        "field. What is not stated below is for you to say: licences, and what is measured, in words.",
    ]


def _sections(
    wanted: Wanted, material: Material, start: Start, length: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    layout = material.layout
    return {
        "": {
            "name": wanted.name,
            "version": wanted.version,
            "seed": 1,
            "weights_licence": NOT_STATED,
            "intended_use": f"Telling whether two {layout.plural} match, where a match means {wanted.match_means}.",
        },
        "relation": {"match_means": wanted.match_means, "not": wanted.not_},
        "data": {**layout.section, **material.more, "licence": NOT_STATED},
        **({"tokenizer": start.tokenizer} if start.tokenizer else {}),
        "modality": {"name": layout.modality},
        **({"modality.params": start.params} if start.params else {}),
        "encoder": start.encoder,
        "loss": start.loss,
        "sampler": choose_sampler(material, start.batch),
        "augmentation": start.augmentation,
        "optimiser": start.optimiser,
        "schedule": {**start.schedule, **length},
        "calibration": describe_measuring(material),
    }


def choose_sampler(material: Material, batch: tuple[int, int]) -> dict[str, Any]:
    """As many identities in a batch as are wanted and there, and as many items of each as most have."""
    items = material.splits.training
    counts = np.unique(items.identity, return_counts=True)[1]
    if not len(counts):
        return {"classes": batch[0], "per_class": batch[1], "grouped_share": 0.0}
    classes = min(batch[0], len(counts))
    per_class = int(np.clip(np.median(counts), 2, batch[1]))
    if items.pairs is not None:  # even, since a sampler's groups divide it, though pairs fill batches otherwise
        return {"classes": classes - classes % 2, "per_class": per_class, "grouped_share": GROUPED_SHARE}
    if material.grouped is None:
        return {"classes": classes, "per_class": per_class, "grouped_share": 0.0}
    groups = 2 if material.grouped == "units" and len(np.unique(items.group)) > 1 and classes > 3 else 1
    share = OWN_GROUPED_SHARE if material.grouped == "items" else GROUPED_SHARE
    return {"classes": classes - classes % groups, "per_class": per_class, "grouped_share": share, "groups": groups}


def describe_measuring(material: Material) -> dict[str, Any]:
    """The recipe's `[calibration]`: what is measured, in words that the data's layout gives."""
    layout, splits = material.layout, material.splits
    unit = (
        "unit"
        if material.has_units
        else "group of matching items"
        if splits.calibration.pairs is not None
        else "identity"
    )
    what = f"{layout.plural} of {layout.path.name}"
    own: dict[str, Any] = {
        "population": what if splits.frozen else f"{what}, of those that did not train",
        "unit": unit,
        "random": f"of another {unit}",
    }
    if material.grouped is not None:
        own |= {"hard": f"of another {unit} in the same group", "grouped": material.grouped}
    return own


def grouping(splits: Splits, *, has_groups: bool) -> str | None:
    """How groups bound hard impostors: "units" where each unit is of one group, "items" where a unit's items are of
    several; None where what is held out has no two units in one group.
    """
    measured = [items for items in (splits.calibration, splits.test) if items is not None]
    if not has_groups or not all(_has_hard(items) for items in measured):
        return None
    rows = np.concatenate([np.stack([items.unit, items.group], axis=1) for items in splits.parts().values()])
    own = np.unique(rows, axis=0)
    return "units" if len(np.unique(own[:, 0])) == len(own) else "items"


def _has_hard(items: LabelledItems) -> bool:
    own = np.unique(np.stack([items.group, items.unit], axis=1), axis=0)[:, 0]
    return bool(np.unique(own, return_counts=True)[1].max(initial=0) > 1)


def _text(comments: Sequence[str], sections: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"# {plain(line)}" for line in comments]
    for name, fields in sections.items():
        lines += ["", f"[{name}]"] if name else [""]
        lines += [f"{field} = {toml(value)}" for field, value in fields.items()]
    return "\n".join(lines) + "\n"

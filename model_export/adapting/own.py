"""One's own data for a head: found, cut by identity as for a recipe, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.core.bundle import Manifest
from model_export.datasets import Splits
from model_export.errors import CommandError
from model_export.fitting.layouts import PLURAL, Layout
from model_export.fitting.recipes import Material, choose_sampler, describe_measuring, grouping
from model_export.populations import cut_own, read_listing
from model_export.recipe import Calibration, ModalityChoice, Sampler
from model_export.split_plan import plan_lines

SHARES = {"validation": 0.15, "calibration": 0.2, "test": 0.2}
"""As in a recipe, but for validation: it does not only watch here, it chooses."""
BATCH = (32, 4)
"""Identities in a batch, and items of each, where there are as many."""
SEED = 0


@dataclass(frozen=True)
class Own:
    """The data, cut, and how it is measured: `Measuring` in place of a recipe."""

    layout: Layout
    splits: Splits
    calibration: Calibration
    sampler: Sampler
    seed: int = SEED

    @property
    def said(self) -> str:
        """The data in a few words."""
        return f"{self.layout.plural} of {self.layout.path.name}"


def read_own(layout: Layout, manifest: Manifest, *, duplicates: str, split_by: str | None = None) -> Own:
    """Read and cut; the plan is printed. Raises CommandError for data that is none for this bundle, or too little."""
    print(f"{layout.path}: {layout.said}")
    choice = manifest.modality
    if layout.modality != choice.name:
        raise CommandError(f"{layout.path}: holds {layout.plural}, and {manifest.key} takes {PLURAL[choice.name]}")
    more = {} if split_by is None else {"split_by": split_by}
    data = layout.data(shares=SHARES, duplicates=duplicates, **more)
    listing = read_listing(Path(), data, layout.modality)
    splits = cut_own(listing, data, ModalityChoice(name=choice.name, params=choice.params))
    grouped = None if listing.pairs else grouping(splits, has_groups=listing.group is not None)
    for line in plan_lines(splits, hard=grouped is not None):
        print(line)
    material = Material(layout, {}, splits, grouped, listing.unit is not None)
    calibration = Calibration.model_validate(describe_measuring(material))
    return Own(layout, splits, calibration, Sampler.model_validate(choose_sampler(material, BATCH)))

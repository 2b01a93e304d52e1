"""The `[data]` section for one's own data: a folder per identity, a table of items, or a table of labelled pairs.

Paths are relative to the folder of the recipe file, or absolute; TWINSERVE_DATA is not looked at. docs/your-data.md has
all three with examples.
"""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from model_export.recipe.section import DataSection, Section

Level = Literal["split", "group", "unit", "identity", "source"]
Role = Literal["path", "text", "item", "identity", "group", "unit", "source", "split"]
PairRole = Literal["a", "b", "label", "impostor", "unit_a", "unit_b"]
TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Shares(Section):
    """Shares of the units that do not train. What is left trains."""

    validation: float = Field(default=0.1, gt=0, lt=1, description="share of the units that watch the training")
    calibration: float = Field(default=0.2, gt=0, lt=1, description="share that chooses thresholds")
    test: float = Field(
        default=0.2, ge=0, lt=1, description="share that verifies them; 0: one held-out pool, cross-fitted"
    )

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.validation + self.calibration + self.test >= 1:
            raise ValueError("the shares must leave some units to train on")
        return self


class OwnData(DataSection):
    """What the three forms have in common: how the data is cut, and what is done about copies across the cut."""

    shares: Shares = Field(default=Shares(), description="how the units are shared out; see docs/your-data.md")
    frozen: bool = Field(
        default=False,
        description="true: nothing trains on it; all units measure an encoder that is there already, for calibrate and "
        "evaluate",
    )
    one_pool: bool | None = Field(
        default=None,
        description="true: what is held out is one pool, verified by cross-fitting; false: calibration and test apart; "
        "left out: one pool where either would have fewer than 25 units",
    )
    seed: int = Field(default=0, description="of the cut; the recipe's own seed is the training's")
    duplicates: Literal["stop", "drop"] = Field(
        default="stop",
        description="what copies across parts do: stop the run, or leave the part that trains (both where they are of "
        "different identities), and be listed in the card",
    )
    near_duplicates: bool = Field(
        default=True, description="whether near copies count (saved anew, rescaled, louder); false: exact ones only"
    )
    licence: str = Field(description="licence and attribution of the data")

    @model_validator(mode="after")
    def _shares_count(self) -> Self:
        if self.frozen and "shares" in self.model_fields_set:
            raise ValueError("shares: do not count where frozen is true, since all units are measured")
        return self


class FolderData(OwnData):
    """A folder per identity; see model_export/datasets/folders.py."""

    reader: Literal["folder"]
    folder: str = Field(description="folder of the items, relative to the recipe file")
    levels: tuple[Level, ...] = Field(
        default=("identity",), description="what each level of folders is, from the outside in; files lie in the last"
    )
    split_by: Literal["identity", "unit", "group"] = Field(
        default="identity", description="what is never in two parts; identity: nor any unit, where units are named"
    )

    @model_validator(mode="after")
    def _levels_name_identities_once(self) -> Self:
        if "identity" not in self.levels or len(set(self.levels)) != len(self.levels):
            raise ValueError("levels: identity is one of them, and none is there twice")
        _check_split_by(self.split_by, self.levels, "levels")
        return self


class ItemsData(OwnData):
    """A table of items; see model_export/datasets/item_tables.py."""

    reader: Literal["items"]
    table: str = Field(description=".csv, .tsv or .jsonl, each also .gz, or .parquet; relative to the recipe file")
    columns: dict[Role, str] = Field(
        default={}, description="role -> name of its column; a role that is not here is looked for under its own name"
    )
    split_by: Literal["identity", "unit", "group"] = Field(
        default="identity", description="what is never in two parts; identity: nor any unit, where units are named"
    )


class PairsData(OwnData):
    """A table of labelled pairs; see model_export/datasets/pair_tables.py."""

    reader: Literal["pairs"]
    table: str = Field(description=".csv, .tsv or .jsonl, each also .gz, or .parquet; relative to the recipe file")
    columns: dict[PairRole, str] = Field(
        default={}, description="role -> name of its column; a role that is not here is looked for under its own name"
    )
    impostors: dict[str, str] = Field(
        default={}, description="impostor type of the table -> what it is, in words that a verdict will use"
    )
    split_by: Literal["group", "identity"] = Field(
        default="group",
        description="group: items that labelled pairs connect, so that no pair is lost; identity: items that match",
    )

    @model_validator(mode="after")
    def _types_are_words(self) -> Self:
        for name in self.impostors:
            if not TYPE.fullmatch(name):
                raise ValueError(f"impostors: {name!r} is no type; letters, digits, '_', '-' and '.', at most 64")
        return self


OwnChoice = FolderData | ItemsData | PairsData
"""The three forms."""


def _check_split_by(split_by: str, named: tuple[str, ...], where: str) -> None:
    if split_by not in named:
        raise ValueError(f"split_by: {split_by} is not among {where}")

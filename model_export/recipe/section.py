"""What every section of a recipe is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of a recipe: frozen, and without fields that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(Section):
    """What the recipes of all sets say of their data, beside how it is cut."""

    personal: bool = Field(
        default=True, description="whether an item is about a person (a face, a voice, a hand); true unless said"
    )
    redistributable: bool = Field(
        default=False, description="whether the licence lets single items be passed on; false unless said"
    )

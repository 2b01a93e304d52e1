"""What every section of a recipe is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe: frozen, and without fields that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

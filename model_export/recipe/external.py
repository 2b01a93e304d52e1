"""The `[[external]]` sections of a recipe: other populations that are measured beside its own, and never train."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from model_export.recipe.data import Section


class ExternalType(Section):
    """A kind of impostor of another population, as a verdict will name it."""

    kind: Literal["random", "skilled"] = Field(
        description="random: somebody else's own item; skilled: an item that imitates whom it is compared with"
    )
    type: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="the impostor type's name in verdicts")
    words: str = Field(description="what such an impostor is, in words")


class External(Section):
    """A population beside the recipe's own, reported with the evidence; see model_export/outside.py."""

    reader: Literal["signatures_dutch", "att_faces"] = Field(
        description="whose files these are; see the module of that name in model_export/datasets"
    )
    folder: str = Field(description="folder below TWINSERVE_DATA")
    population: str = Field(description="what was measured, in words")
    unit: str = Field(description="the independent source that is counted, as in 'person'")
    licence: str = Field(
        description="licence and attribution of the data; what may only be evaluated on stays out of weights"
    )
    impostors: tuple[ExternalType, ...] = Field(min_length=1, description="types that are measured there")
    references: tuple[int, ...] = Field(
        default=(), description="numbers of references that a new item is also compared with at once, 2 or more each"
    )

    @model_validator(mode="after")
    def _is_told_apart(self) -> Self:
        if len({one.type for one in self.impostors}) != len(self.impostors):
            raise ValueError("impostors: the types must differ")
        check_references(self.references)
        return self


def check_references(references: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers as they are. Raises ValueError for one reference, or a number that is there twice."""
    if any(count < 2 for count in references):
        raise ValueError("references: one reference is measured anyway; give 2 or more")
    if len(set(references)) != len(references):
        raise ValueError("references: a number is there twice")
    return references

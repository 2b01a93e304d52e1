"""The request envelopes, checked here; what is inside an item is not read. No coercion: a string is never a number.

The shapes of the answers are in answers.py.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from app.core.errors import InvalidRequest
from app.core.evidence import Selectors

ITEM_REF = "#/components/schemas/Item"
# openapi.py defines the reference; pydantic would look for a bare one among its own models
Item = Annotated[dict[str, Any], WithJsonSchema({"allOf": [{"$ref": ITEM_REF}]})]

MAX_REFERENCES = 100
"""References of one request; a file of more is a store, and is searched otherwise."""
MAX_ECHO = 64
"""Characters of a member's name that an error repeats; a longer one is not named."""


class Envelope(BaseModel):
    """A request body, apart from the items in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    model: str | None = Field(None, description="name or name@version; left out, the service's default")


class Selecting(Envelope):
    """Where to judge: at most one of operating_point, max_fmr and threshold; none is the default."""

    include: list[Literal["record"]] | None = Field(  # not a list when left out, which would be copied each time
        None, max_length=1, description="`record` adds the decision's record, which `twinserve replay` takes again"
    )

    operating_point: str | None = Field(None, description="name of an operating point, see GET /models")
    max_fmr: float | None = Field(None, ge=0, le=1, description="highest false match rate to accept, by upper bound")
    threshold: float | None = Field(None, description="your own threshold; a score at or above it matches")
    impostor: str | None = Field(None, description="impostor type; left out, the hardest measured")

    @property
    def selectors(self) -> Selectors:
        """The selectors, as the evidence takes them."""
        return Selectors(self.operating_point, self.max_fmr, None, self.threshold, self.impostor)


class Judging(Selecting):
    """Where to judge a pair: as above, and max_fmr may have max_fnmr beside it."""

    max_fnmr: float | None = Field(None, ge=0, le=1, description="with max_fmr: highest false non-match rate to accept")
    prior: float | None = Field(None, ge=0, le=1, description="how common matches are among your pairs; adds posterior")

    @property
    def selectors(self) -> Selectors:
        """The selectors, as the evidence takes them."""
        return Selectors(self.operating_point, self.max_fmr, self.max_fnmr, self.threshold, self.impostor)


class CompareRequest(Judging):
    """Compare two items."""

    a: Item
    b: Item


class Pair(BaseModel):
    """Two items to compare."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    a: Item
    b: Item


class CompareBatchRequest(Judging):
    """Compare many pairs at one operating point; each answer stands at its pair's place."""

    pairs: list[Pair] = Field(min_length=1)


class FiledReference(BaseModel):
    """What you have on file of one identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1, description="your name for it, of no other reference of the request")
    items: list[Item] = Field(min_length=1, description="one item of it or several; the rates are those of as many")


class MatchRequest(Selecting):
    """Compare one item with every reference of a file that you send along."""

    probe: Item
    references: list[FiledReference] = Field(min_length=1, max_length=MAX_REFERENCES)
    aggregation: Literal["max", "mean"] = Field(
        "max", description="which score counts where a reference has several items: the highest, or their mean"
    )
    max_fmr: float | None = Field(
        None,
        ge=0,
        le=1,
        description="highest false match rate to accept of all references together, by upper bound: each comparison is "
        "held to its share",
    )


class Embedding(Envelope):
    """How to give embeddings out."""

    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: one string an input, little-endian float32"
    )


class EmbedRequest(Embedding):
    """Embed items, all or none."""

    inputs: list[Item] = Field(min_length=1)


def explain(error: ValidationError) -> InvalidRequest:
    """The first fault of an envelope as a sentence, with a pointer to it."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    *parents, last = fault["loc"] or ("",)
    if fault["type"] == "missing":
        return InvalidRequest(f"the member {last!r} is missing", pointer=pointer(parents))
    if fault["type"] == "extra_forbidden":
        if len(str(last)) > MAX_ECHO:
            return InvalidRequest("a member with a very long name is not known here; remove it")
        return InvalidRequest(f"the member {last!r} is not known here; remove it", pointer=pointer(fault["loc"]))
    said = re.sub(r" or instance of \w+$", "", fault["msg"])  # a class of ours means nothing to a caller
    said = said.replace("Input should", "it should").replace("valid dictionary", "JSON object")
    said = said.replace("valid list", "JSON array").replace("List should", "it should").replace("Dictionary", "it")
    where = f"{last!r} cannot be taken" if last != "" else "the body cannot be taken"
    return InvalidRequest(f"{where}: {said}", pointer=pointer(fault["loc"]))


def pointer(location: tuple[int | str, ...] | list[int | str]) -> str | None:
    """An RFC 6901 pointer; None for the whole document."""
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts) or None

"""The params of the text modality, and what must hold between them. Nothing about a text or a tokenizer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import BundleRefused

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"

UnicodeForm = Literal["none", "NFC", "NFKC"]


class Params(BaseModel):
    """How a text becomes token ids. Every field is part of the fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokenizer: str = Field(description="asset with the tokenizer, in the format of the tokenizers library")
    unicode_form: UnicodeForm = Field(description="normalisation form, applied before the tokenizer")
    max_tokens: int = Field(
        ge=1, le=32768, description="most tokens that the graph takes at once, special tokens and prefix counted"
    )
    lengths: tuple[int, ...] = Field(
        min_length=1, max_length=16, description="padded lengths in tokens, ascending; the last is max_tokens"
    )
    pad_id: int = Field(ge=0, description="token id in padded places, where attention_mask is 0")
    inputs: tuple[Literal["input_ids", "attention_mask", "token_type_ids"], ...] = Field(
        description="what the graph takes; without attention_mask only one length, since padding could not be ignored"
    )
    prefixes: Mapping[str, str] = Field(description="name to the text that is put before, such as 'query: '")
    default_prefix: str | None = Field(
        default=None, description="name of the prefix of items that name none; null: they get none"
    )
    long_text: Literal["refuse", "window"] = Field(
        description="a text beyond max_tokens is refused, or cut into windows whose embeddings are averaged"
    )
    window_overlap: int | None = Field(
        default=None, ge=0, description="fewest tokens that neighbouring windows share; null where long_text is refuse"
    )


def refused(field: str, reason: str) -> BundleRefused:
    """The refusal of a bundle for one of these fields."""
    return BundleRefused(f"modality.params.{field}: {reason}")


def check(params: Mapping[str, Any]) -> Params:
    """Check `modality.params` of a manifest. Raises BundleRefused with one line that names the field."""
    try:
        checked = Params.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise refused(".".join(map(str, first["loc"])), first["msg"]) from error
    lengths, inputs = checked.lengths, checked.inputs
    if any(a >= b for a, b in itertools.pairwise(lengths)) or lengths[-1] != checked.max_tokens:
        raise refused("lengths", f"must ascend to max_tokens, {checked.max_tokens}")
    if len(set(inputs)) != len(inputs) or IDS not in inputs:
        raise refused("inputs", f"must name {IDS}, and nothing twice")
    if MASK not in inputs and len(lengths) > 1:
        raise refused("inputs", f"without {MASK} the graph cannot tell padding from text: declare it, or one length")
    if checked.default_prefix is not None and checked.default_prefix not in checked.prefixes:
        raise refused("default_prefix", "names none of prefixes")
    if (checked.window_overlap is None) != (checked.long_text == "refuse"):
        raise refused("window_overlap", "belongs to long_text window: a number there, null otherwise")
    return checked

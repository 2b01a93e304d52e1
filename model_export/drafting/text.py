"""Guesses for an encoder of text: whole numbers in two axes, token ids among them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model_export.drafting.entries import Entry, guess, known
from model_export.drafting.graph import Facts

TOKENIZER = "tokenizer.json"
POOLING = "1_Pooling/config.json"
SHORTEST, USUAL_TOKENS, MOST_TOKENS = 16, 128, 32768
PADS = ("[PAD]", "<pad>", "<|endoftext|>")


def recognise(facts: Facts) -> str | None:
    """Why it seems to take text; None if not."""
    whole = [port for port in facts.inputs if port.rank == 2 and port.dtype.startswith(("int", "uint"))]
    if not whole or len(whole) != len(facts.inputs):
        return None
    return "its inputs are whole numbers in two axes, as token ids are"


def draft(facts: Facts) -> Iterator[Entry]:
    """The entries of modality.params, modality.assets and graph.inputs."""
    named = _roles(facts)
    settings = _read(facts.beside(TOKENIZER))
    yield from _tokenizer(facts, settings)
    fixed = next((port.dims[1] for port in facts.inputs if port.dims and port.dims[1]), None)
    yield from _lengths(fixed, settings, masked="attention_mask" in named)
    yield _pad(settings)
    yield guess("modality.params.unicode_form", "none", "tokenizers mostly bring their own normalisation")
    yield known("modality.params.inputs", list(named), "the inputs that the graph has")
    yield guess(
        "modality.params.prefixes", {}, 'none; some encoders were trained with words before each text, as "query: "'
    )
    yield guess("modality.params.long_text", "refuse", "longer texts are refused rather than cut; yours to say")
    by_name = all(array == port for array, port in named.items())
    made = known if by_name else guess
    yield made("graph.inputs", named, "their names" if by_name else "what their names seem to mean")


def pooling(facts: Facts) -> Entry | None:
    """What a sentence-transformers export says beside the graph; None where it says nothing that a spec can."""
    config = _read(facts.beside(POOLING))
    for key, way in (("pooling_mode_mean_tokens", "mean"), ("pooling_mode_cls_token", "first")):
        if config.get(key) is True:
            return known("graph.pooling", way, f"{POOLING}, beside the file, says {key}")
    return None


def _roles(facts: Facts) -> dict[str, str]:
    """What the modality makes -> the graph's input."""
    found: dict[str, str] = {}
    for port in facts.inputs:
        low = port.name.lower()
        if "mask" in low:
            role = "attention_mask"
        elif "type" in low or "segment" in low:
            role = "token_type_ids"
        else:
            role = "input_ids"
        found.setdefault(role, port.name)
    return {role: found[role] for role in ("input_ids", "attention_mask", "token_type_ids") if role in found}


def _tokenizer(facts: Facts, settings: Mapping[str, Any]) -> Iterator[Entry]:
    yield known("modality.params.tokenizer", TOKENIZER, "its name in the bundle")
    path = facts.beside(TOKENIZER)
    if path is None:
        yield guess("modality.assets", {TOKENIZER: TOKENIZER}, "none lies near the file: put the encoder's own there")
        return
    where = os.path.relpath(path.resolve(), facts.spec_folder.resolve())
    seems = "a tokenizer near the file" if settings else "near the file, though it cannot be read as a tokenizer"
    yield guess("modality.assets", {TOKENIZER: where}, f"{seems}; make sure that it is this encoder's")


def _lengths(fixed: int | None, settings: Mapping[str, Any], *, masked: bool) -> Iterator[Entry]:
    declared = (settings.get("truncation") or {}).get("max_length")
    if fixed is not None:
        most = known("modality.params.max_tokens", fixed, "the length that the graph declares")
    elif isinstance(declared, int) and SHORTEST <= declared <= MOST_TOKENS:
        most = known("modality.params.max_tokens", declared, "where its tokenizer cuts")
    else:
        most = guess("modality.params.max_tokens", USUAL_TOKENS, "a usual length; the graph may take more, or fewer")
    yield most
    field = "modality.params.lengths"
    if fixed is not None:
        yield known(field, [most.value], "the graph takes one length only")
    elif not masked:
        yield known(field, [most.value], "one length: the graph takes no attention_mask, so padding could not be told")
    else:
        ladder = [1 << power for power in range(4, 16) if 1 << power < most.value]
        yield guess(field, [*ladder, most.value], "lengths to which texts are padded; a matter of speed")


def _pad(settings: Mapping[str, Any]) -> Entry:
    field = "modality.params.pad_id"
    padding = settings.get("padding") or {}
    if isinstance(padding.get("pad_id"), int):
        return known(field, padding["pad_id"], "the padding that its tokenizer declares")
    for token in settings.get("added_tokens") or ():
        if token.get("content") in PADS and isinstance(token.get("id"), int):
            return known(field, token["id"], f"the id of {token['content']} in its tokenizer")
    return guess(field, 0, "the usual id of padding")


def _read(path: Path | None) -> dict[str, Any]:
    """A JSON object beside the graph; empty where there is none."""
    try:
        found = {} if path is None else json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

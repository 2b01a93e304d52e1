"""The bundle's tokenizer: checked once, then text to token ids. It never pads, never cuts, and never drops in silence.

Of the library only `encode` is used, one text at a time: it holds no state, is safe between threads, and the variable
TOKENIZERS_PARALLELISM, which is about batches, does not touch it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from app.core.modalities.text.params import refused

PROBES = 256
"""Tokens tried, each as a text, to see what the tokenizer puts around one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What the tokenizer puts around the tokens of any text: ids and types before and after, and the type inside."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    types_before: tuple[int, ...]
    types_after: tuple[int, ...]
    type_inside: int

    @property
    def size(self) -> int:
        """Number of special tokens."""
        return len(self.before) + len(self.after)


class Vocabulary:
    """A tokenizer read from its JSON. `unknown` is the id that stands for what it does not know, None if it knows all.

    Raises BundleRefused for what the library cannot read, for a tokenizer that gives other tokens each time or drops
    characters, and for one that does more than put special tokens around a text. `sample` is the id of some token.
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._tokenizer = Tokenizer.from_buffer(data)
        except Exception as error:  # the bindings raise several types, plain Exception among them
            reason = (str(error).splitlines() or ["no reason given"])[0][:200]
            raise refused("tokenizer", f"the tokenizers library cannot read it: {reason}") from error
        # A tokenizer.json may ask for both. Lengths are the params' business, so that nothing is cut unreported.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        settings = json.loads(self._tokenizer.to_str())
        if settings["model"].get("dropout"):
            raise refused("tokenizer", "its dropout gives other tokens each time: set it to null")
        self._continues: str = settings["model"].get("continuing_subword_prefix") or ""
        self.unknown = _unknown_id(self._tokenizer, settings)
        self.frame, self.sample = _take_frame(self._tokenizer)

    def __contains__(self, token_id: int) -> bool:
        return self._tokenizer.id_to_token(token_id) is not None

    def split(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text without special tokens, and of each the characters [start, end) that it stands for."""
        encoding = self._tokenizer.encode(text)
        return encoding.ids, encoding.offsets

    def mean_length(self, ids: npt.NDArray[np.int64]) -> float:
        """Mean length of known tokens as the vocabulary spells them, in characters, or bytes where it is byte-level.

        0 where none is known.
        """
        if self.unknown is not None:
            ids = ids[ids != self.unknown]
        if not len(ids):
            return 0.0
        distinct, counts = np.unique(ids, return_counts=True)
        names = [self._tokenizer.id_to_token(token) or "" for token in distinct.tolist()]
        return float(counts @ [len(name.removeprefix(self._continues)) for name in names]) / len(ids)


def _unknown_id(tokenizer: Tokenizer, settings: Mapping[str, Any]) -> int | None:
    """The id of the unknown token; None where every byte has a token of its own, so that nothing is unknown."""
    model = settings["model"]
    name, place = model.get("unk_token"), model.get("unk_id")
    place = tokenizer.token_to_id(name) if name is not None else place
    if place is not None:
        return int(place)
    byte_level = '"ByteLevel"' in json.dumps([settings["normalizer"], settings["pre_tokenizer"]])
    tokens = tokenizer.get_vocab()
    if byte_level and all(token in tokens for token in ByteLevel.alphabet()):
        return None
    if model.get("byte_fallback") and all(f"<0x{byte:02X}>" in tokens for byte in range(256)):
        return None
    raise refused("tokenizer", "it has neither an unknown token nor one for each byte, so it would drop characters")


def _take_frame(tokenizer: Tokenizer) -> tuple[Frame, int]:
    """Take the post-processor off a tokenizer, and return what it put around a text and some token of the vocabulary.

    It is found by the example of any text of which tokens are made. The library cannot leave out special tokens alone:
    asked to, it still runs the rest of a template.
    """
    known = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])[:PROBES]
    framed = tokenizer.post_processor
    tokenizer.post_processor = None
    for probe in ("a", *(token for token, _ in known)):
        inside = tokenizer.encode(probe).ids
        if inside:
            break
    else:
        raise refused("tokenizer", "it makes no token, not even of its own vocabulary")
    tokenizer.post_processor = framed
    whole = tokenizer.encode(probe)
    tokenizer.post_processor = None
    special, types = whole.special_tokens_mask, tuple(whole.type_ids)
    start = special.index(0) if 0 in special else 0
    end = start + len(inside)
    # All special ones outside and one type inside, so that any text can stand in the place of this one.
    if whole.ids[start:end] != inside or sum(special) != len(special) - len(inside) or len(set(types[start:end])) > 1:
        raise refused("tokenizer", "its post-processor does more than put special tokens around a text")
    before, after = tuple(whole.ids[:start]), tuple(whole.ids[end:])
    return Frame(before, after, types[:start], types[end:], types[start]), inside[0]

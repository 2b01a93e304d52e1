"""The text modality: from an item to padded token ids, with what was cut or windowed reported."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.errors import InvalidRequest, TooLarge, TwinserveError, UnusableInput
from app.core.modalities.base import Array, Item, Limits, Prepared, Window
from app.core.modalities.text.params import IDS, MASK, TYPES, Params, check, refused
from app.core.modalities.text.plain import is_blank, normalised
from app.core.modalities.text.vocabulary import Vocabulary


def create(params: Mapping[str, Any], assets: Mapping[str, bytes]) -> TextModality:
    """Make the text modality for a bundle. Raises BundleRefused for params or a tokenizer that it does not accept."""
    checked = check(params)
    if checked.tokenizer not in assets:
        raise refused("tokenizer", f"the bundle has no file {checked.tokenizer!r}")
    return TextModality(checked, Vocabulary(assets[checked.tokenizer]))


class TextModality:
    """Modality for text; see base.Modality. Windows are {name in params.inputs: int64 (tokens,)}, not yet padded.

    Raises BundleRefused, when made, where params and vocabulary do not fit together.
    """

    form = "text"
    media_types = ("text/",)

    def __init__(self, params: Params, vocabulary: Vocabulary) -> None:
        self.params = params
        self._vocabulary, self._frame = vocabulary, vocabulary.frame
        if params.pad_id not in vocabulary:
            raise refused("pad_id", f"the tokenizer has no token of id {params.pad_id}")
        if params.lengths[0] <= self._frame.size:
            raise refused("lengths", f"must begin above the {self._frame.size} special tokens, which every text gets")
        self._prefixes = {name: self._measure(name, text) for name, text in params.prefixes.items()}
        longest = max((tokens for _, tokens in self._prefixes.values()), default=0)
        self._room = params.max_tokens - self._frame.size
        room = self._room - longest
        if room < 1:
            raise refused("max_tokens", "special tokens and the longest prefix leave no place for a text")
        # Half at most, so that windows hold at most twice the tokens of the text, and cost no more.
        if 2 * (params.window_overlap or 0) > room:
            raise refused("window_overlap", f"at most half of the {room} tokens that a window holds beside a prefix")

    def prepare(self, item: Item, limits: Limits) -> Prepared:
        """Prepare one text: windows of int64 (tokens,), with the notice `truncated` or `windowed` where it was long.

        Raises InvalidRequest for members it does not know or of a wrong type and for unpaired surrogates, UnusableInput
        for text that is blank, holds NUL or nothing that the tokenizer knows, TooLarge beyond `limits.max_tokens` and
        for more tokens than the graph takes where they are neither cut nor windowed.
        """
        text, (prefix, prefix_tokens), truncate = self._read(item)
        text = normalised(text, self.params.unicode_form, limits.max_tokens)
        if is_blank(text):
            raise UnusableInput("the text is empty or blank: send one that says something")
        ids, spans = self._vocabulary.split(prefix + text)
        # A token that joins the end of the prefix to the beginning of the text is the text's.
        head = next((place for place, (_, end) in enumerate(spans) if end > len(prefix)), len(ids)) if prefix else 0
        if len(ids) + self._frame.size > limits.max_tokens:
            raise self._too_long(ids, limits.max_tokens, "shorten it")
        seen = ids[head : self._room if truncate else len(ids)]
        if all(token == self._vocabulary.unknown for token in seen):
            raise UnusableInput("the model's tokenizer knows nothing in this text: send one in its language and script")
        # In an odd context a prefix can make more tokens than alone; no window has more than `room` was checked for.
        pieces, notices = self._cut(ids, min(head, prefix_tokens), truncate)
        return Prepared(tuple(self._window(piece) for piece in pieces), notices)

    def _read(self, item: Item) -> tuple[str, tuple[str, int], bool]:
        """The members of an item: its text, its prefix with the number of its tokens, and whether it may be cut."""
        if unknown := sorted(set(item) - {"text", "prefix", "truncate"}):
            raise InvalidRequest(f"a text takes no member {unknown[0]!r}; remove it")
        text, truncate = item.get("text"), item.get("truncate", False)
        if not isinstance(text, str):
            raise InvalidRequest("this model takes text: send text, a string")
        if not isinstance(truncate, bool):
            raise InvalidRequest("truncate must be true or false")
        if "prefix" not in item:
            name = self.params.default_prefix
            return text, ("", 0) if name is None else self._prefixes[name], truncate
        if not self._prefixes:
            raise InvalidRequest("this model declares no prefixes; remove prefix")
        if not isinstance(item["prefix"], str) or item["prefix"] not in self._prefixes:
            raise InvalidRequest(f"prefix must be one of {', '.join(sorted(self._prefixes))}")
        return text, self._prefixes[item["prefix"]], truncate

    def _cut(self, ids: list[int], head: int, truncate: bool) -> tuple[list[list[int]], tuple[str, ...]]:
        """Cut tokens to what the graph takes. Each window begins with the first `head` tokens, which are the prefix's.

        Windows are full, and the last ends with the text: a short one would weigh as much in the mean as the others.
        """
        if len(ids) <= self._room:
            return [ids], ()
        if truncate:
            return [ids[: self._room]], ("truncated",)
        if self.params.window_overlap is None:
            advice = "shorten it, or send truncate: true to have its end cut off"
            raise self._too_long(ids, self.params.max_tokens, advice)
        body, size = ids[head:], self._room - head
        starts = [*range(0, len(body) - size, size - self.params.window_overlap), len(body) - size]
        return [ids[:head] + body[start : start + size] for start in starts], ("windowed",)

    def _window(self, ids: Sequence[int]) -> Window:
        frame = self._frame
        rows = {
            IDS: (*frame.before, *ids, *frame.after),
            MASK: (1,) * (len(ids) + frame.size),
            TYPES: (*frame.types_before, *(frame.type_inside,) * len(ids), *frame.types_after),
        }
        return {name: np.array(rows[name], dtype=np.int64) for name in self.params.inputs}

    def _too_long(self, ids: Sequence[int], most: int, advice: str) -> TooLarge:
        tokens = f"{len(ids) + self._frame.size} tokens, special tokens and prefix counted"
        return TooLarge(f"the text makes {tokens}; at most {most} are taken: {advice}")

    def narrow(self, limits: Limits) -> Limits:
        """Tokens: what the graph takes at once, where longer texts are refused."""
        if self.params.long_text == "window":
            return limits
        return replace(limits, max_tokens=min(limits.max_tokens, self.params.max_tokens))

    def summarize(self, window: Window) -> npt.NDArray[np.float32]:
        """Logarithm of the number of tokens, mean length of the known ones, share of unknown ones: (3,).

        Foreign languages and noise fall into many short tokens, or unknown ones. That share goes in steps of a quarter,
        rounded down: an emoji or two must not refuse a text.
        """
        ids = window[IDS][len(self._frame.before) : len(window[IDS]) - len(self._frame.after)]
        unknown = 0 if self._vocabulary.unknown is None else int((ids == self._vocabulary.unknown).sum())
        quarters = 4 * unknown // len(ids)
        return np.array([np.log2(len(ids)), self._vocabulary.mean_length(ids), quarters / 4], dtype=np.float32)

    def bucket(self, window: Window) -> Hashable:
        """The padded length: the first of params.lengths that holds the window."""
        return self._padded(window)

    def collate(self, windows: Sequence[Window]) -> dict[str, Array]:
        """Pad windows of one bucket and stack them: {name in params.inputs: int64 (batch, length)}.

        Padded places hold pad_id among the ids, and 0 in mask and types.
        """
        return self.collate_to(windows, self._padded(windows[0]))

    def length(self, window: Window) -> int:
        """Tokens, special ones counted."""
        return len(window[IDS])

    def collate_to(self, windows: Sequence[Window], length: int) -> dict[str, Array]:
        """The same for windows of any bucket, padded to `length` tokens."""
        shape = (len(windows), length)
        padded: dict[str, Array] = {}
        for name in self.params.inputs:
            padded[name] = np.full(shape, self.params.pad_id if name == IDS else 0, dtype=np.int64)
            for row, window in zip(padded[name], windows, strict=True):
                row[: len(window[name])] = window[name]
        return padded

    def examples(self) -> Sequence[Window]:
        """For each padded length a window that fills it, of one token over and over between the special ones."""
        return [self._window([self._vocabulary.sample] * (size - self._frame.size)) for size in self.params.lengths]

    def _padded(self, window: Window) -> int:
        return next(length for length in self.params.lengths if length >= len(window[IDS]))

    def _measure(self, name: str, prefix: str) -> tuple[str, int]:
        """A prefix in the form in which it is put before texts, and the number of its tokens."""
        try:
            prefix = normalised(prefix, self.params.unicode_form, self.params.max_tokens)
        except TwinserveError as error:
            raise refused(f"prefixes.{name}", error.detail) from error
        return prefix, len(self._vocabulary.split(prefix)[0])

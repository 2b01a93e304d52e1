"""What the text modality does about lengths: truncation, windows, and padding that changes no embedding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tokenizers import Tokenizer

from app.core.modalities.base import Limits
from tests.core.modalities.texts import (
    CLS,
    DIMENSION,
    PREFIXES,
    SENTENCES,
    SEP,
    TEXTS,
    TOKENIZERS,
    UNK,
    WINDOWS,
    bpe,
    encoder,
    ids,
    modality,
    prepared,
    wordpiece,
    words,
)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_truncation_at_every_length_is_that_of_the_library_and_is_reported(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    reference = Tokenizer.from_buffer(tokenizer)
    text = " ".join(SENTENCES[:6])
    whole = len(reference.encode(text).ids)
    for most in range(3, whole + 3):
        reference.enable_truncation(most)
        got = prepared(text, tokenizer, max_tokens=most, lengths=[most], item={"truncate": True})
        assert ids(got) == [reference.encode(text).ids], most
        assert got.notices == (("truncated",) if most < whole else ()), most


def test_truncation_asked_for_wins_over_windows_and_is_not_reported_where_nothing_is_cut() -> None:
    assert prepared(words(90), item={"truncate": True}, **WINDOWS).notices == ("truncated",)
    assert prepared(words(90), item={"truncate": False}, **WINDOWS).notices == ("windowed",)
    assert prepared(words(30), item={"truncate": True}, **WINDOWS).notices == ()


@pytest.mark.parametrize("overlap", [0, 1, 6, 13])
def test_windows_overlap_cover_every_token_in_order_and_keep_special_tokens_and_prefix(overlap: int) -> None:
    prefix, room = [5, 6], 0
    for count in range(1, 120):
        made = modality(**PREFIXES, long_text="window", window_overlap=overlap)
        got = made.prepare({"text": words(count)}, Limits())
        body = ids(prepared(words(count), max_tokens=512, lengths=[512]))[0][1:-1]
        whole = ids(prepared(words(count), max_tokens=512, lengths=[512], **PREFIXES))[0]
        prefix, room = whole[1 : len(whole) - 1 - count], 30 - len(whole) + 2 + count
        if len(whole) <= 32:
            assert (ids(got), got.notices) == ([whole], ())
            continue
        assert got.notices == ("windowed",)
        windows = ids(got)
        assert all(len(window) == 32 and window[0] == CLS and window[-1] == SEP for window in windows)
        assert all(window[1 : 1 + len(prefix)] == prefix for window in windows)
        starts = [*range(0, count - room, room - overlap), count - room]
        assert [window[1 + len(prefix) : -1] for window in windows] == [body[at : at + room] for at in starts]
        assert all(0 < b - a <= room - overlap for a, b in itertools.pairwise(starts))
    assert (len(prefix), room) == (2, 28)


@pytest.mark.parametrize(
    ("sentence", "joined"), [("card in the shop, my bill ", True), ("how do I pay my bill ", False)]
)
def test_windows_keep_the_prefix_and_leave_nothing_out_where_its_last_space_joins_the_first_word(
    sentence: str, joined: bool
) -> None:
    text = sentence * 8
    tokens = Tokenizer.from_buffer(bpe()).encode(f"query: {text}").tokens
    assert tokens[1:6] == ["qu", "er", "y", ":", "Ġcard" if joined else "Ġ"]
    head = 5 if joined else 6
    whole = ids(prepared(text, bpe(), max_tokens=512, lengths=[512], **PREFIXES))[0]
    got = ids(prepared(text, bpe(), **PREFIXES, long_text="window", window_overlap=0))
    assert len(got) > 2
    assert all(window[:head] == whole[:head] for window in got)
    first, last = [token for window in got[:-1] for token in window[head:-1]], got[-1][head:-1]
    body = whole[head:-1]
    assert first == body[: len(first)]
    assert last == body[-len(last) :]
    assert len(first) < len(body) <= len(first) + len(last)


def test_bucket_is_the_first_length_that_holds_the_tokens_and_padding_is_masked() -> None:
    made = modality(inputs=["input_ids", "attention_mask", "token_type_ids"], pad_id=UNK)
    for count in range(1, 31):
        (window,) = made.prepare({"text": words(count)}, Limits()).windows
        bucket = made.bucket(window)
        assert bucket == (8 if count <= 6 else 16 if count <= 14 else 32)
        batch = made.collate([window, window])
        assert {(array.shape, array.dtype.name) for array in batch.values()} == {((2, bucket), "int64")}
        size = count + 2
        assert batch["input_ids"][1, :size].tolist() == window["input_ids"].tolist()
        assert set(batch["input_ids"][1, size:].tolist()) <= {UNK}
        assert batch["attention_mask"].sum(axis=1).tolist() == [size, size]
        assert not batch["token_type_ids"].any()


def test_windows_of_any_bucket_are_padded_to_a_length_that_is_asked_for() -> None:
    made = modality(pad_id=UNK)
    windows = [window for count in (1, 9, 20) for window in made.prepare({"text": words(count)}, Limits()).windows]
    assert [made.length(window) for window in windows] == [3, 11, 22]
    batch = made.collate_to(windows, 23)
    assert {(array.shape, array.dtype.name) for array in batch.values()} == {((3, 23), "int64")}
    assert batch["attention_mask"].sum(axis=1).tolist() == [3, 11, 22]
    for row, window in zip(batch["input_ids"], windows, strict=True):
        size = made.length(window)
        assert row[:size].tolist() == window["input_ids"].tolist()
        assert set(row[size:].tolist()) == {UNK}


def test_examples_reach_every_bucket_once_and_are_as_long_as_it() -> None:
    made = modality()
    assert [made.bucket(window) for window in made.examples()] == [8, 16, 32]
    assert [made.length(window) for window in made.examples()] == [8, 16, 32]
    for window in made.examples():
        assert made.collate([window])["attention_mask"].all()
        assert np.isfinite(made.summarize(window)).all()


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_padding_to_any_length_and_company_in_a_batch_change_no_embedding(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    items = [{"text": text, "truncate": True} for text in TEXTS]
    rows = []
    for lengths in ([64], [8, 16, 64], [16, 64], [*range(4, 18), 64], [33, 64]):
        served = encoder(tokenizer, max_tokens=64, lengths=lengths)
        together = served.embed(items, Limits())
        alone = np.concatenate([served.embed([item], Limits()) for item in items])
        assert np.abs(together - alone).max() <= 1e-6
        rows.append(together)
    assert max(np.abs(other - rows[0]).max() for other in rows) <= 1e-6
    assert np.abs(rows[0] @ rows[0].T - np.eye(len(items)))[~np.eye(len(items), dtype=bool)].max() < 0.9999


def test_bundle_of_texts_replays_its_golden_vectors_warms_and_averages_windows() -> None:
    items = ({"text": SENTENCES[3]}, {"text": words(100)}, {"text": "😀 pay", "prefix": "passage", "truncate": True})
    served = encoder(wordpiece(), items, **PREFIXES, **WINDOWS)
    served.replay_golden()
    assert all(set(seconds) == {1, 32} for seconds in served.warm().values())
    long = served.prepare(items[1], Limits())
    assert len(long.windows) > 2
    mean = served.encode(long.windows).mean(axis=0)
    pooled = served.embed_prepared([long])[0]
    assert pooled.shape == (DIMENSION,)
    assert np.allclose(pooled, mean / np.linalg.norm(mean), rtol=0, atol=1e-6)

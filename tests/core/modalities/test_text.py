"""What the text modality does to sound texts: tokens, Unicode forms, prefixes, summaries; the same anywhere."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from app.core.errors import BundleRefused
from app.core.modalities import create
from app.core.modalities.base import Limits
from tests.core.modalities.texts import (
    CLS,
    PAD,
    PARAMS,
    PREFIXES,
    SENTENCES,
    SEP,
    TEXTS,
    TOKENIZERS,
    WINDOWS,
    bpe,
    edited,
    ids,
    modality,
    prepared,
    wordpiece,
    words,
)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_that_the_tokenizers_library_gives(text: str, kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    expected = Tokenizer.from_buffer(tokenizer).encode(text)
    got = prepared(text, tokenizer, max_tokens=256, lengths=[256], unicode_form="none")
    assert ids(got) == [expected.ids]
    assert got.notices == ()
    assert got.windows[0]["attention_mask"].tolist() == [1] * len(expected.ids)


def test_arrays_are_int64_and_only_those_that_the_graph_takes() -> None:
    everything = ["token_type_ids", "attention_mask", "input_ids"]
    (window,) = prepared("how do I pay", inputs=everything).windows
    assert list(window) == everything
    assert all(array.dtype == np.int64 and array.shape == (6,) for array in window.values())
    assert set(prepared("how").windows[0]) == {"input_ids", "attention_mask"}
    assert set(prepared("how", inputs=["input_ids"], lengths=[32]).windows[0]) == {"input_ids"}


def test_token_types_are_those_of_the_template() -> None:
    tokenizer = Tokenizer.from_buffer(wordpiece())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0 [SEP]:0 [CLS]:2", pair="$A $B", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    (window,) = prepared("how do", tokenizer.to_str().encode(), inputs=inputs).windows
    assert window["input_ids"].tolist()[-2:] == [SEP, CLS]
    assert window["token_type_ids"].tolist() == tokenizer.encode("how do").type_ids == [0, 0, 0, 2]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_texts_equal_in_the_declared_unicode_form_give_equal_tokens(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    composed, wide = "my kůň théâtre", "my ｋůň théâtre"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    forms: dict[tuple[str, str], Any] = {
        (form, text): ids(prepared(text, tokenizer, unicode_form=form, max_tokens=64, lengths=[64]))
        for form in ("none", "NFC", "NFKC")
        for text in (composed, decomposed, wide)
    }
    assert forms["none", composed] != forms["none", decomposed]
    assert forms["NFC", composed] == forms["NFC", decomposed] == forms["none", composed]
    assert forms["NFC", wide] != forms["NFC", composed]
    assert forms["NFKC", wide] == forms["NFKC", decomposed] == forms["none", composed]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_prefix_is_put_before_the_text_by_name_or_by_default(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    plain = ids(prepared("how do I pay", tokenizer))
    query, passage = (ids(prepared(f"{name}: how do I pay", tokenizer)) for name in ("query", "passage"))
    assert len({str(one) for one in (plain, query, passage)}) == 3
    for item, expected in (({}, query), ({"prefix": "passage"}, passage), ({"prefix": "none"}, plain)):
        assert ids(prepared("how do I pay", tokenizer, item=item, **PREFIXES)) == expected
    no_default: dict[str, Any] = {**PREFIXES, "default_prefix": None}
    assert ids(prepared("how do I pay", tokenizer, **no_default)) == plain


def test_lengths_that_the_tokenizer_file_asks_for_change_nothing() -> None:
    tokenizer = Tokenizer.from_buffer(wordpiece())
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(length=30, pad_id=PAD, pad_token="[PAD]")
    asks = tokenizer.to_str().encode()
    assert ids(prepared(words(20), asks)) == ids(prepared(words(20)))
    assert len(ids(prepared(words(20), asks))[0]) == 22


def test_same_text_gives_the_same_arrays_in_any_thread() -> None:
    made = {kind: modality(make(), **WINDOWS, **PREFIXES) for kind, make in TOKENIZERS.items()}
    jobs = [(kind, text * repeats) for kind in made for text in SENTENCES for repeats in (1, 20)]
    expected = {job: ids(made[job[0]].prepare({"text": job[1]}, Limits())) for job in jobs}

    def work(seed: int) -> bool:
        order = random.Random(seed).sample(jobs, len(jobs))
        return all(ids(made[job[0]].prepare({"text": job[1]}, Limits())) == expected[job] for job in order)

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(work, range(6)))


@pytest.mark.parametrize("setting", ["true", "false", None])
def test_parallelism_setting_of_the_library_changes_nothing(setting: str | None) -> None:
    script = (
        "import sys; from tests.core.modalities.texts import WINDOWS, ids, prepared, words\n"
        "print(ids(prepared(words(90), sys.stdin.buffer.read(), **WINDOWS)))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    environment |= {} if setting is None else {"TOKENIZERS_PARALLELISM": setting}
    done = subprocess.run([sys.executable, "-c", script], input=bpe(), env=environment, capture_output=True, check=True)
    assert done.stdout.decode().strip() == str(ids(prepared(words(90), bpe(), **WINDOWS)))
    assert done.stderr == b""


def test_no_network_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    made = create("text", PARAMS, {"tokenizer.json": wordpiece()})
    assert made.prepare({"text": "how do I pay"}, Limits()).windows


def test_summary_tells_noise_and_unknown_scripts_but_not_an_emoji() -> None:
    def summary(text: str, tokenizer: bytes | None = None) -> list[float]:
        made = modality(tokenizer, max_tokens=128, lengths=[128])
        return [float(value) for value in made.summarize(made.prepare({"text": text}, Limits()).windows[0])]

    plain = summary("how do I pay my bill with a card")
    assert plain[0] == np.log2(9, dtype=np.float32)
    assert plain[2] == summary("how do I pay my bill with a 🦖")[2] == 0
    assert summary("how ☃ ☃ ☃")[2] == 0.75
    for tokenizer in (wordpiece(), bpe()):
        assert summary("xq zvk wpt qqj", tokenizer)[1] < 0.7 * summary("why was my card declined", tokenizer)[1]
    assert modality().summarize(prepared("how").windows[0]).dtype == np.float32


def test_special_tokens_written_in_a_text_are_read_as_the_library_reads_them() -> None:
    assert ids(prepared("how [SEP] do")) == [Tokenizer.from_buffer(wordpiece()).encode("how [SEP] do").ids]
    (window,) = prepared("how [PAD] do").windows
    assert window["attention_mask"].tolist() == [1] * 5


@pytest.mark.parametrize(
    "post_processor",
    [
        processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS)),
        processors.RobertaProcessing(("[SEP]", SEP), ("[CLS]", CLS)),
        processors.Sequence([processors.ByteLevel(trim_offsets=True), processors.BertProcessing(("a", 9), ("b", 8))]),
    ],
    ids=["bert", "roberta", "sequence"],
)
def test_special_tokens_are_those_of_any_post_processor(post_processor: Any) -> None:
    tokenizer = Tokenizer.from_buffer(bpe())
    tokenizer.post_processor = post_processor
    expected = tokenizer.encode("query: how do").ids
    got = prepared("how do", tokenizer.to_str().encode(), item={"prefix": "query"}, **PREFIXES)
    assert ids(got) == [expected]
    assert len(expected) == len(tokenizer.encode("query: how do", add_special_tokens=False).ids) + 2


def test_unigram_with_its_unknown_token_is_taken() -> None:
    pieces = [("<unk>", 0.0), ("▁", -3.0), ("▁how", -1.0), ("▁do", -1.5), ("d", -4.0), ("o", -4.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    data = tokenizer.to_str().encode()
    made = modality(data)
    (window,) = made.prepare({"text": "how do ☃"}, Limits()).windows
    assert window["input_ids"].tolist() == tokenizer.encode("how do ☃").ids == [2, 3, 1, 0]
    assert made.summarize(window).tolist() == [2.0, np.float32(8 / 3), 0.25]
    with pytest.raises(BundleRefused, match="neither an unknown token"):
        modality(Tokenizer(models.Unigram(pieces)).to_str().encode())


def test_tokenizer_without_special_tokens_is_taken_as_it_is() -> None:
    bare = edited(bpe(), post_processor=None)
    assert ids(prepared("how do", bare, lengths=[1, 32])) == [ids(prepared("how do", bpe()))[0][1:-1]]

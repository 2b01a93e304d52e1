"""What the text modality refuses: bundles that do not fit together, and texts it cannot or must not take."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, processors

from app.core.errors import BundleRefused, InvalidRequest, TooLarge, TwinserveError, UnusableInput
from app.core.modalities.base import Limits
from app.core.modalities.text import create
from tests.core.modalities.texts import (
    CLS,
    PARAMS,
    PREFIXES,
    SEP,
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": 1}, "params.colour: Extra inputs"),
        ({"unicode_form": "NFD"}, "params.unicode_form:"),
        ({"max_tokens": 0}, "params.max_tokens:"),
        ({"max_tokens": 10**6}, "params.max_tokens:"),
        ({"lengths": []}, "params.lengths:"),
        ({"lengths": [8, 16]}, "params.lengths: must ascend to max_tokens, 32"),
        ({"lengths": [16, 8, 32]}, "params.lengths: must ascend"),
        ({"lengths": [8, 8, 32]}, "params.lengths: must ascend"),
        ({"lengths": [2, 32]}, "params.lengths: must begin above the 2 special tokens"),
        ({"lengths": list(range(15, 33))}, "params.lengths:"),
        ({"pad_id": -1}, "params.pad_id:"),
        ({"pad_id": 10**9}, "params.pad_id: the tokenizer has no token of id 1000000000"),
        ({"inputs": ["input_ids", "position_ids"]}, "params.inputs.1:"),
        ({"inputs": ["attention_mask"]}, "params.inputs: must name input_ids"),
        ({"inputs": ["input_ids", "attention_mask", "input_ids"]}, "params.inputs: .* nothing twice"),
        ({"inputs": ["input_ids"]}, "params.inputs: without attention_mask"),
        ({"default_prefix": "query"}, "params.default_prefix: names none"),
        ({"prefixes": {"q": 5}}, "params.prefixes.q:"),
        ({"prefixes": {"q": "query\0"}}, "params.prefixes.q: the text holds NUL"),
        ({"prefixes": {"q": "\udc80"}}, "params.prefixes.q: the text holds unpaired"),
        ({"prefixes": {"q": words(30)}}, "params.max_tokens: .* leave no place"),
        ({"long_text": "cut"}, "params.long_text:"),
        ({"window_overlap": 3}, "params.window_overlap: belongs to"),
        ({"long_text": "window"}, "params.window_overlap: belongs to"),
        ({"long_text": "window", "window_overlap": -1}, "params.window_overlap:"),
        ({"long_text": "window", "window_overlap": 16}, "params.window_overlap: at most half of the 30 tokens"),
        ({**WINDOWS, "prefixes": {"q": words(20)}}, "params.window_overlap: at most half of the 10 tokens"),
    ],
)
def test_params_that_do_not_fit_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleRefused, match=f"^modality.{words}") as caught:
        modality(**changes)
    assert "\n" not in caught.value.detail


def test_tokenizer_that_the_bundle_does_not_hold_is_refused_by_name() -> None:
    with pytest.raises(BundleRefused, match=r"^modality\.params\.tokenizer: the bundle has no file 'tokenizer.json'"):
        create(PARAMS, {"vocab.txt": wordpiece()})


OPTIONAL = ("default_prefix", "window_overlap")  # a recipe is TOML, which has no null


@pytest.mark.parametrize("field", [name for name in PARAMS if name not in OPTIONAL])
def test_every_param_must_be_stated(field: str) -> None:
    params = {name: value for name, value in PARAMS.items() if name != field}
    with pytest.raises(BundleRefused, match=rf"^modality\.params\.{field}: Field required"):
        create(params, {"tokenizer.json": wordpiece()})


@pytest.mark.parametrize("field", OPTIONAL)
def test_a_param_left_out_is_null(field: str) -> None:
    params = {name: value for name, value in PARAMS.items() if name != field}
    assert getattr(create(params, {"tokenizer.json": wordpiece()}).params, field) is None


def wordlevel(unknown: str) -> bytes:
    return Tokenizer(models.WordLevel({"how": 0, "do": 1}, unk_token=unknown)).to_str().encode()


def random_bpe() -> bytes:
    return edited(bpe(), model={**json.loads(bpe())["model"], "dropout": 0.1})


def doubling() -> bytes:
    tokenizer = Tokenizer.from_buffer(wordpiece())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A $A [SEP]", pair="$A $B", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return tokenizer.to_str().encode()


def silent() -> bytes:
    tokenizer = Tokenizer(models.WordLevel({"how": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Replace(Regex(".+"), "")
    return tokenizer.to_str().encode()


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (b"", "cannot read it"),
        (b"\xff\xfe\x00", "cannot read it"),
        (b"[]", "cannot read it"),
        (b'{"version": "1.0"}', "cannot read it"),
        (wordpiece()[:-40], "cannot read it"),
        (wordlevel("[UNK]"), "neither an unknown token nor one for each byte"),
        (Tokenizer(models.BPE({"a": 0}, [])).to_str().encode(), "neither an unknown token nor one for each byte"),
        (edited(bpe(), pre_tokenizer=None), "neither an unknown token nor one for each byte"),
        (random_bpe(), "dropout"),
        (doubling(), "post-processor"),
        (silent(), "makes no token"),
    ],
)
def test_tokenizer_that_cannot_be_relied_on_is_refused(tokenizer: bytes, words: str) -> None:
    with pytest.raises(BundleRefused, match=rf"^modality\.params\.tokenizer: .*{words}") as caught:
        modality(tokenizer)
    assert "\n" not in caught.value.detail


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"text": "how", "colour": "SECRET"}, "no member 'colour'"),
        ({}, "send text, a string"),
        ({"text": None}, "send text, a string"),
        ({"text": b"SECRET"}, "send text, a string"),
        ({"text": ["SECRET"]}, "send text, a string"),
        ({"text": "how", "truncate": "true"}, "truncate must be true or false"),
        ({"text": "how", "truncate": 1}, "truncate must be true or false"),
        ({"text": "how", "truncate": None}, "truncate must be true or false"),
        ({"text": "how", "prefix": "SECRET"}, "prefix must be one of none, passage, query"),
        ({"text": "how", "prefix": None}, "prefix must be one of none, passage, query"),
        ({"text": "how", "prefix": ["query"]}, "prefix must be one of none, passage, query"),
        ({"text": "SECRET \ud800"}, "unpaired surrogates"),
        ({"text": "\udfff\ud83d SECRET"}, "unpaired surrogates"),
    ],
)
def test_malformed_members_are_named_and_their_content_is_not(item: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        modality(**PREFIXES).prepare(item, Limits())
    assert "SECRET" not in caught.value.detail
    assert caught.value.__cause__ is None


def test_prefix_is_refused_where_the_model_declares_none() -> None:
    with pytest.raises(InvalidRequest, match="declares no prefixes"):
        prepared("how", item={"prefix": "query"})


BLANK = ["", " ", "\t\r\n", "\u00a0\u3000\u2028", "\u200b\ufeff\u2060", "\u202e\u200d", "\x07\x1b\x7f"]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("text", BLANK)
@pytest.mark.parametrize("changes", [{}, PREFIXES])
def test_text_that_shows_nothing_is_refused_even_behind_a_prefix(
    text: str, tokenizer: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(UnusableInput, match="empty or blank"):
        prepared(text, TOKENIZERS[tokenizer](), **changes)


@pytest.mark.parametrize("changes", [{}, PREFIXES])
def test_text_of_which_the_tokenizer_knows_nothing_is_refused_since_all_such_would_match(
    changes: dict[str, Any],
) -> None:
    for text in ("☃", "🦖 🦕", "ᚠᛇᚻ ᛒᛦᚦ", "\ue000"):
        with pytest.raises(UnusableInput, match="knows nothing"):
            prepared(text, **changes)
        assert prepared(text, bpe(), **changes).windows
    assert prepared("how ☃", **changes).windows
    far = "☃ " * 40 + "how"
    with pytest.raises(UnusableInput, match="knows nothing"):
        prepared(far, item={"truncate": True}, **changes)
    assert prepared(far, **WINDOWS, **changes).windows


def test_nul_is_refused_and_other_controls_are_left_to_the_tokenizer() -> None:
    for text in ("how\0", "h\0o\0w\0"):
        with pytest.raises(UnusableInput, match="NUL"):
            prepared(text)
    assert ids(prepared("how\x07 do\x1b")) == ids(prepared("how do"))
    assert ids(prepared("how\x07 do", bpe())) != ids(prepared("how do", bpe()))


def test_endless_combining_marks_are_refused_and_a_few_are_not() -> None:
    assert prepared("do how" + "\u0301" * 30).windows
    for form in ("none", "NFC", "NFKC"):
        with pytest.raises(UnusableInput, match="combining marks"):
            prepared("how" + "\u0301" * 31, unicode_form=form)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_too_many_tokens_are_refused_with_their_number_unless_cut_or_windowed(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    whole = ids(prepared(words(60), tokenizer, max_tokens=512, lengths=[512], **PREFIXES))[0]
    with pytest.raises(TooLarge, match=rf"makes {len(whole)} tokens.* at most 32 are taken.*truncate: true"):
        prepared(words(60), tokenizer, **PREFIXES)


@pytest.mark.parametrize("changes", [{}, WINDOWS])
@pytest.mark.parametrize("truncate", [False, True])
def test_limit_in_tokens_holds_at_its_edge_before_anything_is_cut(truncate: bool, changes: dict[str, Any]) -> None:
    room: dict[str, Any] = {"max_tokens": 100, "lengths": [100], "item": {"truncate": truncate}, **changes}
    assert prepared(words(78), limits=Limits(max_tokens=80), **room).notices == ()
    with pytest.raises(TooLarge, match=r"makes 81 tokens.* at most 80"):
        prepared(words(79), limits=Limits(max_tokens=80), **room)


def test_limit_in_characters_holds_at_its_edge_before_and_after_normalisation() -> None:
    limits = Limits(max_tokens=40)
    assert prepared("how".ljust(640), limits=limits).windows
    with pytest.raises(TooLarge, match="641 characters; at most 640"):
        prepared("how".ljust(641), limits=limits)
    with pytest.raises(TooLarge, match="720 characters; at most 640"):
        prepared("\ufdfa" * 40, limits=limits, unicode_form="NFKC")


MEGABYTE = 1_000_000
LARGE = {
    "words": "how do I pay " * (MEGABYTE // 13),
    "one word": "a" * MEGABYTE,
    "spaces": " " * MEGABYTE,
    "marks": "a" + "\u0327\u0301" * (MEGABYTE // 2),
    "expanding": "\ufdfa" * MEGABYTE,
    "surrogates": "\ud800" * MEGABYTE,
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("name", LARGE)
def test_text_of_a_megabyte_is_refused_at_once(name: str, kind: str) -> None:
    made = modality(TOKENIZERS[kind](), unicode_form="NFKC", **WINDOWS)
    start = time.thread_time()
    with pytest.raises(TooLarge, match="characters; at most 131072"):
        made.prepare({"text": LARGE[name], "truncate": True}, Limits())
    assert time.thread_time() - start < 0.1


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("name", LARGE)
def test_text_of_the_most_characters_taken_does_not_hold_the_service_up(name: str, kind: str) -> None:
    made = modality(TOKENIZERS[kind](), unicode_form="NFKC", **WINDOWS)
    start = time.thread_time()
    try:
        made.prepare({"text": LARGE[name][:131_072], "truncate": True}, Limits())
    except TwinserveError as error:
        assert error.detail  # noqa: PT017 - either outcome is fine, an error without a sentence is not
    assert time.thread_time() - start < 2


def test_any_string_gives_tokens_or_a_documented_error() -> None:
    rng = random.Random(3)
    made = [modality(make(), **WINDOWS, **PREFIXES) for make in TOKENIZERS.values()]
    ranges = ((0, 0x80), (0, 0x800), (0x300, 0x370), (0x590, 0x700), (0x2000, 0x2070), (0, 0x110000))
    for _ in range(400):
        low, high = rng.choice(ranges)
        text = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(80)))
        for one in made:
            try:
                got = one.prepare({"text": text, "truncate": rng.random() < 0.5}, Limits())
            except (UnusableInput, InvalidRequest) as error:
                assert error.detail  # noqa: PT017 - as above
            else:
                assert all(3 <= len(window["input_ids"]) <= 32 for window in got.windows)

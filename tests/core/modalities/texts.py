"""Real tokenizers, made of a few sentences, and a real graph over token ids, for the tests of text."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from app.core.bundle import CPU, Embedding, Golden, Graph, ModalityChoice, seal
from app.core.modalities.base import Limits, Prepared
from app.core.modalities.text import TextModality, create
from app.runtime.encoder import Encoder
from tests.tiny import open_tiny, tiny_draft

SENTENCES = (
    "how do I pay my bill with a card",
    "why was my card declined in the shop this morning",
    "query: what is the exchange rate? passage: it is on the page",
    "Žluťoučký kůň úpěl ďábelské ódy",
    "où est la pièce de théâtre",
    "مرحبا بالعالم كيف حالك",
    "שלום עולם",
    "こんにちは世界 元気ですか",
    "thanks 😀 👍🏽 😀",
)
TEXTS = (
    *SENTENCES,
    "a",
    "ž",
    "😀",
    "مرحبا (world) שלום",
    "👩‍👩‍👧‍👦 my family",
    "tabs\tand\r\nlines\x07",
    "١٢٣ and 123",
    "hello \u202eworld\u202c",
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
PAD, UNK, CLS, SEP = range(4)
DIMENSION = 8

PARAMS: Mapping[str, Any] = {
    "tokenizer": "tokenizer.json",
    "unicode_form": "NFC",
    "max_tokens": 32,
    "lengths": [8, 16, 32],
    "pad_id": PAD,
    "inputs": ["input_ids", "attention_mask"],
    "prefixes": {},
    "default_prefix": None,
    "long_text": "refuse",
    "window_overlap": None,
}
WINDOWS: Mapping[str, Any] = {"long_text": "window", "window_overlap": 6}
PREFIXES: Mapping[str, Any] = {
    "prefixes": {"query": "query: ", "passage": "passage: ", "none": ""},
    "default_prefix": "query",
}


def framed(tokenizer: Tokenizer) -> Tokenizer:
    """With BERT's template around a text."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return tokenizer


@functools.cache
def wordpiece() -> bytes:
    """A tokenizer.json like BERT's, of the words of SENTENCES and their letters.

    Its vocabulary is listed here: the library's trainer for WordPiece gives another one in each process.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    split = pre_tokenizers.BertPreTokenizer()
    known = {word for one in SENTENCES for word, _ in split.pre_tokenize_str(normalizer.normalize_str(one))}
    letters = {letter for word in known for letter in word}
    tokens = [*SPECIAL, *sorted(known | letters), *sorted(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({token: place for place, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, split
    tokenizer.add_special_tokens(SPECIAL)
    return framed(tokenizer).to_str().encode()


@functools.cache
def bpe() -> bytes:
    """A byte-level tokenizer.json like GPT-2's, in BERT's template; it has a token for every byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return framed(tokenizer).to_str().encode()


TOKENIZERS = {"wordpiece": wordpiece, "bpe": bpe}


def edited(tokenizer: bytes, **changes: Any) -> bytes:
    """The same tokenizer.json with top members replaced."""
    return json.dumps(json.loads(tokenizer) | changes).encode()


def modality(tokenizer: bytes | None = None, **changes: Any) -> TextModality:
    return create({**PARAMS, **changes}, {"tokenizer.json": wordpiece() if tokenizer is None else tokenizer})


def prepared(
    text: Any, tokenizer: bytes | None = None, *, limits: Limits | None = None, item: Any = None, **changes: Any
) -> Prepared:
    """A text prepared; `item` holds its further members, `changes` are of the params."""
    return modality(tokenizer, **changes).prepare({"text": text, **(item or {})}, limits or Limits())


def ids(result: Prepared) -> list[list[int]]:
    return [window["input_ids"].tolist() for window in result.windows]


def words(count: int) -> str:
    """A text of that many tokens for `wordpiece`, neighbours different."""
    return " ".join(("how", "do", "my", "card", "shop", "bill", "the")[place % 7] for place in range(count))


def mean_graph(tokens: int = 400, *, masked: bool = True, block: int = 1) -> bytes:
    """Ids and mask, int64 (batch, length), to float32 (batch, 8): the mean under the mask, of unit length.

    One that is not `masked` takes the mask and pays no heed to it; `block` is what it takes whole multiples of.
    """
    table = np.random.default_rng(5).normal(0, 1, (tokens, DIMENSION)).astype(np.float32)
    constants: dict[str, npt.NDArray[Any]] = {
        "table": table,
        "last": np.array([2]),
        "across": np.array([1]),
        "least": np.array(0.0 if masked else 1.0, dtype=np.float32),
        "blocks": np.array([0, -1, block * DIMENSION]),
        "steps": np.array([0, -1, DIMENSION]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["gathered"]),
        helper.make_node("Reshape", ["gathered", "blocks"], ["blocked"]),
        helper.make_node("Reshape", ["blocked", "steps"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["told"], to=TensorProto.FLOAT),
        helper.make_node("Max", ["told", "least"], ["mask"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
        helper.make_node("Mul", ["rows", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "across"], ["sums"], keepdims=0),
        helper.make_node("ReduceSum", ["weights", "across"], ["counts"], keepdims=0),
        helper.make_node("Div", ["sums", "counts"], ["means"]),
        helper.make_node("ReduceL2", ["means"], ["sizes"], axes=[1], keepdims=1),
        helper.make_node("Div", ["means", "sizes"], ["vectors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def encoder(
    tokenizer: bytes,
    items: tuple[Mapping[str, Any], ...] = ({"text": "how"},),
    graph: bytes | None = None,
    **changes: Any,
) -> Encoder:
    """An encoder as it is served, on a sealed bundle whose golden items are `items`; `changes` are of the params."""
    draft = tiny_draft(
        name="words",
        modality=ModalityChoice(name="text", params={**PARAMS, **changes}),
        graph=Graph(inputs=("input_ids", "attention_mask"), output="vectors", precision="fp32", opset=13),
        embedding=Embedding(dimension=DIMENSION, normalized=True, metric="cosine"),
    )
    rows = np.tile(np.eye(1, DIMENSION, dtype=np.float32), (len(items), 1))
    assets, graph = {"tokenizer.json": tokenizer}, graph or mean_graph()
    for _ in range(2):  # first with any vectors, then with those that it gives
        golden = Golden(items, rows, rows, {CPU: 1e-6}, "self")
        opened = open_tiny(seal(draft, graph=graph, golden=golden, assets=assets))
        rows = opened.embed(items, Limits())
    return opened

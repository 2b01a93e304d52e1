"""Tiny sentence-transformers directories with random weights: the shape of MiniLM, of MPNet's inputs, with a Dense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as parts
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

from tests.core.modalities.texts import CLS, PAD, SEP, UNK, wordpiece

README = """---
license: mit
datasets:
- invented/pairs
---
# tiny
"""
DIMENSION, MAX_TOKENS = 32, 40


def write_sentence_encoder(
    folder: Path,
    *,
    kind: str = "bert",
    pooling: Any = "mean",
    further: tuple[str, ...] = ("normalize",),
    include_prompt: bool = True,
    readme: str | None = README,
    **options: Any,
) -> Path:
    """Write a directory as SentenceTransformer.save does; `options` go to SentenceTransformer."""
    torch.manual_seed(7)
    base = folder / "base"
    words = Tokenizer.from_buffer(wordpiece()).get_vocab_size()
    sizes: dict[str, Any] = {"vocab_size": words, "max_position_embeddings": 64, "pad_token_id": PAD}
    if kind == "bert":
        config = BertConfig(
            hidden_size=DIMENSION, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, **sizes
        )
        BertModel(config).save_pretrained(base)
    else:
        distil = DistilBertConfig(dim=DIMENSION, n_layers=2, n_heads=4, hidden_dim=64, **sizes)
        DistilBertModel(distil).save_pretrained(base)
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if kind == "bert" else [])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    assert (PAD, UNK, CLS, SEP) == (0, 1, 2, 3)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_buffer(wordpiece()), model_input_names=names, **special
    )
    tokenizer.save_pretrained(base)
    made: dict[str, Any] = {
        "normalize": parts.Normalize,
        "dense": lambda: parts.Dense(DIMENSION, 24, activation_function=torch.nn.Tanh()),
        "layer_norm": lambda: parts.LayerNorm(DIMENSION),
        "cnn": lambda: parts.CNN(DIMENSION),
    }
    modules: list[Any] = [parts.Transformer(str(base), max_seq_length=MAX_TOKENS)]
    modules.append(parts.Pooling(DIMENSION, pooling_mode=pooling, include_prompt=include_prompt))
    modules += [made[name]() for name in further]
    model = SentenceTransformer(modules=modules, device="cpu", **options)
    model.save(str(folder / "model"), create_model_card=False)
    if readme is not None:
        (folder / "model" / "README.md").write_text(readme, "utf-8")
    return folder / "model"

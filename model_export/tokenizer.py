"""The tokenizer of a text encoder, learnt from its training texts: byte-pair merges (Sennrich et al. 2016).

Byte pairs, because the library's WordPiece trainer gives another vocabulary in each process.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from model_export import recipe

PAD, UNKNOWN = "[PAD]", "[UNK]"


def train_tokenizer(texts: Iterable[str], choice: recipe.Tokenizer) -> bytes:
    """tokenizer.json of the texts: the same texts in the same order give the same bytes. Padding is token 0."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=choice.lowercase)
    # Metaspace marks where words begin; marking where they go on numbers the characters anew in each process.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace()])
    trainer = trainers.BpeTrainer(
        vocab_size=choice.vocabulary,
        special_tokens=[PAD, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str().encode()


def count_tokens(data: bytes) -> int:
    """Size of the vocabulary of a tokenizer.json."""
    return Tokenizer.from_str(data.decode()).get_vocab_size()

"""A directory of sentence-transformers, read: its modules, what it says of preparation, and where it comes from.

The one reader of such directories. `import sentence-transformers` makes bundles of them, training goes on from them
(model_export/encoders/sentences.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from huggingface_hub import ModelCard, snapshot_download
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as parts
from tokenizers import Tokenizer

from app.core.bundle.manifest import sha256_hex
from app.core.modalities.text.params import IDS, MASK, TYPES
from model_export.errors import CommandError
from model_export.graphs import one_line
from model_export.importing.declaring import Metric

TOKENIZER = "tokenizer.json"
MODULES = "modules.json"
WEIGHTS = "model.safetensors"
PARTS = (parts.Transformer, parts.Pooling, parts.Dense, parts.LayerNorm, parts.Dropout, parts.Normalize)
POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens")
OTHER_FORMATS = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack")
"""What a repository may hold besides: the same weights for other libraries."""

SHORTEST, LONGEST = 16, 32768


class Sentences(torch.nn.Module):
    """The modules of a SentenceTransformer one after the other, then unit length where it is asked for.

    What follows the transformer is in float32, whatever precision that is in.
    """

    def __init__(self, model: SentenceTransformer, *, unit: bool) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(cast("Sequence[torch.nn.Module]", list(model)))
        self.unit = unit

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
        """Token ids, mask and, where the model takes them, types: int64 (batch, length); gives float32 (batch, d)."""
        features = {IDS: ids, MASK: mask} | ({} if types is None else {TYPES: types})
        for part in self.parts:
            features = part(features)
            features = {name: _to_float32(value) for name, value in features.items()}
        vectors = features["sentence_embedding"]
        return torch.nn.functional.normalize(vectors, dim=-1) if self.unit else vectors


def _to_float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def find_folder(source: str) -> Path:
    """The directory itself, or a copy of the repository of that name, as the hub's own library fetches it."""
    folder = Path(source)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(source, ignore_patterns=list(OTHER_FORMATS)))
        except Exception as error:  # the library raises many types: names, networks, permissions
            raise CommandError(f"{source}: no such directory, and the hub gives none: {one_line(error)}") from error
    return folder


def copy_directory(folder: Path, to: Path) -> None:
    """Copy what the library reads of a directory to `to`, which is not there yet."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("onnx", "openvino", ".*", *OTHER_FORMATS))


def load_model(folder: Path) -> SentenceTransformer:
    """The model on the CPU in float32, refused where the graph could not be what it is."""
    if not (folder / MODULES).is_file():
        raise CommandError(f"{folder}: holds no {MODULES}, so it does not say how tokens become one vector")
    transformers.utils.logging.disable_progress_bar()
    try:
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever its modules raise
        raise CommandError(f"{folder}: sentence-transformers cannot load it: {one_line(error)}") from error
    for part in model:
        if type(part) not in PARTS:
            known = ", ".join(kind.__name__ for kind in PARTS)
            raise CommandError(f"{folder}: a module is {type(part).__name__}; taken are {known}")
    if not isinstance(model[0], parts.Transformer) or not any(isinstance(part, parts.Pooling) for part in model):
        raise CommandError(f"{folder}: its first module must be a Transformer, and a Pooling must follow")
    for part in model:
        if isinstance(part, parts.Pooling):
            _check_pooling(folder, part, model)
    if model.truncate_dim is not None:
        raise CommandError(f"{folder}: it cuts its vectors to {model.truncate_dim} numbers, which is not reproduced")
    return model.float().eval()


def _check_pooling(folder: Path, pooling: parts.Pooling, model: SentenceTransformer) -> None:
    modes = (pooling.pooling_mode,) if isinstance(pooling.pooling_mode, str) else pooling.pooling_mode
    if other := sorted(set(modes) - set(POOLINGS)):
        raise CommandError(f"{folder}: pooling {other[0]!r} is not reproduced; taken are {', '.join(POOLINGS)}")
    if not pooling.include_prompt and any(model.prompts.values()):
        raise CommandError(f"{folder}: its pooling leaves the prompt's tokens out, which is not reproduced")


def choose_metric(model: SentenceTransformer, chosen: Metric | None) -> tuple[Metric, bool]:
    """The metric, and whether unit length is to be appended. A product of unlike lengths has no scale to calibrate."""
    own = normalises(model)
    said = str(model.similarity_fn_name or "cosine")
    if chosen is None and not own and said not in ("cosine", "euclidean"):
        raise CommandError(
            f"it compares by {said}; say --metric cosine or --metric euclidean (a recipe: encoder.normalise = true or "
            "false) to have it compared so"
        )
    metric: Metric = chosen or ("euclidean" if said == "euclidean" and not own else "cosine")
    unit = metric == "cosine" and not own
    if unit:
        print("its own modules do not normalise: vectors are scaled to unit length in the graph, since cosine does so")
    return metric, unit


def normalises(model: SentenceTransformer) -> bool:
    """Whether its own modules give vectors of unit length."""
    return any(isinstance(part, parts.Normalize) for part in model)


def transformer_of(model: SentenceTransformer) -> parts.Transformer:
    """The module of tokens, which is always the first."""
    return cast("parts.Transformer", model[0])


def input_names(model: SentenceTransformer) -> tuple[str, ...]:
    """The arrays that the transformer takes, as the library makes them."""
    made = model.preprocess(["a"])
    names = tuple(name for name in (IDS, MASK, TYPES) if name in made)
    if other := sorted(name for name, value in made.items() if torch.is_tensor(value) and name not in names):
        raise CommandError(f"its tokenizer makes {other[0]}, which the text modality does not")
    if names[:2] != (IDS, MASK):
        raise CommandError(f"its tokenizer must make {IDS} and {MASK}, and makes {', '.join(names) or 'neither'}")
    return names


def text_params(model: SentenceTransformer, names: tuple[str, ...], overlap: int | None) -> dict[str, Any]:
    """What the text modality must do to give the graph what the library would."""
    tokenizer: Any = transformer_of(model).tokenizer
    longest = model.max_seq_length
    if not longest or longest > LONGEST:
        raise CommandError("it states no max_seq_length: set it in sentence_bert_config.json")
    if tokenizer.pad_token_id is None:
        raise CommandError("its tokenizer has no padding token, so no batch of unequal texts can be run")
    if tokenizer.truncation_side != "right":
        raise CommandError("its tokenizer cuts long texts at their beginning, which the text modality does not")
    prompts = dict(model.prompts) if any(model.prompts.values()) else {}
    # In steps of a third to a half: a seventh of a batch is padding on average, where doubling makes it a quarter.
    steps = sorted(start << step for start in (SHORTEST, SHORTEST * 3 // 2) for step in range(12))
    lengths = [length for length in steps if length < longest]
    return {
        "tokenizer": TOKENIZER,
        "unicode_form": "none",
        "max_tokens": longest,
        "lengths": [*lengths, longest],
        "pad_id": tokenizer.pad_token_id,
        "inputs": list(names),
        "prefixes": prompts,
        "default_prefix": model.default_prompt_name if prompts else None,
        "long_text": "refuse" if overlap is None else "window",
        "window_overlap": overlap,
    }


def tokenizer_of(model: SentenceTransformer) -> bytes:
    """The tokenizer that the library uses, as it uses it, its padding and truncation off."""
    backend = getattr(transformer_of(model).tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise CommandError("its tokenizer is none of the tokenizers library, so no tokenizer.json can be had")
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy.to_str().encode()


def tell_origin(folder: Path, model: SentenceTransformer, unit: bool) -> str:
    """Where the weights come from, in words: what they are, their digest, and the data that README.md names."""
    named = read_card(folder).get("datasets")
    data = ", ".join(map(str, named)) if isinstance(named, list) and named else "data that README.md does not name"
    weights = folder / WEIGHTS
    digest = f", {WEIGHTS} sha256 {sha256_hex(weights.read_bytes())}" if weights.is_file() else ""
    appended = "; scaling to unit length appended at import" if unit else ""
    kind = type(transformer_of(model).auto_model).__name__
    return f"a sentence-transformers directory ({kind}{digest}); trained by its owner on {data}{appended}"


def read_card(folder: Path) -> dict[str, Any]:
    """The metadata at the top of README.md; {} where there are none that can be read."""
    path = folder / "README.md"
    if not path.is_file():
        return {}
    try:
        card = ModelCard(path.read_text("utf-8"), ignore_metadata_errors=True)
        return dict(card.data.to_dict())
    except (ValueError, UnicodeDecodeError) as error:
        print(f"README.md: its metadata cannot be read: {one_line(error)}")
        return {}

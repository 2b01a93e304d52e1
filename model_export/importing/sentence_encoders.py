"""`import sentence-transformers`: a directory of that library as a bundle, its own encode() the original.

Transformer, pooling and normalisation become one graph; the tokenizer goes with it as the bundle's asset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
import transformers
from huggingface_hub import ModelCard, snapshot_download
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as parts
from tokenizers import Tokenizer

from app.core import modalities
from app.core.bundle import CPU, CUDA, Bundle
from app.core.bundle.manifest import sha256_hex
from app.core.modalities.base import Item, Window
from app.core.modalities.text.params import IDS, MASK, TYPES
from app.runtime.encoder import Encoder
from model_export.errors import CommandError
from model_export.graphs import OPSET, export_torch, one_line, strip_metadata
from model_export.importing.declaring import Declared, Metric, bundle_name, make_draft
from model_export.importing.publishing import PARITY, Reference, Rows, check_free, compare, publish, usable
from model_export.precisions.half import check_finite
from model_export.probes import text

TOKENIZER = "tokenizer.json"
WEIGHTS = "model.safetensors"
PARTS = (parts.Transformer, parts.Pooling, parts.Dense, parts.LayerNorm, parts.Dropout, parts.Normalize)
POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens")
LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "torch", "onnx", "onnxscript")
OTHER_FORMATS = ("onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot", "*.msgpack")
"""What a repository may hold besides: the same weights for other libraries."""

SHORTEST, LONGEST = 16, 32768
RANDOM_SIZES, RANDOM_TOKENS = (9, 5, 2, 1), 4096
"""Batches of random tokens that are compared, one for each padded length, and the most tokens in one."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the importer decides where the directory does not: None takes what the library does."""

    metric: Metric | None = None
    window_overlap: int | None = None
    """Tokens that neighbouring windows of a long text share; None refuses long texts."""


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


def import_sentence_encoder(source: str, models: Path, declared: Declared, choices: Choices) -> Path:
    """Write the bundle of a directory, or of a name on the hub, and return its folder. Raises CommandError."""
    declared = replace(declared, name=declared.name or bundle_name(str(Path(source).resolve())))
    check_free(models, declared.name or "", declared.version)
    folder = _folder(source)
    model = _load(folder)
    metric, unit = _metric(model, choices.metric)
    names = _inputs(model)
    params = _params(model, names, choices.window_overlap)
    assets = {TOKENIZER: _tokenizer(model)}
    modality = modalities.create("text", params, assets)
    items = usable(modality, _probes(params))
    framework = np.stack([_encode(model, item, unit) for item in items])
    sentences = Sentences(model, unit=unit).eval()
    batches = list(_random_batches(modality.params.lengths, names, model))  # type: ignore[attr-defined]
    wanted = np.concatenate([_run(sentences, modality.collate(batch)) for batch in batches])
    # Written out, attention gives the same numbers with fewer nodes; the original above ran as the library has it.
    _transformer(model).auto_model.set_attn_implementation("eager")
    print(f"exporting {sum(weight.numel() for weight in sentences.parameters()) / 1e6:.1f} million weights to ONNX")
    graph = _export(sentences, names)
    stated = _stated(folder, declared)
    draft = make_draft(
        stated,
        name=declared.name or "",
        modality="text",
        params=params,
        inputs=names,
        opset=OPSET,
        dimension=framework.shape[1],
        metric=metric,
        normalized=metric == "cosine",
        origin=_origin(folder, model, unit),
        providers=(CPU, CUDA),
        libraries=LIBRARIES,
    )

    def compare_random(encoder: Encoder) -> None:
        got = np.concatenate([encoder.encode(batch) for batch in batches])
        compare(f"{len(batches)} batches of random tokens", got, wanted, PARITY["fp32"])

    reference = Reference(items, framework, "training framework", PARITY["fp32"])
    return publish(models, draft, graph, assets=assets, reference=reference, further=compare_random)


def half_sentence_encoder(folder: Path, bundle: Bundle) -> tuple[Rows, Callable[[], bytes]]:
    """What the directory's own model gives for the golden items of a bundle imported from it, float32 (n, d), and what
    makes its graph with the transformer in float16. Raises CommandError.
    """
    model = _load(folder)
    own = any(isinstance(part, parts.Normalize) for part in model)
    unit = bundle.manifest.embedding.normalized and not own
    vectors = np.stack([_encode(model, item, unit) for item in bundle.golden.items])

    def make() -> bytes:
        transformer = _transformer(model)
        transformer.auto_model.set_attn_implementation("eager")
        check_finite(transformer.half())
        graph = _export(Sentences(model, unit=unit).eval(), bundle.manifest.graph.inputs)
        made: bytes = strip_metadata(graph).SerializeToString(deterministic=True)
        return made

    return vectors, make


def _export(sentences: Sentences, names: Sequence[str]) -> onnx.ModelProto:
    """The modules as a graph of any batch and length."""
    example = {name: torch.ones((2, 8), dtype=torch.int64) for name in names}
    return export_torch(sentences, example, {name: {0: "batch", 1: "length"} for name in names})


def _to_float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _folder(source: str) -> Path:
    """The directory itself, or a copy of the repository of that name, as the hub's own library fetches it."""
    folder = Path(source)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(source, ignore_patterns=list(OTHER_FORMATS)))
        except Exception as error:  # the library raises many types: names, networks, permissions
            raise CommandError(f"{source}: no such directory, and the hub gives none: {one_line(error)}") from error
    if not (folder / "modules.json").is_file():
        raise CommandError(f"{source}: holds no modules.json, so it does not say how tokens become one vector")
    return folder


def _load(folder: Path) -> SentenceTransformer:
    """The model on the CPU in float32, refused where the graph could not be what it is."""
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


def _metric(model: SentenceTransformer, chosen: Metric | None) -> tuple[Metric, bool]:
    """The metric, and whether unit length is to be appended. A product of unlike lengths has no scale to calibrate."""
    own = any(isinstance(part, parts.Normalize) for part in model)
    said = str(model.similarity_fn_name or "cosine")
    if chosen is None and not own and said not in ("cosine", "euclidean"):
        raise CommandError(f"it compares by {said}; say --metric cosine or --metric euclidean to have it compared so")
    metric: Metric = chosen or ("euclidean" if said == "euclidean" and not own else "cosine")
    unit = metric == "cosine" and not own
    if unit:
        print("its own modules do not normalise: vectors are scaled to unit length in the graph, since cosine does so")
    return metric, unit


def _transformer(model: SentenceTransformer) -> parts.Transformer:
    return cast("parts.Transformer", model[0])


def _inputs(model: SentenceTransformer) -> tuple[str, ...]:
    """The arrays that the transformer takes, as the library makes them."""
    made = model.preprocess(["a"])
    names = tuple(name for name in (IDS, MASK, TYPES) if name in made)
    if other := sorted(name for name, value in made.items() if torch.is_tensor(value) and name not in names):
        raise CommandError(f"its tokenizer makes {other[0]}, which the text modality does not")
    if names[:2] != (IDS, MASK):
        raise CommandError(f"its tokenizer must make {IDS} and {MASK}, and makes {', '.join(names) or 'neither'}")
    return names


def _params(model: SentenceTransformer, names: tuple[str, ...], overlap: int | None) -> dict[str, Any]:
    """What the text modality must do to give the graph what the library would."""
    tokenizer: Any = _transformer(model).tokenizer
    longest = model.max_seq_length
    if not longest or longest > LONGEST:
        raise CommandError("it states no max_seq_length: set it in sentence_bert_config.json")
    if tokenizer.pad_token_id is None:
        raise CommandError("its tokenizer has no padding token, so no batch of unequal texts can be run")
    if tokenizer.truncation_side != "right":
        raise CommandError("its tokenizer cuts long texts at their beginning, which the text modality does not")
    prompts = dict(model.prompts) if any(model.prompts.values()) else {}
    lengths = [SHORTEST << step for step in range(12) if SHORTEST << step < longest]
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


def _tokenizer(model: SentenceTransformer) -> bytes:
    """The tokenizer that the library uses, as it uses it, its padding and truncation off."""
    backend = getattr(_transformer(model).tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise CommandError("its tokenizer is none of the tokenizers library, so no tokenizer.json can be had")
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy.to_str().encode()


def _probes(params: dict[str, Any]) -> list[Item]:
    """The sentences, and one for each prefix, all to be cut where they are long, as the library cuts them."""
    sentences = text.probe_items(params["max_tokens"], windowed=False)
    prefixed: list[Item] = [{"text": "How far is the moon?", "prefix": name} for name in params["prefixes"]]
    return [{**item, "truncate": True} for item in (*sentences, *prefixed)]


def _encode(model: SentenceTransformer, item: Item, unit: bool) -> Rows:
    """What the library gives for one text, by itself: float32 (d,). It cuts long texts as `truncate` does."""
    rows = model.encode(
        [item["text"]], prompt_name=item.get("prefix"), normalize_embeddings=unit, show_progress_bar=False
    )
    row: Rows = np.asarray(rows, np.float32)[0]
    return row


def _random_batches(lengths: Sequence[int], names: Sequence[str], model: SentenceTransformer) -> Iterator[list[Window]]:
    """For each padded length a batch of random tokens, of unequal lengths that pad to it."""
    rng = np.random.default_rng(0)
    words = _transformer(model).config.vocab_size
    for place, length in enumerate(lengths):
        size = max(1, min(RANDOM_SIZES[place % len(RANDOM_SIZES)], RANDOM_TOKENS // length))
        shortest = lengths[place - 1] + 1 if place else 1
        batch: list[Window] = []
        for tokens in rng.integers(shortest, length + 1, size):
            rows = {IDS: rng.integers(0, words, tokens), MASK: np.ones(tokens, int), TYPES: np.zeros(tokens, int)}
            batch.append({name: rows[name].astype(np.int64) for name in names})
        yield batch


def _run(sentences: Sentences, arrays: dict[str, Any]) -> Rows:
    with torch.inference_mode():
        return np.asarray(sentences(*(torch.from_numpy(array) for array in arrays.values())).numpy(), np.float32)


def _stated(folder: Path, declared: Declared) -> Declared:
    """Fill in what README.md states of the weights' licence, where the command line says nothing."""
    licence = _readme(folder).get("license")
    if declared.weights_licence is None and isinstance(licence, str):
        return replace(declared, weights_licence=licence)
    return declared


def _origin(folder: Path, model: SentenceTransformer, unit: bool) -> str:
    """Where the weights come from, in words: what they are, their digest, and the data that README.md names."""
    named = _readme(folder).get("datasets")
    data = ", ".join(map(str, named)) if isinstance(named, list) and named else "data that README.md does not name"
    weights = folder / WEIGHTS
    digest = f", {WEIGHTS} sha256 {sha256_hex(weights.read_bytes())}" if weights.is_file() else ""
    appended = "; scaling to unit length appended at import" if unit else ""
    kind = type(_transformer(model).auto_model).__name__
    return f"imported from a sentence-transformers directory ({kind}{digest}); trained by its owner on {data}{appended}"


def _readme(folder: Path) -> dict[str, Any]:
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

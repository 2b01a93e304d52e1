"""`import sentence-transformers`: a bundle gives what the library's own encode gives, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sentence_transformers import SentenceTransformer

from app.core.bundle import Bundle, read_bundle
from app.core.errors import TooLarge
from app.core.modalities.base import Limits
from app.runtime.encoder import Encoder
from model_export import graphs
from model_export.__main__ import main
from model_export.importing import sentence_directories, sentence_encoders
from tests.model_export.importing.tiny_sentences import DIMENSION, MAX_TOKENS, write_sentence_encoder
from tests.serving import client_of, load, make_app

SENTENCES = (
    "How do I pay my bill with a card?",
    "HOW DO I PAY MY BILL WITH A CARD",
    "a",
    "مرحبا بالعالم كيف حالك",
    "thanks 😀 👍🏽, où est la pièce de théâtre",
    "why was my card declined in the shop this morning, and what is the exchange rate",
)


def run(source: Path | str, models: Path, *options: str) -> int:
    arguments = ["--name", "tiny-sentences", "--out", str(models), *options]
    return main(["import", "sentence-transformers", str(source), *arguments])


def refused(source: Path | str, models: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Run the command, which must fail with one line of its own and write nothing; return that line."""
    capsys.readouterr()
    assert run(source, models, *options) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("import: ")]
    assert len(lines) == 1
    assert not models.exists() or not any(models.iterdir())
    return lines[0]


def imported(models: Path) -> Bundle:
    return read_bundle(models / "tiny-sentences" / "1.0.0")


def opened(models: Path) -> Encoder:
    return Encoder(imported(models), device="cpu", threads=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of MiniLM's shape, and `models` with the bundle made of it."""
    folder = tmp_path_factory.mktemp("sentences")
    write_sentence_encoder(folder)
    assert run(folder / "model", folder / "models") == 0
    return folder


def test_embeddings_are_those_of_the_library(work: Path) -> None:
    wanted = SentenceTransformer(str(work / "model"), device="cpu").encode(list(SENTENCES), show_progress_bar=False)
    rows = opened(work / "models").embed([{"text": text} for text in SENTENCES], Limits())
    assert np.abs(rows - wanted).max() < 1e-5
    assert np.abs(rows[0] - rows[-1]).max() > 1e-3


def test_manifest_says_what_the_directory_says(work: Path) -> None:
    bundle = imported(work / "models")
    manifest = bundle.manifest
    assert (manifest.status, bundle.calibration, bundle.golden.source) == ("demonstration", None, "training framework")
    assert manifest.licence.weights == "mit"
    assert manifest.licence.data == "unknown: ask the owner"
    assert "invented/pairs" in manifest.training.data
    assert "appended" not in manifest.training.data
    params = manifest.modality.params
    assert (params["max_tokens"], params["lengths"]) == (MAX_TOKENS, [16, 24, 32, MAX_TOKENS])
    assert params["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
    assert params["prefixes"] == {}
    assert len(bundle.golden.items) >= 12
    assert b'"truncation":null,"padding":null' in bundle.assets["tokenizer.json"]


def test_graph_has_free_axes_and_no_path_of_this_machine(work: Path) -> None:
    bundle = imported(work / "models")
    model = onnx.load_from_string(bundle.graph)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [20]
    for value in model.graph.input:
        assert [dim.dim_param for dim in value.type.tensor_type.shape.dim] == ["batch", "length"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    everything = b"".join(path.read_bytes() for path in (work / "models").rglob("*") if path.is_file())
    assert b"site-packages" not in everything
    assert str(work).encode() not in everything


def test_long_text_is_refused_or_cut_as_the_library_cuts(work: Path) -> None:
    encoder, text = opened(work / "models"), "card " * 200
    with pytest.raises(TooLarge):
        encoder.embed([{"text": text}], Limits())
    wanted = SentenceTransformer(str(work / "model"), device="cpu").encode([text], show_progress_bar=False)
    assert np.abs(encoder.embed([{"text": text, "truncate": True}], Limits()) - wanted).max() < 1e-5


@pytest.mark.anyio
async def test_imported_bundle_serves_without_verdicts(work: Path) -> None:
    async with client_of(make_app(load(imported(work / "models")))) as client:
        body = (
            await client.post("/compare", json={"a": {"text": SENTENCES[0]}, "b": {"text": SENTENCES[0].upper()}})
        ).json()
    assert body["verdict"] == "undetermined"
    assert [one["code"] for one in body["reasons"]] == ["uncalibrated"]
    assert body["score"] > 0.99999  # this tokenizer lower-cases


@pytest.mark.parametrize(
    ("options", "dimension"),
    [
        ({"kind": "distilbert", "pooling": "cls"}, DIMENSION),
        ({"pooling": "max", "further": ("layer_norm", "normalize")}, DIMENSION),
        ({"pooling": ("mean", "cls")}, 2 * DIMENSION),
        ({"pooling": "mean_sqrt_len_tokens", "further": ("dense",)}, 24),
    ],
)
def test_other_modules_and_poolings(tmp_path: Path, options: dict[str, Any], dimension: int) -> None:
    folder = write_sentence_encoder(tmp_path, **options)
    assert run(folder, tmp_path / "models") == 0
    manifest = imported(tmp_path / "models").manifest
    assert manifest.embedding.dimension == dimension
    assert ("token_type_ids" in manifest.graph.inputs) == ("kind" not in options)
    assert ("appended at import" in manifest.training.data) == (
        "normalize" not in options.get("further", ["normalize"])
    )
    library = SentenceTransformer(str(folder), device="cpu")
    wanted = library.encode(list(SENTENCES), normalize_embeddings=True, show_progress_bar=False)
    rows = opened(tmp_path / "models").embed([{"text": text} for text in SENTENCES], Limits())
    assert np.abs(rows - wanted).max() < 1e-5


def test_prompts_become_prefixes_and_long_texts_windows_on_request(tmp_path: Path) -> None:
    prompts = {"query": "query: ", "passage": "passage: "}
    folder = write_sentence_encoder(tmp_path, prompts=prompts, default_prompt_name="query")
    assert run(folder, tmp_path / "models", "--window-overlap", "8") == 0
    params = imported(tmp_path / "models").manifest.modality.params
    assert {name: params["prefixes"][name] for name in prompts} == prompts
    assert params["default_prefix"] == "query"
    assert params["long_text"] == "window"
    library = SentenceTransformer(str(folder), device="cpu")
    wanted = [
        library.encode(SENTENCES[0], prompt_name=name, show_progress_bar=False)
        for name in ("query", "passage", "query")
    ]
    items = [
        {"text": SENTENCES[0]},
        {"text": SENTENCES[0], "prefix": "passage"},
        {"text": SENTENCES[0], "prefix": "query"},
    ]
    rows = opened(tmp_path / "models").embed(items, Limits())
    assert np.abs(rows - np.stack(wanted)).max() < 1e-5
    assert np.abs(rows[0] - rows[1]).max() > 1e-4


def test_distances_are_kept_where_the_model_declares_them_and_dot_products_need_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    euclidean = write_sentence_encoder(tmp_path / "e", further=(), similarity_fn_name="euclidean")
    assert run(euclidean, tmp_path / "e" / "models") == 0
    assert imported(tmp_path / "e" / "models").manifest.embedding.metric == "euclidean"
    dot = write_sentence_encoder(tmp_path / "d", further=(), similarity_fn_name="dot")
    assert "say --metric cosine" in refused(dot, tmp_path / "d" / "models", capsys)
    assert run(dot, tmp_path / "d" / "models", "--metric", "cosine") == 0
    assert imported(tmp_path / "d" / "models").manifest.embedding.normalized


def test_options_fill_the_manifest(tmp_path: Path) -> None:
    folder = write_sentence_encoder(tmp_path, readme=None)
    said = {
        "--version": "2.1.0",
        "--match-means": "asked alike",
        "--not": "answered alike",
        "--intended-use": "Testing.",
        "--weights-licence": "MIT",
        "--data-licence": "CC0",
    }
    assert run(folder, tmp_path / "models", *(word for pair in said.items() for word in pair)) == 0
    manifest = read_bundle(tmp_path / "models" / "tiny-sentences" / "2.1.0").manifest
    assert (manifest.relation.match_means, manifest.relation.not_) == ("asked alike", "answered alike")
    assert (manifest.licence.weights, manifest.licence.data) == ("MIT", "CC0")
    assert manifest.intended_use == "Testing."


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"further": ("cnn",)}, "a module is CNN; taken are Transformer, Pooling"),
        ({"pooling": "lasttoken"}, "pooling 'lasttoken' is not reproduced"),
        ({"include_prompt": False, "prompts": {"query": "query: "}}, "leaves the prompt's tokens out"),
        ({"truncate_dim": 8}, "cuts its vectors to 8 numbers"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], said: str
) -> None:
    folder = write_sentence_encoder(tmp_path, **options)
    assert said in refused(folder, tmp_path / "models", capsys)


def test_directory_that_does_not_say_how_tokens_become_one_vector_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sentence_encoder(tmp_path)
    assert "modules.json" in refused(tmp_path / "base", tmp_path / "models", capsys)


def test_name_that_the_hub_does_not_give_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> str:
        raise OSError("no network here\nand a second line")

    monkeypatch.setattr(sentence_directories, "snapshot_download", offline)
    said = refused("somebody/some-model", tmp_path / "models", capsys)
    assert "somebody/some-model: no such directory" in said
    assert "no network here" in said


def test_graph_that_differs_from_the_library_publishes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_sentence_encoder(tmp_path)
    export = graphs.export_torch

    def wrong(*arguments: Any) -> onnx.ModelProto:
        model = export(*arguments)
        weight = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        values = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return model

    monkeypatch.setattr(sentence_encoders, "export_torch", wrong)
    assert "nothing is written" in refused(folder, tmp_path / "models", capsys)


def test_weights_beyond_one_message_lie_in_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LARGEST_INLINE_BYTES", 10_000)
    assert run(write_sentence_encoder(tmp_path), tmp_path / "models") == 0
    bundle = imported(tmp_path / "models")
    assert bundle.external_data is not None
    opened(tmp_path / "models").replay_golden()

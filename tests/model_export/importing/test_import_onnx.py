"""`import onnx`: what another framework exported serves as a bundle and gives the same vectors, or is refused."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper
from PIL import Image
from tokenizers import Tokenizer

from app.core.bundle import Bundle, read_bundle
from app.core.modalities.base import Limits
from app.runtime.encoder import Encoder
from app.runtime.session import open_session
from model_export import graphs
from model_export.__main__ import main
from model_export.drawings import draw_character, probe_files
from model_export.importing.onnx_spec import Graph, Licence, Modality, Pixels, Relation, Spec
from model_export.probes.pictures import probe_photographs
from tests.core.modalities.texts import wordpiece
from tests.model_export.importing.foreign_graphs import (
    FACE_DIMENSION,
    FACE_SPEC,
    SERIES_SPEC,
    SOUND_SPEC,
    TEXT_SPEC,
    write_face,
    write_series,
    write_sounds,
    write_text,
)
from tests.serving import b64, client_of, load, make_app

ROOT = Path(__file__).resolve().parents[3]


def run(folder: Path, spec: str, graph: Path) -> int:
    """Run the command on a graph beside its spec; bundles go to `folder`/models."""
    (folder / "spec.toml").write_text(spec, "utf-8")
    return main(["import", "onnx", str(graph), "--spec", str(folder / "spec.toml"), "--out", str(folder / "models")])


def refused(folder: Path, spec: str, graph: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must fail with one line and write nothing; return that line."""
    assert run(folder, spec, graph) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not (folder / "models").exists() or not any((folder / "models").iterdir())
    return error


def imported(folder: Path, name: str = "face") -> Bundle:
    return read_bundle(folder / "models" / name / "1.0.0")


def opened(bundle: Bundle) -> Encoder:
    return Encoder(bundle, device="cpu", threads=1)


def plain_pictures() -> list[bytes]:
    """RGB pictures in colour, which no orientation, transparency or bit depth complicates."""
    files = []
    for place in range(5):
        grey = np.asarray(draw_character(place, 1, (150 + 20 * place, 130))).astype(np.float64)
        tint = np.random.default_rng(place).uniform(0.2, 1.0, 3)
        buffer = BytesIO()
        Image.fromarray((grey[:, :, np.newaxis] * tint).astype(np.uint8)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def face_by_hand(graph: Path, data: bytes, *, bgr: bool = False) -> npt.NDArray[np.float64]:
    """What the owner of a face encoder would do with a plain picture, by none of this project's preparation."""
    with Image.open(BytesIO(data)) as picture:
        pixels = np.asarray(picture.resize((112, 112), Image.Resampling.BILINEAR)).astype(np.float32)
    pixels = (pixels[:, :, ::-1] if bgr else pixels) / 127.5 - 1.0
    session = open_session(graph.read_bytes(), device="cpu", threads=1)
    vector = session.run("embedding", {"input.1": np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])})[0]
    return np.asarray(vector / np.linalg.norm(vector.astype(np.float64)), np.float64)


@pytest.mark.parametrize("batch", [1, "n"])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_face_encoder_gives_what_its_owner_gets(tmp_path: Path, batch: int | str, order: str) -> None:
    graph = write_face(tmp_path / "face.onnx", batch=batch)
    assert run(tmp_path, FACE_SPEC.replace('"rgb"', f'"{order}"'), graph) == 0
    rows = opened(imported(tmp_path)).embed([{"bytes": data} for data in plain_pictures()], Limits())
    wanted = np.stack([face_by_hand(graph, data, bgr=order == "bgr") for data in plain_pictures()])
    other = np.stack([face_by_hand(graph, data, bgr=order == "rgb") for data in plain_pictures()])
    assert np.abs(rows - wanted).max() < 1e-6
    assert np.abs(rows - other).max() > 1e-2  # these pictures tell the orders apart


@pytest.mark.parametrize(
    ("options", "looped"),
    [
        ({"batch": 1}, True),
        ({"batch": 4}, True),
        ({"batch": "n", "reshape": True}, True),
        ({"batch": 1, "opset": 9, "ir_version": 3}, True),
        ({"batch": "n"}, False),
    ],
)
def test_fixed_batch_is_looped_and_equals_one_by_one(
    tmp_path: Path, options: dict[str, Any], looped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = write_face(tmp_path / "face.onnx", **options)
    assert run(tmp_path, FACE_SPEC, graph) == 0
    assert ("looped over the batch" in capsys.readouterr().out) == looped
    bundle = imported(tmp_path)
    model = onnx.load_from_string(bundle.graph)
    assert ("Scan" in {node.op_type for node in model.graph.node}) == looped
    first = [one.dim_param or one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim]
    assert first == ["batch", 112, 112, 3]
    encoder = opened(bundle)
    noise = np.random.default_rng(0).integers(0, 256, (37, 112, 112, 3), dtype=np.uint8)
    windows = [{"pixels": one} for one in noise]
    alone = np.concatenate([encoder.encode([one]) for one in windows])
    session = open_session(bundle.graph, device="cpu", threads=1)
    for size in (1, 3, 4, 5, 37):
        assert np.abs(session.run("vectors", {"pixels": noise[:size]}) - alone[:size]).max() < 1e-6
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    assert all(seconds[32] > 0 for seconds in encoder.warm().values())


def test_manifest_says_what_the_spec_says_and_no_path_of_this_machine_remains(tmp_path: Path) -> None:
    assert run(tmp_path, FACE_SPEC, write_face(tmp_path / "face.onnx", batch=1)) == 0
    bundle = imported(tmp_path)
    manifest = bundle.manifest
    assert (manifest.status, bundle.calibration, bundle.golden.source) == ("demonstration", None, "self")
    assert (manifest.relation.match_means, manifest.relation.not_) == ("of the same person", "of the same picture")
    assert (manifest.licence.weights, manifest.licence.data) == ("none: random", "unknown: ask the owner")
    assert manifest.graph.inputs == ("pixels",)
    assert (manifest.graph.opset, manifest.graph.precision) == (14, "fp32")
    assert (manifest.embedding.dimension, manifest.embedding.metric) == (FACE_DIMENSION, "cosine")
    assert "face.onnx" in manifest.training.data
    everything = b"".join(path.read_bytes() for path in (tmp_path / "models").rglob("*") if path.is_file())
    assert b"/home/somebody" not in everything
    assert str(tmp_path).encode() not in everything


@pytest.mark.anyio
async def test_imported_bundle_serves_without_verdicts(tmp_path: Path) -> None:
    assert run(tmp_path, FACE_SPEC, write_face(tmp_path / "face.onnx", batch=1)) == 0
    a, b = plain_pictures()[:2]
    async with client_of(make_app(load(imported(tmp_path)))) as client:
        answer = await client.post("/compare", json={"a": {"base64": b64(a)}, "b": {"base64": b64(b)}})
        described = (await client.get("/models/face")).json()
    assert answer.status_code == 200
    body = answer.json()
    assert body["verdict"] == "undetermined"
    assert [one["code"] for one in body["reasons"]] == ["uncalibrated"]
    assert -1 <= body["score"] <= 1
    assert body["operating_point"] is None
    assert described["golden_source"] == "self: preparation unverified"


def test_half_precision_is_declared_and_agrees_to_its_digits(tmp_path: Path) -> None:
    graph = write_face(tmp_path / "face.onnx", batch="n", dtype=np.float16)
    assert run(tmp_path, FACE_SPEC, graph) == 0
    bundle = imported(tmp_path)
    assert bundle.manifest.graph.precision == "fp16"
    assert min(bundle.golden.tolerance.values()) > 1e-3


def test_euclidean_keeps_the_lengths(tmp_path: Path) -> None:
    spec = FACE_SPEC.replace("[graph]\n", '[graph]\nmetric = "euclidean"\nnormalise = false\n')
    assert run(tmp_path, spec, write_face(tmp_path / "face.onnx", batch=1)) == 0
    bundle = imported(tmp_path)
    assert (bundle.manifest.embedding.metric, bundle.manifest.embedding.normalized) == ("euclidean", False)
    assert np.ptp(np.linalg.norm(bundle.golden.served, axis=1)) > 1e-3


@pytest.mark.parametrize("batch", [1, "n"])
def test_weights_beyond_one_message_lie_in_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int | str
) -> None:
    graph = write_face(tmp_path / "face.onnx", batch=batch)
    monkeypatch.setattr(graphs, "LARGEST_INLINE_BYTES", 1 << 20)
    assert run(tmp_path, FACE_SPEC, graph) == 0
    bundle = imported(tmp_path)
    assert bundle.external_data is not None
    assert len(bundle.external_data) > 1 << 20
    assert len(bundle.graph) < 1 << 20
    opened(bundle).replay_golden()


@pytest.mark.parametrize("batch", [1, 3, "n"])
def test_series_encoder_with_mask_pools_what_is_real(tmp_path: Path, batch: int | str) -> None:
    graph = write_series(tmp_path / "moves.onnx", masked=True, batch=batch)
    assert run(tmp_path, SERIES_SPEC, graph) == 0
    steps = np.round(np.random.default_rng(4).standard_normal((23, 3)), 3).astype(np.float32)
    rows = opened(imported(tmp_path, "moves")).embed([{"values": steps.tolist()}], Limits())
    size = 1 if batch == "n" else int(batch)
    feeds = {"x": np.repeat(steps.T[np.newaxis], size, 0), "valid": np.ones((size, 23), np.int32)}
    features = open_session(graph.read_bytes(), device="cpu", threads=1).run("features", feeds)[0].astype(np.float64)
    wanted = features.mean(axis=0) / np.linalg.norm(features.mean(axis=0))
    assert np.abs(rows[0] - wanted).max() < 1e-6


def test_graph_that_reads_padding_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = write_series(tmp_path / "moves.onnx", masked=False)
    said = refused(tmp_path, SERIES_SPEC.replace(', mask = "valid"', ""), graph, capsys)
    assert "padding to 32, which must change nothing" in said


def test_series_of_one_length_needs_no_mask(tmp_path: Path) -> None:
    graph = write_series(tmp_path / "moves.onnx", masked=False, batch=1, steps=16)
    spec = SERIES_SPEC.replace(', mask = "valid"', "").replace("[16, 32, 64]", "[16]")
    spec = spec.replace("min_steps = 8", "min_steps = 16").replace("max_steps = 64", "max_steps = 16")
    assert run(tmp_path, spec, graph) == 0
    shape = onnx.load_from_string(imported(tmp_path, "moves").graph).graph.input[0].type.tensor_type.shape
    assert [one.dim_param or one.dim_value for one in shape.dim] == ["batch", 16, 3]


@pytest.mark.parametrize("batch", [1, "n"])
def test_text_encoder_takes_its_tokenizer_along(tmp_path: Path, batch: int | str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(wordpiece())
    words = Tokenizer.from_buffer(wordpiece()).get_vocab_size()
    assert run(tmp_path, TEXT_SPEC, write_text(tmp_path / "words.onnx", words, batch=batch)) == 0
    bundle = imported(tmp_path, "words")
    assert bundle.assets == {"tokenizer.json": wordpiece()}
    one, other = opened(bundle).embed([{"text": "pay my bill"}, {"text": "bill my pay"}], Limits())
    assert np.abs(one - other).max() < 1e-6  # a mean knows no order
    rows = opened(bundle).embed([{"text": "pay"}, {"text": "card"}], Limits())
    assert np.abs(rows[0] - rows[1]).max() > 1e-2


@pytest.mark.parametrize("batch", [1, "n"])
def test_sound_encoder_hears_every_format(tmp_path: Path, batch: int | str) -> None:
    graph = write_sounds(tmp_path / "sounds.onnx", batch=batch)
    assert run(tmp_path, SOUND_SPEC, graph) == 0
    bundle = imported(tmp_path, "sounds")
    assert set(bundle.manifest.graph.inputs) == {"features", "mask"}
    opened(bundle).replay_golden()
    assert len(bundle.golden.items) >= 4


def reference(folder: Path, graph: Path, *, shift: float = 0.0) -> str:
    """Write reference vectors of unnormalised length beside the spec; return the spec that names them."""
    vectors = 7.5 * np.stack([face_by_hand(graph, data) for data in plain_pictures()])
    vectors[0, 0] += 7.5 * shift
    items = {f"item_{place}": np.frombuffer(data, np.uint8) for place, data in enumerate(plain_pictures())}
    np.savez(folder / "reference.npz", vectors=vectors.astype(np.float32), **items)  # type: ignore[arg-type]
    return 'reference = "reference.npz"\n' + FACE_SPEC


def test_reference_vectors_of_the_owner_vouch_for_the_preparation(tmp_path: Path) -> None:
    graph = write_face(tmp_path / "face.onnx", batch=1)
    assert run(tmp_path, reference(tmp_path, graph), graph) == 0
    golden = imported(tmp_path).golden
    assert golden.source == "reference vectors of the owner"
    assert [item["bytes"] for item in golden.items] == plain_pictures()
    assert 0 < np.abs(golden.framework - golden.served).max() < 1e-5


def test_preparation_that_misses_the_reference_vectors_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = write_face(tmp_path / "face.onnx", batch=1)
    assert "golden items: differs" in refused(tmp_path, reference(tmp_path, graph, shift=0.01), graph, capsys)
    wrong = reference(tmp_path, graph).replace('"rgb"', '"bgr"')
    assert "golden items: differs" in refused(tmp_path, wrong, graph, capsys)


def test_damaged_reference_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = write_face(tmp_path / "face.onnx", batch=1)
    spec = reference(tmp_path, graph)
    np.savez(tmp_path / "reference.npz", vectors=np.ones((1, 4), np.float32), item_0=np.ones(3))
    assert "item_0 is neither" in refused(tmp_path, spec, graph, capsys)
    (tmp_path / "reference.npz").write_bytes(b"no archive")
    assert "reference.npz" in refused(tmp_path, spec, graph, capsys)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "width = 112",
            "width = 160",
            "takes 3 x 112 x 112 for an item; modality.params and the layout make 3 x 112 x 160",
        ),
        ('"nchw"', '"nhwc"', "modality.params and the layout make 112 x 112 x 3"),
        ('mode = "RGB"', 'mode = "L"', "modality.params and the layout make 1 x 112 x 112"),
        ('output = "embedding"', 'output = "logits"', "the file has no output 'logits'; it has embedding"),
        ('pixels = "input.1"', 'pixels = "data"', "the file has no input 'data'; it has input.1"),
        ('pixels = "input.1"', 'values = "input.1"', "the modality makes pixels, but no 'values'"),
        ("mean = 127.5", "mean = [1.0, 2.0]", "graph.pixels.mean: has 2 numbers for 3 channels"),
        ("scale = 127.5", "scale = 0.0", "scale must be above 0"),
        ("scale = 127.5", "scales = 127.5", "graph.pixels.scales"),
        ("[graph]\n", "[graph]\nnormalise = false\n", "graph.normalise: the file's vectors have lengths from"),
        ("[graph]\n", '[graph]\nmetric = "euclidean"\n', "set graph.normalise = false"),
        ("[graph]\n", '[graph]\npooling = "mean"\n', "mean needs steps x d for an item, the output is 512"),
        ('name = "image"', 'name = "text"', "graph.pixels belongs to modality image"),
        ('name = "face"', 'name = "Face!"', "name: "),
        ('match_means = "of the same person"', "", "relation.match_means"),
    ],
)
def test_spec_that_does_not_fit_is_refused_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    assert old in FACE_SPEC
    assert said in refused(tmp_path, FACE_SPEC.replace(old, new), write_face(tmp_path / "face.onnx", batch=1), capsys)


def test_inputs_that_nothing_feeds_and_new_opsets_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = write_series(tmp_path / "moves.onnx", masked=True)
    spec = SERIES_SPEC.replace(', mask = "valid"', "")
    assert "nothing feeds the file's input 'valid'" in refused(tmp_path, spec, graph, capsys)
    model = onnx.load(graph)
    model.opset_import[0].version = 27
    graph.write_bytes(model.SerializeToString())
    assert "opset 27 is newer than 26" in refused(tmp_path, SERIES_SPEC, graph, capsys)


def test_params_that_take_hardly_any_probe_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tokenizer.json").write_bytes(wordpiece())
    words = Tokenizer.from_buffer(wordpiece()).get_vocab_size()
    spec = TEXT_SPEC.replace("max_tokens = 64", "max_tokens = 3").replace("[16, 64]", "[3]")
    said = refused(tmp_path, spec, write_text(tmp_path / "words.onnx", words), capsys)
    assert "items drawn to check a bundle; at least 4" in said


def test_what_is_no_graph_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = tmp_path / "face.onnx"
    graph.write_bytes(b"\x08\x07junk")
    assert "no whole ONNX graph" in refused(tmp_path, FACE_SPEC, graph, capsys)
    assert "missing.onnx" in refused(tmp_path, FACE_SPEC, tmp_path / "missing.onnx", capsys)


def test_published_version_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = write_face(tmp_path / "face.onnx", batch=1)
    assert run(tmp_path, FACE_SPEC, graph) == 0
    assert run(tmp_path, FACE_SPEC, graph) == 1
    assert "exists already" in capsys.readouterr().err


def test_same_file_and_spec_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        assert run(folder, FACE_SPEC, write_face(folder / "face.onnx", batch=4)) == 0
    assert imported(tmp_path / "one").graph == imported(tmp_path / "two").graph
    assert imported(tmp_path / "one").fingerprint == imported(tmp_path / "two").fingerprint


def test_metadata_inside_inner_graphs_is_stripped() -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["y"], doc_string="/home/a")], "inner", [], [])
    outer = helper.make_graph([helper.make_node("Scan", ["x"], ["y"], body=inner, num_scan_inputs=1)], "outer", [], [])
    model = helper.make_model(outer)
    assert b"/home/a" in model.SerializeToString()
    assert b"/home/a" not in graphs.strip_metadata(model).SerializeToString()


@pytest.mark.parametrize("section", [Spec, Relation, Licence, Modality, Graph, Pixels])
def test_every_field_of_a_spec_is_documented(section: type[Any]) -> None:
    page = (ROOT / "docs" / "importing.md").read_text("utf-8")
    for name, field in section.model_fields.items():
        assert f"`{field.alias or name}`" in page or f".{field.alias or name}`" in page, name


def test_probe_pictures_reach_the_graph_in_all_their_formats(tmp_path: Path) -> None:
    assert run(tmp_path, FACE_SPEC, write_face(tmp_path / "face.onnx", batch=1)) == 0
    assert len(imported(tmp_path).golden.items) == len(probe_files()) + len(probe_photographs())

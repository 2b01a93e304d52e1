"""`inspect`: what a file's graph takes and gives, a draft of its spec that hides no guess, and what a bundle is."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from app.core.bundle import read_bundle
from model_export.__main__ import main
from model_export.importing.declaring import bundle_name
from model_export.importing.onnx_spec import Spec
from tests.core.modalities.texts import wordpiece
from tests.model_export.importing.foreign_graphs import (
    Rows,
    write_face,
    write_model,
    write_series,
    write_sounds,
    write_text,
)

MARKS = ("# KNOWN: ", "# GUESS: ", "# ASK THE OWNER: ")


def drafted(graph: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], dict[str, str], str]:
    """Draft a spec for a graph: what it says, dotted field -> its comment, and what was printed."""
    assert main(["inspect", str(graph), "--draft-spec"]) == 0
    text = graph.with_suffix(".toml").read_text("utf-8")
    comments, section, above = {}, "", ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif " = " in line and not line.startswith("#"):
            comments[section + line.partition(" = ")[0]] = above.removeprefix("# ")
        above = line
    return tomllib.loads(text), comments, capsys.readouterr().out


def refused(graph: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The command must fail with one line and write no draft; return that line."""
    assert main(["inspect", str(graph), "--draft-spec", *options]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not graph.with_suffix(".toml").exists()
    return error


def value(name: str, kind: int, *dims: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(dims))


def write_pictures(
    path: Path,
    *,
    dims: tuple[int | str, ...] = ("n", 3, "h", "w"),
    kind: int = TensorProto.FLOAT,
    begin: tuple[tuple[str, float], ...] = (),
    statistics: tuple[float, float] | None = None,
    last: bool = False,
    channels: int = 3,
) -> Path:
    """Pictures to 6 numbers: `begin` are (operator, constant) that the graph itself begins with, `statistics` the mean
    and variance that a BatchNormalization in front saw, `last` that channels come last.
    """
    rng = np.random.default_rng(0)
    weights: dict[str, Rows] = {"w": rng.standard_normal((6, channels, 3, 3)).astype(np.float32)}
    nodes, name = [], "image"
    if kind != TensorProto.FLOAT:
        nodes, name = [helper.make_node("Cast", [name], ["cast"], to=TensorProto.FLOAT)], "cast"
    for place, (operator, constant) in enumerate(begin):
        weights[f"c{place}"] = np.array(constant, np.float32)
        nodes.append(helper.make_node(operator, [name, f"c{place}"], [f"s{place}"]))
        name = f"s{place}"
    if last:
        nodes.append(helper.make_node("Transpose", [name], ["turned"], perm=[0, 3, 1, 2]))
        name = "turned"
    if statistics is not None:
        for part, number in zip(("g", "b", "m", "v"), (1.0, 0.0, *statistics), strict=True):
            weights[part] = np.full(channels, number, np.float32)
        nodes.append(helper.make_node("BatchNormalization", [name, "g", "b", "m", "v"], ["normed"]))
        name = "normed"
    nodes += [
        helper.make_node("Conv", [name, "w"], ["maps"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
    ]
    return write_model(path, nodes, weights, [value("image", kind, *dims)], [value("pooled", 1, "n", 6, 1, 1)])


def test_every_field_of_a_draft_says_how_sure_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, comments, told = drafted(write_face(tmp_path / "face.onnx", batch=1), capsys)
    assert all(comment.startswith(tuple(mark.removeprefix("# ") for mark in MARKS)) for comment in comments.values())
    sure = {field: comment.partition(": ")[0] for field, comment in comments.items()}
    assert sure["modality.params.width"] == sure["graph.pixels.layout"] == sure["graph.output"] == "KNOWN"
    assert sure["graph.pixels.channels"] == sure["graph.pixels.mean"] == sure["modality.params.fit"] == "GUESS"
    assert sure["relation.match_means"] == sure["licence.weights"] == "ASK THE OWNER"
    Spec.model_validate(spec)
    for field in (field for field, how in sure.items() if how == "GUESS"):
        assert f"guess: {field} = " in told


def test_inspect_prints_what_the_graph_takes_and_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = write_face(tmp_path / "face.onnx", batch=1)
    assert main(["inspect", str(graph)]) == 0
    told = capsys.readouterr().out
    assert "fp32, opset 14, 1,607,584 weights" in told
    assert "takes input.1 float32 (1, 3, 112, 112)" in told
    assert "gives embedding float32 (1, 512)" in told
    assert "seems to be of modality image" in told
    assert [path.name for path in tmp_path.iterdir()] == ["face.onnx"]


def write_kind(folder: Path, kind: str) -> Path:
    """A graph of each kind of input."""
    path = folder / f"{kind}.onnx"
    if kind == "text":
        (folder / "tokenizer.json").write_bytes(wordpiece())
        return write_text(path, Tokenizer.from_buffer(wordpiece()).get_vocab_size())
    if kind == "audio":
        return write_sounds(path, batch="n")
    if kind == "series":
        return write_series(path, masked=True)
    return write_series(path, masked=False, steps=16) if kind == "one_length" else write_face(path, batch="n")


@pytest.mark.parametrize("kind", ["image", "text", "series", "one_length", "audio"])
def test_a_draft_imports_as_it_is_and_says_that_it_is_unverified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    graph = write_kind(tmp_path, kind)
    spec, _, told = drafted(graph, capsys)
    assert spec["modality"]["name"] == {"one_length": "series"}.get(kind, kind)
    assert "It runs: vectors of " in told
    models = tmp_path / "models"
    assert main(["import", "onnx", str(graph), "--spec", str(graph.with_suffix(".toml")), "--out", str(models)]) == 0
    assert "the preparation is unverified" in capsys.readouterr().out
    assert read_bundle(models / kind / "1.0.0").golden.source == "self"


@pytest.mark.parametrize(
    ("options", "scaling", "why"),
    [
        ({"begin": (("Sub", 127.5), ("Mul", 0.0078125))}, (0.0, 1.0), "begins by making x * 0.007812 - 0.9961 of it"),
        ({"begin": (("Div", 255.0),)}, (0.0, 1.0), "begins by making x * 0.003922 + 0 of it"),
        ({"begin": (("Mul", 2.0), ("Add", -1.0))}, (0.0, 255.0), "begins by making x * 2 - 1 of it"),
        ({"statistics": (127.0, 4000.0)}, (0.0, 1.0), "saw values of mean 127 and deviation 63.2"),
        ({"statistics": (0.45, 0.05)}, (0.0, 255.0), "saw values of mean 0.45 and deviation 0.224"),
        ({"dims": ("n", 3, 160, 160)}, (127.5, 128.0), "FaceNet's size"),
        ({}, ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]), "most encoders of colour pictures"),
        ({"channels": 1, "dims": ("n", 1, 64, 48)}, (0.0, 255.0), "most encoders of one channel"),
    ],
)
def test_scaling_is_guessed_from_the_graphs_own_first_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], scaling: tuple[Any, Any], why: str
) -> None:
    spec, comments, _ = drafted(write_pictures(tmp_path / "net.onnx", **options), capsys)
    assert (spec["graph"]["pixels"]["mean"], spec["graph"]["pixels"]["scale"]) == scaling
    assert comments["graph.pixels.mean"].startswith("GUESS: ")
    assert why in comments["graph.pixels.mean"]


def test_layout_and_sizes_come_from_the_graph_and_not_from_habit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"dims": ("n", "h", "w", "c"), "last": True}
    spec, comments, told = drafted(write_pictures(tmp_path / "last.onnx", **options), capsys)
    assert spec["graph"]["pixels"]["layout"] == "nhwc"
    assert comments["graph.pixels.layout"] == "KNOWN: where its first convolution looks for channels"
    assert comments["modality.params.mode"] == "KNOWN: 3 channels"
    assert comments["modality.params.width"].startswith("GUESS: the graph takes any size")
    assert "It runs: vectors of 6 numbers" in told
    wide = write_pictures(tmp_path / "wide.onnx", dims=("n", 1, 64, 48), channels=1, kind=TensorProto.UINT8)
    spec, comments, _ = drafted(wide, capsys)
    params = spec["modality"]["params"]
    assert (params["height"], params["width"], params["mode"]) == (64, 48, "L")
    assert comments["graph.pixels.mean"].startswith("KNOWN: image takes uint8")


def test_tokenizer_and_pooling_beside_the_file_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = json.loads(wordpiece())
    settings["truncation"] = {"direction": "Right", "max_length": 48, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (tmp_path / "onnx").mkdir()
    words = Tokenizer.from_buffer(wordpiece()).get_vocab_size()
    spec, comments, told = drafted(write_text(tmp_path / "onnx" / "model.onnx", words), capsys)
    assert spec["modality"]["assets"] == {"tokenizer.json": "../tokenizer.json"}
    assert spec["name"] == bundle_name(tmp_path.name)  # not model, nor onnx
    assert spec["modality"]["params"]["max_tokens"] == 48
    assert spec["modality"]["params"]["lengths"] == [16, 32, 48]
    assert spec["graph"]["pooling"] == "first"
    assert comments["graph.pooling"].startswith("KNOWN: 1_Pooling/config.json")
    assert "It runs" in told


def test_text_without_a_tokenizer_is_drafted_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, comments, told = drafted(write_text(tmp_path / "model.onnx", 100), capsys)
    assert "It does not run yet: tokenizer.json: No such file" in told
    assert comments["modality.assets"].startswith("GUESS: none lies near the file")


def test_of_two_outputs_one_is_guessed_and_import_still_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights: dict[str, Rows] = {"w": np.eye(3, dtype=np.float32)}
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["logits"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["logits", "w"], ["embedding"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1),
    ]
    outputs = [value("logits", 1, "n", 3), value("embedding", 1, "n", 3), value("label", TensorProto.INT64, "n", 1)]
    graph = write_model(tmp_path / "two.onnx", nodes, weights, [value("x", 1, "n", 16, 3)], outputs, opset=13)
    spec, comments, _ = drafted(graph, capsys)
    assert spec["graph"]["output"] == "embedding"
    assert comments["graph.output"] == "GUESS: its name, of logits, embedding, label"
    path = graph.with_suffix(".toml")
    arguments = ["import", "onnx", str(graph), "--spec", str(path), "--out", str(tmp_path / "models")]
    path.write_text(path.read_text().replace('output = "embedding"', ""))
    assert main(arguments) == 1
    assert "the file has 3 outputs, name one of logits, embedding, label" in capsys.readouterr().err
    path.write_text(path.read_text().replace("[graph]", '[graph]\noutput = "label"'))
    assert main(arguments) == 1
    assert "'label' gives no floating-point numbers" in capsys.readouterr().err


def write_graph(path: Path, nodes: list[onnx.NodeProto], given: list[Any], made: list[Any], **weights: Rows) -> Path:
    return write_model(path, nodes, weights, given, made, opset=13)


def labels_only(path: Path) -> Path:
    nodes = [helper.make_node("ArgMax", ["x"], ["label"], axis=1)]
    return write_graph(path, nodes, [value("x", 1, "n", 16, 3)], [value("label", TensorProto.INT64, "n", 1, 3)])


def one_score(path: Path) -> Path:
    nodes = [helper.make_node("ReduceMean", ["x"], ["score"], axes=[1, 2], keepdims=0)]
    return write_graph(path, nodes, [value("x", 1, "n", 16, 3)], [value("score", 1, "n")])


def maps(path: Path) -> Path:
    nodes = [helper.make_node("Relu", ["image"], ["maps"])]
    return write_graph(path, nodes, [value("image", 1, "n", 3, 32, 32)], [value("maps", 1, "n", 3, 32, 32)])


def table(path: Path) -> Path:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    shape = ("n", 3, 4, 5, 6)
    return write_graph(path, nodes, [value("x", 1, *shape)], [value("y", 1, *shape)])


def strings(path: Path) -> Path:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return write_graph(path, nodes, [value("x", TensorProto.STRING, "n", 1)], [value("y", TensorProto.STRING, "n", 1)])


def custom(path: Path) -> Path:
    write_face(path, batch=1)
    model = onnx.load(path)
    model.graph.node[0].op_type, model.graph.node[0].domain = "Deform", "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    path.write_bytes(model.SerializeToString())
    return path


def without_weights(path: Path) -> Path:
    write_face(path, batch=1)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="face.weights", size_threshold=0)
    (path.parent / "face.weights").unlink()
    return path


def weights_elsewhere(path: Path) -> Path:
    secret = path.parent / "secret"
    secret.write_bytes(bytes(4096))
    folder = path.parent / "inner"
    folder.mkdir()
    write_face(folder / path.name, batch=1)
    model = onnx.load(folder / path.name)
    onnx.save(model, folder / path.name, save_as_external_data=True, location="w", size_threshold=0)
    model = onnx.load(folder / path.name, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../secret"
    (folder / path.name).write_bytes(model.SerializeToString())
    return folder / path.name


def no_graph(path: Path) -> Path:
    path.write_bytes(b"\x80\x04a pickle, perhaps")
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def missing(path: Path) -> Path:
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_graph, "is no whole ONNX graph"),
        (empty, "it has no nodes"),
        (missing, "No such file"),
        (custom, "its operator 'Deform' is of 'com.acme', a library of somebody's own, and such code is never loaded"),
        (without_weights, "its weights lie in 'face.weights', which is not beside it"),
        (weights_elsewhere, "points outside the directory"),
        (labels_only, "gives label int64 with 3 axes: none of it is an embedding"),
        (one_score, "gives score float32 with 1 axis: none of it is an embedding"),
        (maps, "maps is 3 x 32 x 32 for an item, and no spec pools that: export it pooled"),
        (table, "takes x float32 with 5 axes: no kind of input makes that"),
        (strings, "takes x object with 2 axes: no kind of input makes that"),
    ],
)
def test_graph_that_no_spec_could_serve_is_refused_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any, said: str
) -> None:
    assert said in refused(make(tmp_path / "face.onnx"), capsys)


def test_output_that_is_as_long_as_its_item_is_no_embedding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What detectors give: so many numbers as were found, not so many for each item."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["kept"], axes=[2], keepdims=0)]
    graph = write_graph(tmp_path / "moves.onnx", nodes, [value("x", 1, "n", "t", 3)], [value("kept", 1, "n", "k")])
    drafted(graph, capsys)
    path = graph.with_suffix(".toml")
    text = path.read_text().replace("[128]", "[16, 128]").replace("min_steps = 128", "min_steps = 8")
    path.write_text(text)
    assert main(["import", "onnx", str(graph), "--spec", str(path), "--out", str(tmp_path / "models")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "another size for another item (16 numbers, then 128), so it is no embedding" in error


def test_a_draft_never_replaces_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = write_face(tmp_path / "face.onnx", batch=1)
    mine = tmp_path / "mine.toml"
    mine.write_text("mine")
    assert main(["inspect", str(graph), "--draft-spec", str(mine)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert main(["inspect", str(graph), "--draft-spec", str(tmp_path / "other.toml")]) == 0
    assert (tmp_path / "other.toml").exists()


def test_names_of_strangers_neither_break_the_draft_nor_drive_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = 'x"\n[graph]\x1b[2J\x7f'
    nodes = [helper.make_node("ReduceMean", [name], ["y"], axes=[1], keepdims=0)]
    graph = write_graph(tmp_path / "odd.onnx", nodes, [value(name, 1, "n", 16, 3)], [value("y", 1, "n", 3)])
    spec, _, told = drafted(graph, capsys)
    assert spec["graph"]["inputs"] == {"values": name}
    assert "\x1b" not in told
    assert "It runs" in told


def test_inspect_tells_what_a_bundle_is_and_what_it_may_claim(
    tiny_models: Path, uncalibrated_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_models / "tiny" / "1.0.0")]) == 0
    told = capsys.readouterr().out
    bundle = read_bundle(tiny_models / "tiny" / "1.0.0")
    assert bundle.fingerprint in told
    assert f"two items match when they are {bundle.manifest.relation.match_means}" in told
    assert "takes pixels uint8" in told
    assert "reproduced here on CPUExecutionProvider" in told
    assert "fmr_1e-2" in told
    assert main(["inspect", str(uncalibrated_models / "tiny" / "1.0.0")]) == 0
    assert "evidence: none" in capsys.readouterr().out


def test_folder_that_is_no_bundle_is_refused_with_one_line(
    tmp_path: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "inspect: manifest.json: is missing\n"
    assert main(["inspect", str(tiny_models / "tiny" / "1.0.0"), "--draft-spec"]) == 1
    assert "a bundle has its manifest" in capsys.readouterr().err

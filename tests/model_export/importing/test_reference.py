"""`import onnx --reference`: the owner's vectors vouch for a preparation, or tell which other one was meant."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper
from PIL import Image

from app.core.bundle import read_bundle
from app.runtime.session import open_session
from model_export.__main__ import main
from tests.model_export.importing.foreign_graphs import FACE_SPEC, SERIES_SPEC, write_model, write_series

Pixels = npt.NDArray[Any]
FILTERS = Image.Resampling
SIDE, DIMENSION = 24, 12
SPEC = FACE_SPEC.replace("112", str(SIDE))


def write_face(path: Path) -> Path:
    """A small encoder of faces' shape: `input.1` (n, 3, 24, 24) to `embedding` (n, 12), not of unit length."""
    rng = np.random.default_rng(1)
    weights = {
        "conv": rng.standard_normal((6, 3, 3, 3)).astype(np.float32),
        "bias": rng.standard_normal(6).astype(np.float32),
        "fc": (rng.standard_normal((6 * 11 * 11, DIMENSION)) / 30).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input.1", "conv", "bias"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["embedding"]),
    ]
    given = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    made = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", DIMENSION])
    return write_model(path, nodes, weights, [given], [made])


def photographs() -> list[bytes]:
    """Pictures in colour and not square, which tell channel orders, fits and filters apart."""
    files = []
    for place, size in enumerate([(150, 130), (97, 140), (260, 120)]):
        rng = np.random.default_rng(place)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(size, FILTERS.BICUBIC)
        grain = np.asarray(coarse).astype(int) + rng.integers(-40, 40, (size[1], size[0], 3)) + [30, 0, -30]
        buffer = BytesIO()
        Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def stretched(data: bytes, resample: FILTERS = FILTERS.BILINEAR) -> Pixels:
    """float32 (24, 24, 3), values 0 to 255, by Pillow alone."""
    with Image.open(BytesIO(data)) as picture:
        return np.asarray(picture.resize((SIDE, SIDE), resample)).astype(np.float32)


def padded(data: bytes) -> Pixels:
    """The whole picture in the middle of white."""
    with Image.open(BytesIO(data)) as picture:
        scale = min(SIDE / picture.width, SIDE / picture.height)
        small = picture.resize((round(picture.width * scale), round(picture.height * scale)), FILTERS.BILINEAR)
    canvas = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    canvas.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return np.asarray(canvas).astype(np.float32)


def cropped(data: bytes) -> Pixels:
    """The square in the middle."""
    with Image.open(BytesIO(data)) as picture:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        middle = picture.crop((left, top, left + side, top + side))
        return np.asarray(middle.resize((SIDE, SIDE), FILTERS.BILINEAR)).astype(np.float32)


IMAGENET = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def signed(pixels: Pixels) -> Pixels:
    """-1 to 1, as SPEC says."""
    return pixels / 127.5 - 1


OWNERS: dict[str, tuple[Callable[[bytes], Pixels], list[str], str]] = {
    "bgr": (lambda data: signed(stretched(data)[..., ::-1]), ["channel order"], 'graph.pixels.channels = "bgr"'),
    "0 to 1": (lambda data: stretched(data) / 255, ["scaling"], "graph.pixels.mean = 0.0, graph.pixels.scale = 255.0"),
    "0 to 255": (stretched, ["scaling"], "graph.pixels.mean = 0.0, graph.pixels.scale = 1.0"),
    "ImageNet": (
        lambda data: (stretched(data) / 255 - IMAGENET[0]) / IMAGENET[1],
        ["scaling"],
        "graph.pixels.mean = [123.675, 116.28, 103.53], graph.pixels.scale = [58.395, 57.12, 57.375]",
    ),
    "bicubic": (
        lambda data: signed(stretched(data, FILTERS.BICUBIC)),
        ["resizing"],
        'modality.params.resample = "bicubic", modality.params.antialias = true',
    ),
    "pad": (lambda data: signed(padded(data)), ["fit"], 'modality.params.fit = "pad"'),
    "crop": (lambda data: signed(cropped(data)), ["fit"], 'modality.params.fit = "crop"'),
    "bgr, ImageNet, padded": (
        lambda data: ((padded(data) / 255 - IMAGENET[0]) / IMAGENET[1])[..., ::-1],
        ["channel order", "scaling", "fit"],
        "graph.pixels.mean = [103.53, 116.28, 123.675]",
    ),
}


def write_reference(folder: Path, graph: Path, prepare: Callable[[bytes], Pixels]) -> Path:
    """The vectors that an owner with this preparation would give, of their own lengths."""
    session = open_session(graph.read_bytes(), device="cpu", threads=1)
    rows = [
        session.run("embedding", {"input.1": np.ascontiguousarray(prepare(data).transpose(2, 0, 1)[np.newaxis])})[0]
        for data in photographs()
    ]
    items = {f"item_{place}": np.frombuffer(data, np.uint8) for place, data in enumerate(photographs())}
    np.savez(folder / "theirs.npz", vectors=np.stack(rows), **items)  # type: ignore[arg-type]
    return folder / "theirs.npz"


def run(folder: Path, graph: Path, reference: Path, spec: str = SPEC) -> int:
    (folder / "spec.toml").write_text(spec, "utf-8")
    arguments = ["import", "onnx", str(graph), "--spec", str(folder / "spec.toml"), "--out", str(folder / "models")]
    return main([*arguments, "--reference", str(reference)])


def refused(folder: Path, graph: Path, reference: Path, capsys: pytest.CaptureFixture[str], spec: str) -> str:
    """The command must fail with one line and write nothing; return that line."""
    assert run(folder, graph, reference, spec) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not (folder / "models").exists()
    return error


def test_reference_on_the_command_line_vouches_and_says_for_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = write_face(tmp_path / "face.onnx")
    reference = write_reference(tmp_path, graph, lambda data: signed(stretched(data)))
    assert run(tmp_path, graph, reference) == 0
    golden = read_bundle(tmp_path / "models" / "face" / "1.0.0").golden
    assert golden.source == "reference vectors of the owner"
    assert [item["bytes"] for item in golden.items] == photographs()
    told = capsys.readouterr().out
    vouched = next(line for line in told.splitlines() if "they vouch for" in line)
    for axis in ("channel order", "scaling", "fit", "resizing"):
        assert axis in vouched
    # No photograph is turned, and none of them has anything transparent: the reference cannot know of these.
    assert 'they leave turning by EXIF open: met as well with modality.params.orientation = "ignore"' in told
    assert "they leave background open" in told


@pytest.mark.parametrize("owner", OWNERS)
def test_mismatch_names_what_reproduces_the_owners_vectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], owner: str
) -> None:
    prepare, culprits, written = OWNERS[owner]
    graph = write_face(tmp_path / "face.onnx")
    error = refused(tmp_path, graph, write_reference(tmp_path, graph, prepare), capsys, SPEC)
    assert "golden items: differs by" in error
    assert f"the likely culprit is {' and '.join(culprits)}, since they are reproduced with" in error
    assert written in error


def test_scalings_that_the_limit_cannot_tell_apart_are_told_apart_by_closeness(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = write_face(tmp_path / "face.onnx")
    reference = write_reference(tmp_path, graph, lambda data: (stretched(data) - 127.5) / 128)
    strict = "reference_tolerance = 1e-5\n" + SPEC
    said = refused(tmp_path, graph, reference, capsys, strict)
    assert "the likely culprit is scaling" in said
    assert "reproduced with graph.pixels.mean = 127.5, graph.pixels.scale = 128.0" in said
    assert run(tmp_path, graph, reference, strict.replace("1e-5", "1e-2")) == 0
    assert "closer by far with graph.pixels.mean = 127.5, graph.pixels.scale = 128.0" in capsys.readouterr().out


def test_what_the_message_says_imports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare, _, _ = OWNERS["bgr, ImageNet, padded"]
    graph = write_face(tmp_path / "face.onnx")
    reference = write_reference(tmp_path, graph, prepare)
    error = refused(tmp_path, graph, reference, capsys, SPEC)
    best = error.partition("reproduced with ")[2].partition(" (")[0]
    spec = SPEC
    for change in best.replace(" and ", ", ").split(", modality")[0].split(", graph.pixels."):
        name, _, value = change.removeprefix("graph.pixels.").partition(" = ")
        spec = "\n".join(f"{name} = {value}" if line.startswith(f"{name} =") else line for line in spec.splitlines())
    assert run(tmp_path, graph, reference, spec.replace('"stretch"', '"pad"')) == 0


def test_vectors_that_nothing_reproduces_are_said_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = write_face(tmp_path / "face.onnx")
    reference = write_reference(tmp_path, graph, lambda data: signed(stretched(data))[::-1])
    error = refused(tmp_path, graph, reference, capsys, SPEC)
    assert "other preparations reproduces them (nearest, by " in error
    assert "perhaps the items were cropped or aligned before, or the vectors are of other weights" in error


def write_two_outputs(path: Path) -> Path:
    """Steps as they are and their sum, to tell poolings and outputs apart: `x` (batch, steps, 3)."""
    nodes = [
        helper.make_node("Tanh", ["x"], ["steps"]),
        helper.make_node("ReduceMax", ["steps"], ["peak"], axes=[1], keepdims=0),
    ]
    shape: list[str | int | None] = ["n", 16, 3]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info("steps", TensorProto.FLOAT, shape)
    other = helper.make_tensor_value_info("peak", TensorProto.FLOAT, ["n", 3])
    return write_model(path, nodes, {}, [given], [made, other])


TWO_SPEC = (
    SERIES_SPEC.replace('inputs = { values = "x", mask = "valid" }', 'output = "steps"')
    .replace('"nct"', '"ntc"')
    .replace("[16, 32, 64]", "[16]")
    .replace("min_steps = 8", "min_steps = 16")
    .replace("max_steps = 64", "max_steps = 16")
)


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (
            lambda steps: steps[0],
            'the likely culprit is pooling, since they are reproduced with graph.pooling = "first"',
        ),
        (lambda steps: steps.max(axis=0), 'graph.output = "peak", graph.pooling = "none"'),
    ],
)
def test_other_pooling_and_other_output_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pool: Callable[[Pixels], Pixels], said: str
) -> None:
    graph = write_two_outputs(tmp_path / "moves.onnx")
    steps = np.random.default_rng(3).standard_normal((4, 16, 3)).astype(np.float32)
    items = {f"item_{place}": one for place, one in enumerate(steps)}
    vectors = np.stack([pool(np.tanh(one)) for one in steps])
    np.savez(tmp_path / "theirs.npz", vectors=vectors, **items)
    assert said in refused(tmp_path, graph, tmp_path / "theirs.npz", capsys, TWO_SPEC)


def test_series_normalised_by_the_owner_are_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = write_series(tmp_path / "moves.onnx", masked=True)
    steps = 3 + np.random.default_rng(4).standard_normal((5, 20, 3)).astype(np.float32)
    session = open_session(graph.read_bytes(), device="cpu", threads=1)
    vectors = []
    for one in steps:
        centred = ((one - one.mean(axis=0)) / one.std(axis=0)).astype(np.float32)
        feeds = {"x": centred.T[np.newaxis], "valid": np.ones((1, 20), np.int32)}
        vectors.append(session.run("features", feeds)[0].mean(axis=0))
    items = {f"item_{place}": one for place, one in enumerate(steps)}
    np.savez(tmp_path / "theirs.npz", vectors=np.stack(vectors), **items)
    error = refused(tmp_path, graph, tmp_path / "theirs.npz", capsys, SERIES_SPEC)
    assert "the likely culprit is normalisation" in error
    assert 'modality.params.normalisation = "per_item"' in error


PICTURE = np.frombuffer(photographs()[0], np.uint8)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"embeddings": np.ones((1, 12)), "images": PICTURE}, "has 'embeddings', 'images' and no 'vectors'"),
        ({"vectors": np.ones((2, 12)), "item_0": PICTURE}, "2 vectors, but no 'item_1'"),
        ({"vectors": np.ones((1, 12)), "item_0": PICTURE, "x": PICTURE}, "1 vectors, but too many: 'x'"),
        ({"vectors": np.ones(12)}, "12 vectors, but no 'item_0', 'item_1', 'item_10' and 9 more"),
        ({"vectors": np.full((1, 12), np.nan), "item_0": PICTURE}, "must hold vectors (n, d), finite and not zero"),
        ({"vectors": np.zeros((1, 12)), "item_0": PICTURE}, "must hold vectors (n, d), finite and not zero"),
        ({"vectors": np.array(["a"]), "item_0": PICTURE}, "vectors are <U1 1"),
        ({"vectors": np.ones((1, 12)), "item_0": np.ones((8, 8, 3), np.uint8)}, "item_0 is neither bytes"),
        (
            {"vectors": np.ones((1, 12)), "item_0": np.array("text")},
            "reference item_0: a picture takes no member 'text'",
        ),
        ({"vectors": np.ones((1, 12)), "item_0": PICTURE[:90]}, "reference item_0: "),
        (
            {"vectors": np.ones((1, 7)), "item_0": PICTURE},
            "the owner's vectors are of another size, 7, than the graph's",
        ),
        ({"vectors": np.array([{}]), "item_0": PICTURE}, "cannot be read as reference vectors"),
    ],
)
def test_reference_file_of_another_kind_is_refused_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, npt.NDArray[np.generic]], said: str
) -> None:
    graph = write_face(tmp_path / "face.onnx")
    np.savez(tmp_path / "theirs.npz", allow_pickle=True, **arrays)
    assert said in refused(tmp_path, graph, tmp_path / "theirs.npz", capsys, SPEC)


def test_missing_reference_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = write_face(tmp_path / "face.onnx")
    assert "theirs.npz: No such file" in refused(tmp_path, graph, tmp_path / "theirs.npz", capsys, SPEC)


def test_owner_of_euclidean_vectors_who_gave_unit_ones_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = write_face(tmp_path / "face.onnx")
    reference = write_reference(tmp_path, graph, lambda data: signed(stretched(data)))
    with np.load(reference) as arrays:
        given = dict(arrays)
    given["vectors"] = given["vectors"] / np.linalg.norm(given["vectors"], axis=1, keepdims=True)
    np.savez(reference, **given)
    spec = SPEC.replace("[graph]\n", '[graph]\nmetric = "euclidean"\nnormalise = false\n')
    error = refused(tmp_path, graph, reference, capsys, spec)
    assert 'the likely culprit is length, since they are reproduced with graph.metric = "cosine"' in error

"""A bundle is published whole or not at all, and one that is not as it was published is refused in one clear line.

One long file: a rule of refusal is a test of a few lines, and they share the ways to spoil a bundle.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from app.core.bundle import (
    CPU,
    FORMAT_VERSION,
    Golden,
    canonical_json,
    find_bundles,
    highest,
    read_bundle,
    seal,
    write_bundle,
)
from app.core.bundle.contents import dump_golden
from app.core.bundle.manifest import manifest_digest, sha256_hex
from app.core.errors import BundleRefused
from tests.tiny import DIMENSION, make_tiny, open_tiny, tiny_draft, tiny_graph, tiny_item, write_tiny

Fields = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path, uncalibrated_models: Path) -> Path:
    """A private copy of tiny@1.0.0, to be spoilt."""
    shutil.copytree(uncalibrated_models, tmp_path / "models")
    return tmp_path / "models" / "tiny" / "1.0.0"


def edit(folder: Path, change: Callable[[Fields], object], *, seal_again: bool = True) -> None:
    """Change manifest.json, by default with a digest that fits, so that only the rule under test can refuse it."""
    path = folder / "manifest.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    change(fields)
    if seal_again:
        fields["manifest_digest"] = manifest_digest(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")


def replace(folder: Path, file: str, data: bytes) -> None:
    """Replace a listed file and its digest in the manifest; the fingerprint stays as it was."""
    (folder / file).write_bytes(data)
    edit(folder, lambda fields: fields["files"].update({file: sha256_hex(data)}))


def replace_golden(folder: Path, **changes: Any) -> None:
    """Replace arrays of golden.npz (None leaves one out) with digests that fit."""
    with np.load(folder / "golden.npz") as arrays:
        kept: dict[str, Any] = dict(arrays) | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in kept.items() if array is not None})
    replace(folder, "golden.npz", buffer.getvalue())


def refusal(folder: Path) -> str:
    """The one line with which the bundle is refused."""
    with pytest.raises(BundleRefused) as caught:
        read_bundle(folder)
    detail = caught.value.detail
    assert "\n" not in detail
    assert str(folder.parent) not in detail
    return detail


def text(value: str) -> Any:
    return np.frombuffer(value.encode(), dtype=np.uint8)


def test_a_written_bundle_reads_back_equal(tmp_path: Path) -> None:
    bundle = make_tiny(calibrated=False)
    read = read_bundle(write_bundle(tmp_path, bundle, {"MODEL_CARD.md": b"# tiny"}))
    assert read.manifest == bundle.manifest
    assert read.graph == bundle.graph
    assert read.golden.items == bundle.golden.items
    np.testing.assert_array_equal(read.golden.served, bundle.golden.served)


def test_a_calibration_reads_back_equal(tmp_path: Path) -> None:
    bundle = make_tiny()
    read = read_bundle(write_bundle(tmp_path, bundle, {}))
    assert bundle.calibration is not None
    assert read.calibration is not None
    assert read.calibration.model_dump() == bundle.calibration.model_dump()


def test_a_bundle_travels_to_another_process_unchanged() -> None:
    bundle = make_tiny(calibrated=False)
    arrived = pickle.loads(pickle.dumps(bundle))
    assert arrived.manifest == bundle.manifest
    assert open_tiny(arrived).warm()


def test_the_same_contents_give_the_same_bytes() -> None:
    assert make_tiny(calibrated=False).manifest == make_tiny(calibrated=False).manifest


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz", "manifest.json"])
def test_one_flipped_bit_is_refused(folder: Path, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(bytes(data))
    assert refusal(folder).startswith(file)


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz", "manifest.json"])
def test_missing_file_is_refused(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert refusal(folder) == f"{file}: is missing"


@pytest.mark.parametrize("section", [None, "embedding", "graph", "relation", "licence"])
def test_unknown_field_is_refused(folder: Path, section: str | None) -> None:
    edit(folder, lambda fields: (fields[section] if section else fields).update(surprise=1))
    assert refusal(folder) == f"manifest.json: {section + '.' if section else ''}surprise: is no known field"


def test_missing_field_is_refused(folder: Path) -> None:
    edit(folder, lambda fields: fields.pop("intended_use"))
    assert "intended_use" in refusal(folder)


def test_newer_format_is_refused_as_such_even_with_fields_unknown_today(folder: Path) -> None:
    edit(folder, lambda fields: fields.update(format_version=FORMAT_VERSION + 1, surprise=1), seal_again=False)
    assert "format_version" in refusal(folder)
    assert "update" in refusal(folder)


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/hostname", "a/../../secret", "..\\secret", "C:secret", "a//b", "./a", "", "a\nb"]
)
def test_path_leaving_the_bundle_is_refused(folder: Path, path: str) -> None:
    (folder.parent / "secret").write_bytes(b"secret")
    edit(folder, lambda fields: fields["files"].update({path: sha256_hex(b"secret")}))
    assert "is not a plain relative path inside the bundle" in refusal(folder)


def test_link_out_of_the_bundle_is_refused(folder: Path) -> None:
    outside = folder.parent / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)
    assert refusal(folder) == "model.onnx: leads out of the bundle's folder"


def test_manifest_linked_from_elsewhere_is_refused(folder: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "elsewhere.json")
    (folder / "manifest.json").symlink_to(folder.parent / "elsewhere.json")
    assert refusal(folder) == "manifest.json: leads out of the bundle's folder"


def test_link_inside_the_bundle_is_followed(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "real")
    (folder / "model.onnx").symlink_to("real")
    assert read_bundle(folder).key == "tiny@1.0.0"


def test_loop_of_links_is_refused(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("model.onnx")
    assert refusal(folder).startswith("model.onnx: ")


def test_pipe_is_refused_and_does_not_hang(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    assert refusal(folder) == "model.onnx: is not a regular file"


@pytest.mark.parametrize(("name", "version"), [("other", "1.0.0"), ("tiny", "1.0.1")])
def test_folder_of_another_name_is_refused(folder: Path, name: str, version: str) -> None:
    target = folder.parent.parent / name / version
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)
    assert refusal(target) == f"manifest.json: calls itself tiny@1.0.0, but its folder is {name}/{version}"


@pytest.mark.parametrize("name", ["../x", "a/b", "Tiny", "tiny@2", "", "-tiny", "tiny\n"])
def test_name_that_is_no_plain_word_is_refused(folder: Path, name: str) -> None:
    edit(folder, lambda fields: fields.update(name=name))
    assert refusal(folder).startswith("manifest.json: name:")


@pytest.mark.parametrize("version", ["1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.0-rc1", "1.0.0\n"])
def test_version_that_is_no_three_numbers_is_refused(folder: Path, version: str) -> None:
    edit(folder, lambda fields: fields.update(version=version))
    assert refusal(folder).startswith("manifest.json: version:")


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(intended_use="anything"),
        lambda fields: fields["licence"].update(weights="none"),
        lambda fields: fields.update(manifest_digest="0" * 64),
    ],
)
def test_edited_manifest_is_refused(folder: Path, change: Callable[[Fields], object]) -> None:
    edit(folder, change, seal_again=False)
    assert "manifest_digest does not match" in refusal(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["modality"]["params"].update(background=0),
        lambda fields: fields["graph"].update(precision="fp16"),
        lambda fields: fields.update(fingerprint="0" * 64),
    ],
)
def test_fingerprint_that_does_not_follow_from_the_contents_is_refused(
    folder: Path, change: Callable[[Fields], object]
) -> None:
    edit(folder, change)
    assert "fingerprint" in refusal(folder)


def test_cosine_without_unit_rows_is_refused(folder: Path) -> None:
    edit(folder, lambda fields: fields["embedding"].update(normalized=False))
    assert "cosine needs normalized" in refusal(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe{}",
        b'{"name": NaN}',
        b'{"name": "a", "name": "b"}',
        b"[" * 100_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_manifest_that_is_no_json_object_is_refused(folder: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    assert refusal(folder).startswith("manifest.json: ")


def test_oversized_manifest_is_refused_without_parsing(folder: Path) -> None:
    with (folder / "manifest.json").open("ab") as stream:
        stream.write(b" " * 1024 * 1024)
    assert "has more than 1048576 bytes" in refusal(folder)


def test_invalid_calibration_is_refused(folder: Path) -> None:
    replace(folder, "calibration.json", b'{"id": 1}')
    assert re.match(r"calibration\.json: \w+: .*", refusal(folder))


def test_evidence_of_a_demonstration_is_refused_in_a_released_bundle(tmp_path: Path) -> None:
    bundle = make_tiny()
    assert bundle.calibration is not None
    weak = bundle.calibration.model_copy(update={"defaults": {}})
    sealed = seal(bundle.manifest.draft(), graph=bundle.graph, golden=bundle.golden, calibration=weak)
    with pytest.raises(BundleRefused, match="status must be demonstration"):
        write_bundle(tmp_path, sealed, {})


def test_unlisted_files_are_never_read(folder: Path) -> None:
    os.mkfifo(folder / "calibration.json")  # reading it would hang
    (folder / "model.onnx.data").write_bytes(b"anything")
    bundle = read_bundle(folder)
    assert (bundle.calibration, bundle.external_data) == (None, None)


def test_pickled_objects_in_golden_vectors_are_refused(folder: Path) -> None:
    replace_golden(folder, items=np.array([{"base64": ""}], dtype=object))
    assert refusal(folder) == "golden.npz: holds pickled objects"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"served": np.zeros((4, DIMENSION), dtype=np.float64)}, "served is float64"),
        ({"served": np.zeros((4, DIMENSION - 1), dtype=np.float32)}, "served is float32 (4, 15)"),
        ({"framework": np.zeros((3, DIMENSION), dtype=np.float32)}, "framework is float32 (3, 16)"),
        ({"served": np.full((4, DIMENSION), np.nan, dtype=np.float32)}, "served holds numbers that are not finite"),
        ({"served": np.ones((4, DIMENSION), dtype=np.float32)}, "served has rows that are not of unit length"),
        ({"served": None}, "must hold exactly the arrays"),
        ({"other": np.zeros(1)}, "must hold exactly the arrays"),
        ({"items": text("[]")}, "items is empty"),
        ({"items": text('[{"base64": "%"}]')}, "items, tolerance or source cannot be read"),
        ({"items": text('[{"base64": "", "text": ""}]')}, "items, tolerance or source cannot be read"),
        ({"items": np.zeros((2, 2), dtype=np.uint8)}, "items, tolerance or source cannot be read"),
        ({"tolerance": text("[]")}, "tolerance must map providers to positive numbers"),
        ({"tolerance": text(json.dumps({CPU: 0.0}))}, "tolerance must map providers to positive numbers"),
        ({"tolerance": text(json.dumps({CPU: float("nan")}))}, "tolerance must map providers to positive numbers"),
        ({"tolerance": text('{"CUDAExecutionProvider": 0.1}')}, "tolerance is not for the providers"),
        ({"source": text("hearsay")}, "source is none of"),
    ],
)
def test_golden_vectors_that_do_not_fit_are_refused(folder: Path, changes: Fields, fault: str) -> None:
    replace_golden(folder, **changes)
    detail = refusal(folder)
    assert detail.startswith("golden.npz: ")
    assert fault in detail


@pytest.mark.parametrize("data", [b"", b"no zip file", b"PK\x03\x04" + b"\0" * 64])
def test_golden_vectors_that_are_no_archive_are_refused(folder: Path, data: bytes) -> None:
    replace(folder, "golden.npz", data)
    assert refusal(folder).startswith("golden.npz: is damaged")


def external_graph(location: str) -> tuple[bytes, bytes]:
    """The tiny graph with its weights in another file, and that file's bytes."""
    model = onnx.load_model_from_string(tiny_graph())
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    data = bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(len(data))}.items():
        weights.external_data.add(key=key, value=value)
    return model.SerializeToString(), data


def test_external_data_beside_the_graph_is_served(tmp_path: Path) -> None:
    graph, data = external_graph("model.onnx.data")
    plain = make_tiny(calibrated=False)
    bundle = seal(tiny_draft(), graph=graph, golden=plain.golden, external_data=data)
    assert bundle.fingerprint != plain.fingerprint
    read = read_bundle(write_bundle(tmp_path, bundle, {}))
    assert read.external_data == data
    open_tiny(read).replay_golden()


@pytest.mark.parametrize("location", ["weights.bin", "../model.onnx.data", "/etc/hostname"])
def test_external_data_anywhere_else_is_refused(tmp_path: Path, location: str) -> None:
    graph, data = external_graph(location)
    bundle = seal(tiny_draft(), graph=graph, golden=make_tiny(calibrated=False).golden, external_data=data)
    with pytest.raises(BundleRefused, match=r"only model\.onnx\.data is allowed"):
        write_bundle(tmp_path, bundle, {})


def test_external_data_in_a_subgraph_is_found(tmp_path: Path) -> None:
    inner = onnx.load_model_from_string(external_graph("/etc/hostname")[0]).graph
    model = onnx.load_model_from_string(tiny_graph())
    branch = onnx.helper.make_node("If", ["flag"], ["unused"], then_branch=inner, else_branch=inner)
    model.graph.node.append(branch)
    golden = make_tiny(calibrated=False).golden
    with pytest.raises(BundleRefused, match="/etc/hostname"):
        write_bundle(tmp_path, seal(tiny_draft(), graph=model.SerializeToString(), golden=golden), {})


def test_external_data_that_is_not_listed_is_refused(folder: Path, tmp_path: Path) -> None:
    del folder
    graph, _ = external_graph("model.onnx.data")
    bundle = seal(tiny_draft(), graph=graph, golden=make_tiny(calibrated=False).golden)
    with pytest.raises(BundleRefused, match=r"model\.onnx: needs model\.onnx\.data"):
        write_bundle(tmp_path, bundle, {})


@pytest.mark.parametrize("graph", [b"\xff" * 40, b"\x3a\x7f", b"text is no graph"])
def test_graph_that_is_no_protobuf_is_refused(tmp_path: Path, graph: bytes) -> None:
    bundle = seal(tiny_draft(), graph=graph, golden=make_tiny(calibrated=False).golden)
    with pytest.raises(BundleRefused, match=r"model\.onnx: is damaged"):
        write_bundle(tmp_path, bundle, {})


def test_a_published_version_is_never_overwritten(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, calibrated=False)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BundleRefused, match="exists already"):
        write_tiny(tmp_path, calibrated=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_bundle_that_serving_would_refuse_is_not_published(tmp_path: Path) -> None:
    bundle = make_tiny(calibrated=False)
    bad = Golden(bundle.golden.items, bundle.golden.framework, bundle.golden.served * 2, {CPU: 1e-5}, "self")
    with pytest.raises(BundleRefused, match="unit length"):
        write_bundle(tmp_path, seal(tiny_draft(), graph=bundle.graph, golden=bad), {})
    assert find_bundles(tmp_path) == []
    assert list((tmp_path / "tiny").iterdir()) == []


def test_a_document_cannot_replace_a_file_of_the_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match="is a file of the bundle itself"):
        write_bundle(tmp_path, make_tiny(calibrated=False), {"model.onnx": b""})


def test_a_recalibration_keeps_the_fingerprint_and_any_change_to_the_numbers_alters_it() -> None:
    golden, graph = make_tiny(calibrated=False).golden, tiny_graph()
    first = seal(tiny_draft(), graph=graph, golden=golden)
    assert seal(tiny_draft(version="1.0.1"), graph=graph, golden=golden).fingerprint == first.fingerprint
    others = [
        seal(tiny_draft(), graph=graph + b"", golden=golden, assets={"tokenizer.json": b"{}"}),
        seal(tiny_draft(), graph=tiny_graph(normalized=False), golden=golden),
        seal(
            tiny_draft(graph=first.manifest.graph.model_copy(update={"precision": "fp16"})), graph=graph, golden=golden
        ),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_calibrated_bundle_has_the_fingerprint_of_the_uncalibrated_one() -> None:
    assert make_tiny().fingerprint == make_tiny(calibrated=False).fingerprint


def test_assets_read_back(tmp_path: Path) -> None:
    plain = make_tiny(calibrated=False)
    assets = {"vocabulary/words.txt": b"one two", "tokenizer.json": b"{}"}
    bundle = seal(tiny_draft(), graph=plain.graph, golden=plain.golden, assets=assets)
    assert read_bundle(write_bundle(tmp_path, bundle, {})).assets == assets


def test_canonical_json_is_one_text_for_one_value() -> None:
    assert canonical_json({"b": "ü", "a": [1, 1.5, None]}) == '{"a":[1,1.5,null],"b":"ü"}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_items_keep_their_other_members_in_golden_vectors() -> None:
    bundle = make_tiny(calibrated=False)
    items = ({"text": "Grüße", "prefix": "query"}, tiny_item(0, 0))
    rows = bundle.golden.served[:2]
    data = dump_golden(Golden(items, rows, rows, {CPU: 1e-5}, "self"))
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert json.loads(bytes(arrays["items"]))[0] == {"text": "Grüße", "prefix": "query"}


def test_bundles_are_found_and_unfinished_writes_are_not(tmp_path: Path) -> None:
    for path in ("b/1.0.0", "a/2.0.0", "a/10.0.0", "a/.2.0.1.x.tmp", ".hidden/1.0.0", "a/notes", "c/latest"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "c/latest/manifest.json").touch()
    (tmp_path / "aliases.toml").touch()
    found = [folder.relative_to(tmp_path).as_posix() for folder in find_bundles(tmp_path)]
    assert found == ["a/10.0.0", "a/2.0.0", "b/1.0.0", "c/latest"]
    assert find_bundles(tmp_path / "missing") == []


def test_a_name_means_its_highest_released_version() -> None:
    golden, graph = make_tiny(calibrated=False).golden, tiny_graph()

    def manifest(version: str, status: Any = "released") -> Any:
        return seal(tiny_draft(version=version, status=status), graph=graph, golden=golden).manifest

    assert highest([manifest("1.9.0"), manifest("1.10.0"), manifest("2.0.0", "demonstration")]).version == "1.10.0"
    assert highest([manifest("1.9.0", "demonstration"), manifest("1.10.0", "demonstration")]).version == "1.10.0"

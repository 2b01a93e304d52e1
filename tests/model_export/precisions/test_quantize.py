"""`quantize`: a bundle of its own, with its own evidence, or one clear line and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.core.bundle import CPU, read_bundle, write_bundle
from app.core.scoring import GUARD_BAND_FLOORS
from app.runtime.encoder import Encoder
from model_export.__main__ import main
from model_export.precisions import eight_bits, facts
from model_export.precisions.eight_bits import Feeds, Method
from model_export.quantize import MOST_APART
from tests.model_export.pair_tables import write_pictures
from tests.model_export.tiny_omniglot import write_tiny_omniglot, write_tiny_recipe
from tests.tiny import make_tiny, write_tiny


@pytest.fixture(autouse=True)
def _short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "ROUND_SECONDS", 1e-4)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("table"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "models", calibrated=False, status="demonstration")


def quantize(bundle: Path, pairs: Path, precision: str = "int8", *further: str) -> int:
    return main(["quantize", str(bundle), "--precision", precision, "--pairs", str(pairs), *further])


def test_int8_is_a_bundle_of_its_own_with_its_own_evidence(
    tiny: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(tiny, pairs, "int8", "--population", "our own patterns", "--unit", "pattern") == 0
    printed = capsys.readouterr().out
    whole, small = read_bundle(tiny), read_bundle(tiny.parents[1] / "tiny-int8" / "1.0.1")
    assert (small.name, small.manifest.graph.precision) == ("tiny-int8", "int8")
    assert small.fingerprint != whole.fingerprint
    assert np.array_equal(small.golden.framework, whole.golden.framework)
    assert not np.array_equal(small.golden.served, whole.golden.served)
    assert (small.golden.source, set(small.golden.tolerance)) == (whole.golden.source, {CPU})
    Encoder(small, device="cpu", threads=1).replay_golden()
    assert small.calibration is not None
    assert small.calibration.population == "our own patterns"
    assert small.calibration.guard_band >= GUARD_BAND_FLOORS["int8"] == 1e-3
    assert "int8 of tiny@1.0.0: 8-bit weights, dynamic ranges" in small.manifest.training.data
    for said in (
        "fp32: opset 13; takes pixels uint8 (batch, 8, 8, 1); gives vectors float32 (batch, 16)",
        "int8: opset 13;",
        "x fp32)",
        "| precision | MB | ms an item, 1 at a time | ms an item, 32 at a time |",
        "What int8 loses against fp32",
    ):
        assert said in printed


def test_quantising_again_gives_the_same_bytes_under_the_next_version(tiny: Path, pairs: Path) -> None:
    assert quantize(tiny, pairs) == quantize(tiny, pairs) == 0
    first, second = (read_bundle(tiny.parents[1] / "tiny-int8" / version) for version in ("1.0.1", "1.0.2"))
    assert (first.graph, first.fingerprint) == (second.graph, second.fingerprint)


def damaged(share: float) -> Callable[[bytes, Callable[[], Sequence[Feeds]]], tuple[bytes, Method]]:
    """What to_int8 does, then a share of the weights set to 0."""
    real = eight_bits.to_int8

    def make(graph: bytes, feeds: Callable[[], Sequence[Feeds]]) -> tuple[bytes, Method]:
        small, method = real(graph, feeds)
        model = onnx.load_from_string(small)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2:
                weights = onnx.numpy_helper.to_array(tensor).copy()
                weights[: int(share * len(weights))] = 0
                tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
        return bytes(model.SerializeToString()), method

    return make


@pytest.mark.parametrize(("share", "said"), [(0.9, "golden vector"), (0.95, "impostors")])
def test_a_damaged_graph_is_refused_with_the_figures_and_nothing_is_written(
    *,
    share: float,
    said: str,
    tiny: Path,
    pairs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("model_export.quantize.to_int8", damaged(share))
    if said == "impostors":  # past the first check, which knows no pairs
        monkeypatch.setitem(MOST_APART, "int8", 2.0)
    assert quantize(tiny, pairs) == 1
    error = capsys.readouterr().err
    assert error.startswith("quantize: int8 is refused and nothing is written: ")
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in tiny.parents[1].iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("precision", "further", "said"),
    [
        ("fp16", (), "name with --from the run folder, or the sentence-transformers directory"),
        ("fp16", ("--from", "tests"), "neither a run folder nor a sentence-transformers directory"),
        ("int8", ("--from", "tests"), "--from is for fp16"),
        ("int8", ("--out", "pyproject.toml"), "pyproject.toml"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    *, precision: str, further: tuple[str, ...], said: str, tiny: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(tiny, pairs, precision, *further) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in tiny.parents[1].iterdir()] == ["tiny"]


def test_a_quantised_bundle_is_not_quantised_again(
    tmp_path: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_tiny(name="tiny-fp16", calibrated=False, status="demonstration", half=True)
    assert quantize(write_bundle(tmp_path, bundle, {}), pairs) == 1
    assert "is fp16 already" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny trained run, its bundle and its recipe."""
    folder = tmp_path_factory.mktemp("trained")
    write_tiny_omniglot(folder / "data" / "omniglot")
    recipe = str(write_tiny_recipe(folder / "tiny.toml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINSERVE_DATA", str(folder / "data"))
        patch.setattr(facts, "ROUND_SECONDS", 1e-4)
        assert main(["train", recipe, "--out", str(folder / "run")]) == 0
        assert main(["export", str(folder / "run"), "--out", str(folder / "models")]) == 0
    return folder


def test_a_run_is_quantised_to_fp16_and_by_its_training_items_to_int8(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(trained / "data"))
    bundle, recipe = str(trained / "models" / "glyphs" / "1.0.0"), str(trained / "tiny.toml")
    half = ["--precision", "fp16", "--from", str(trained / "run")]
    assert main(["quantize", bundle, *half, "--recipe", recipe]) == 0
    assert main(["quantize", bundle, "--precision", "int8", "--recipe", recipe]) == 0
    printed = capsys.readouterr().out
    assert "fp16 is for CUDA" in printed
    assert "ranges of activations: 200 windows of 200 items" in printed
    whole = read_bundle(Path(bundle))
    for precision, most in (("fp16", 0.65), ("int8", 0.95)):
        small = read_bundle(trained / "models" / f"glyphs-{precision}" / "1.0.1")
        assert len(small.graph) < most * len(whole.graph)
        assert small.manifest.graph.precision == precision
        assert small.calibration is not None
        assert small.calibration.source == "shipped"
        assert small.calibration.operating_points[0].verified is not None


def test_the_command_exports_the_same_half_graph_each_time(trained: Path) -> None:
    from model_export.precisions.sources import half_graph  # noqa: PLC0415

    bundle = read_bundle(trained / "models" / "glyphs" / "1.0.0")
    assert half_graph(trained / "run", bundle) == half_graph(trained / "run", bundle)


def test_fp16_is_made_of_the_bundles_own_run_only(
    trained: Path, tiny: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(tiny, pairs, "fp16", "--from", str(trained / "run")) == 1
    assert "is not what tiny@1.0.0 was made from" in capsys.readouterr().err


def test_export_prints_opset_inputs_size_and_speed(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(trained / "run"), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "fp32: opset 20; takes pixels uint8 (batch, 48, 48, 1); gives vectors float32 (batch, 16)" in printed
    assert "| fp32 | " in printed
    first, again = (read_bundle(folder / "glyphs" / "1.0.0") for folder in (trained / "models", tmp_path))
    assert first.graph == again.graph

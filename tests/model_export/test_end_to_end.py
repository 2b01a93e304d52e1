"""The offline half on a tiny set of drawings: train, export, calibrate, evaluate; each by its command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from app.core.bundle import read_bundle
from app.core.modalities.base import Limits, Modality
from app.runtime.encoder import Encoder
from model_export.__main__ import main
from model_export.drawings import probe_files
from model_export.encoders import TwinEncoder
from model_export.export import to_onnx
from model_export.recipe import read_recipe
from model_export.training import make_modality, make_network
from tests.model_export.tiny_omniglot import RECIPE, write_tiny_omniglot, write_tiny_recipe


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, the recipe, and everything that the four commands made from them."""
    folder = tmp_path_factory.mktemp("offline")
    write_tiny_omniglot(folder / "data" / "omniglot")
    recipe = str(write_tiny_recipe(folder / "tiny.toml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINSERVE_DATA", str(folder / "data"))
        assert main(["train", recipe, "--out", str(folder / "run")]) == 0
        assert main(["export", str(folder / "run"), "--out", str(folder / "exported")]) == 0
        exported = str(folder / "exported" / "glyphs" / "1.0.0")
        assert main(["calibrate", exported, "--recipe", recipe, "--out", str(folder / "models")]) == 0
        bundle = str(folder / "models" / "glyphs" / "1.0.1")
        assert main(["evaluate", bundle, "--recipe", recipe, "--out", str(folder / "report")]) == 0
    return folder


def untrained() -> tuple[TwinEncoder, Modality]:
    """The encoder of the shipped recipe before its first step, and its modality."""
    recipe = read_recipe(RECIPE)
    torch.manual_seed(0)
    modality = make_modality(recipe, Path())
    encoder = make_network(recipe, modality, Path())
    encoder.eval()
    return encoder, modality


def test_training_leaves_a_checkpoint_and_its_facts(work: Path) -> None:
    assert (work / "run" / "checkpoint.safetensors").stat().st_size > 0
    facts = json.loads((work / "run" / "run.json").read_text("utf-8"))
    assert facts["seed"] == 1
    assert set(facts["library_versions"]) >= {"torch", "pytorch-metric-learning"}


def test_exported_bundle_reproduces_its_golden_vectors_and_claims_nothing(work: Path) -> None:
    bundle = read_bundle(work / "exported" / "glyphs" / "1.0.0")
    Encoder(bundle, device="cpu", threads=1).replay_golden()
    assert bundle.calibration is None
    assert bundle.manifest.status == "demonstration"
    assert np.abs(bundle.golden.framework - bundle.golden.served).max() <= 1e-5


def test_calibration_raises_the_patch_and_keeps_the_fingerprint(work: Path) -> None:
    before = read_bundle(work / "exported" / "glyphs" / "1.0.0")
    after = read_bundle(work / "models" / "glyphs" / "1.0.1")
    assert after.fingerprint == before.fingerprint
    assert after.calibration is not None
    assert {one.type for one in after.calibration.impostors} == {"random", "hard"}
    for point in after.calibration.operating_points:
        assert point.verified is not None
        assert point.fmr.high >= 3 / after.calibration.impostor(point.impostor).unit_pairs


def test_calibration_and_test_identities_are_disjoint(work: Path) -> None:
    calibration = read_bundle(work / "models" / "glyphs" / "1.0.1").calibration
    assert calibration is not None
    assert calibration.counts.units == 24  # two of the four evaluation alphabets; the other two are in the runs
    verified = calibration.operating_points[0].verified
    assert verified is not None
    assert verified.units == 24
    assert "new_0, new_1" in verified.population


def test_card_and_report_stand_beside_the_bundle(work: Path) -> None:
    folder = work / "models" / "glyphs" / "1.0.1"
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    for said in ("drawn as the same character", "by the same hand", "Omniglot, MIT", "20-way", "Not for:"):
        assert said in card
    page = (folder / "report" / "report.html").read_text("utf-8")
    assert "data:image/png;base64," in page
    assert "http://" not in page
    assert "https://" not in page


def test_evaluation_prints_every_figure(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(work / "data"))
    bundle = str(work / "models" / "glyphs" / "1.0.1")
    assert main(["evaluate", bundle, "--recipe", str(work / "tiny.toml"), "--out", str(work / "again")]) == 0
    printed = capsys.readouterr().out
    for said in ("ROC AUC", "EER", "FNMR at FMR 1e-01", "FNMR at FMR 1e-03", "beyond the sample", "| 2 | 24 |"):
        assert said in printed


def test_a_graph_that_differs_from_the_encoder_publishes_nothing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(encoder: TwinEncoder, modality: Modality) -> bytes:
        model = onnx.load_from_string(to_onnx(encoder, modality))
        weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
        values = onnx.numpy_helper.to_array(weight).copy()
        values[0] += 0.05
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr("model_export.export.to_onnx", wrong)
    assert main(["export", str(work / "run"), "--out", str(tmp_path)]) == 1
    assert "nothing is written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_preparation_and_graph_agree_with_torch_on_pictures_that_discriminate() -> None:
    graph = onnx.load_from_string(to_onnx(*untrained()))
    assert [dim.dim_param or dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        48,
        48,
        1,
    ]
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    assert len({len(data) for data in probe_files()}) > 8


def test_export_of_one_checkpoint_gives_the_same_bytes(work: Path, tmp_path: Path) -> None:
    assert main(["export", str(work / "run"), "--out", str(tmp_path)]) == 0
    first = work / "exported" / "glyphs" / "1.0.0"
    for path in first.iterdir():
        assert (tmp_path / "glyphs" / "1.0.0" / path.name).read_bytes() == path.read_bytes()


def test_same_recipe_gives_the_same_weights(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(work / "data"))
    assert main(["train", str(work / "tiny.toml"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == (work / "run" / "checkpoint.safetensors").read_bytes()


def test_embedding_batch_size_does_not_matter(work: Path) -> None:
    encoder = Encoder(read_bundle(work / "models" / "glyphs" / "1.0.1"), device="cpu", threads=1)
    items = [{"bytes": data} for data in probe_files()]
    together = encoder.embed(items, Limits())
    alone = np.concatenate([encoder.embed([item], Limits()) for item in items])
    assert np.abs(together - alone).max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "missing.toml", "--out", "x"], "missing.toml"),
        (["export", "missing", "--out", "x"], "missing"),
        (["calibrate", "missing", "--recipe", "recipes/glyphs.toml"], "missing"),
    ],
)
def test_what_cannot_be_done_fails_with_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_missing_data_fails_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TWINSERVE_DATA", raising=False)
    assert main(["train", "recipes/glyphs.toml", "--out", str(tmp_path)]) == 1
    assert "TWINSERVE_DATA" in capsys.readouterr().err


def test_misspelt_recipe_field_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text(RECIPE.read_text("utf-8").replace("learning_rate", "lerning_rate"), "utf-8")
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 1
    assert "optimiser.l" in capsys.readouterr().err

"""A recipe trained on Euclidean distance, through the four commands: lengths count, and the score is -distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.core.bundle import read_bundle
from app.core.modalities.base import Limits
from app.core.scoring import similarity
from app.runtime.encoder import Encoder
from model_export.__main__ import main
from tests.model_export.tiny_sets import write_tiny_heartbeats, write_tiny_recipe


def euclidean_recipe(path: Path) -> Path:
    small = {"dimension": "16\nnormalise = false", "classes": "4", "per_class": "3", "filters": "8"}
    write_tiny_recipe("heartbeat", path, **small, held_out="16", held_out_several_days="5")
    loss = '[loss]\nname = "contrastive"\ndistance = "euclidean"\nmargin = 2.0\n\n[miner]\nname = "batch_hard"'
    text = path.read_text("utf-8")
    shipped = '[loss]\nname = "supervised_contrastive"\ntemperature = 0.1'
    assert shipped in text
    path.write_text(text.replace(shipped, loss), "utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all four commands worked."""
    folder = tmp_path_factory.mktemp("euclidean")
    write_tiny_heartbeats(folder / "data" / "ecg_id")
    recipe = str(euclidean_recipe(folder / "heartbeat.toml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINSERVE_DATA", str(folder / "data"))
        assert main(["train", recipe, "--out", str(folder / "run")]) == 0
        assert main(["export", str(folder / "run"), "--out", str(folder / "exported")]) == 0
        exported = str(folder / "exported" / "heartbeat" / "1.0.0")
        assert main(["calibrate", exported, "--recipe", recipe, "--out", str(folder / "models")]) == 0
        bundle = str(folder / "models" / "heartbeat" / "1.0.1")
        assert main(["evaluate", bundle, "--recipe", recipe, "--out", str(folder / "report")]) == 0
    return folder


def test_the_bundle_says_euclidean_and_its_vectors_keep_their_lengths(folder: Path) -> None:
    bundle = read_bundle(folder / "models" / "heartbeat" / "1.0.1")
    assert bundle.manifest.embedding.metric == "euclidean"
    assert not bundle.manifest.embedding.normalized
    lengths = np.linalg.norm(bundle.golden.framework, axis=1)
    assert np.abs(lengths - 1).max() > 0.05
    encoder = Encoder(bundle, device="cpu", threads=1)
    encoder.replay_golden()
    served = encoder.embed(bundle.golden.items, Limits())
    assert np.abs(served - bundle.golden.framework).max() < 1e-4  # several windows are pooled as in training, unscaled


def test_its_scores_and_thresholds_are_distances_below_zero(folder: Path) -> None:
    bundle = read_bundle(folder / "models" / "heartbeat" / "1.0.1")
    one, other = bundle.golden.framework[:2]
    wanted = -float(np.linalg.norm(one.astype(np.float64) - other))
    assert float(similarity(one, other, bundle.manifest.embedding.metric)) == pytest.approx(wanted, rel=1e-6)
    calibration = bundle.calibration
    assert calibration is not None
    assert calibration.operating_points
    assert all(point.threshold < 0 for point in calibration.operating_points)


def test_unscaled_vectors_under_a_loss_on_cosine_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_tiny_recipe("heartbeat", tmp_path / "heartbeat.toml", dimension="16\nnormalise = false")
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "encoder.normalise: supervised_contrastive compares by cosine" in error
    assert error.count("\n") == 1

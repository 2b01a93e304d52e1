"""`import timm`: where timm is installed, a backbone as a bundle; where it is not, one line."""

from __future__ import annotations

import importlib
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.core.bundle import read_bundle
from app.core.modalities.base import Limits
from app.runtime.encoder import Encoder
from model_export.__main__ import main
from model_export.drawings import draw_character

pytestmark = pytest.mark.timeout(600)
NAME = "resnet10t"  # the smallest of timm's plain ones: 176 x 176, cropped from 184, bicubic


def run(models: Path, *options: str) -> int:
    return main(["import", "timm", NAME, "--name", "tiny-backbone", "--out", str(models), *options])


@pytest.fixture(scope="module")
def timm() -> Any:
    """The library, with the torchvision that fits this torch, or a skip that says what is missing."""
    try:
        return importlib.import_module("timm")
    except Exception as error:
        pytest.skip(f"timm cannot be imported here: {str(error).splitlines()[0]}")


@pytest.fixture(scope="module")
def work(timm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as a file, and `models` with the bundle made of them."""
    folder = tmp_path_factory.mktemp("timm")
    torch.manual_seed(3)
    torch.save(timm.create_model(NAME).state_dict(), folder / "weights.pth")
    assert run(folder / "models", "--pretrained", str(folder / "weights.pth"), "--weights-licence", "random") == 0
    return folder


def picture() -> bytes:
    """A plain picture in colour, wider than high."""
    grey = np.asarray(draw_character(4, 1, (320, 240))).astype(np.float64)
    buffer = BytesIO()
    Image.fromarray((grey[:, :, np.newaxis] * [1.0, 0.7, 0.4]).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_backbone_gives_what_timm_gives_for_its_own_preparation(timm: Any, work: Path) -> None:
    bundle = read_bundle(work / "models" / "tiny-backbone" / "1.0.0")
    assert bundle.golden.source == "training framework"
    assert bundle.manifest.licence.weights == "random"
    assert str(work).encode() not in bundle.graph
    row = Encoder(bundle, device="cpu", threads=1).embed([{"bytes": picture()}], Limits())[0]
    overlay = {"file": str(work / "weights.pth")}
    model = timm.create_model(NAME, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay).eval()
    data = importlib.import_module("timm.data")
    transform = data.create_transform(**data.resolve_model_data_config(model), is_training=False)
    with torch.inference_mode(), Image.open(BytesIO(picture())) as opened:
        wanted = torch.nn.functional.normalize(model(transform(opened).unsqueeze(0)))[0].numpy()
    assert float(row @ wanted) > 0.9999


def test_random_weights_and_unknown_names_are_refused(
    timm: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del timm
    assert run(tmp_path) == 1
    assert "random weights match nothing" in capsys.readouterr().err
    assert run(tmp_path, "--pretrained", str(tmp_path / "missing.pth")) == 1
    assert "no such file" in capsys.readouterr().err
    assert main(["import", "timm", "no_such_net", "--pretrained", "--out", str(tmp_path)]) == 1
    assert "timm cannot create it" in capsys.readouterr().err


def test_without_timm_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert run(tmp_path, "--pretrained") == 1
    error = capsys.readouterr().err
    assert "needs the package 'timm': install twinserve[timm]" in error
    assert error.count("\n") == 1


def test_torchvision_of_another_torch_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("model_export.importing.timm_backbones.importlib.import_module", broken)
    assert run(tmp_path, "--pretrained") == 1
    error = capsys.readouterr().err
    assert "install the torchvision that belongs to your torch" in error
    assert error.count("\n") == 1

"""The request for curl: whatever files are called, and wherever items stand, it can be pasted as it is."""

from __future__ import annotations

import base64
import datetime
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.evidence import Calibration
from app.core.modalities.base import Item
from app.core.scoring import Metric
from model_export.errors import CommandError
from model_export.fitting.asking import curl
from model_export.fitting.layouts import find_layout
from model_export.measure import Embeddings
from model_export.populations import read_listing
from model_export.splitting import cut
from tests.model_export.own_files import write_table
from tests.serving import load, make_app, serve
from tests.tiny import make_tiny, tiny_png


class Takes:
    """A subject that takes every item, or none."""

    key, form = "tiny@1.0.0", "base64"
    preparation: Any = None
    points: Sequence[Any] = ()
    calibration: Calibration | None = None
    valid_until: datetime.date | None = None
    metric: Metric = "cosine"

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes

    def embed(self, items: Sequence[Item]) -> Embeddings:
        if not self.takes:
            raise CommandError("the encoder refused every item")
        return Embeddings(np.ones(len(items), np.bool_), np.ones((len(items), 2), np.float32), None, None, {})


def command_for(data: Path, folder: Path, **subject: bool) -> str:
    layout = find_layout(data, modality="image")
    listing = read_listing(Path(), layout.data(frozen=True), "image")
    return curl(Takes(**subject), cut(listing, layout.data(frozen=True)), folder)


def answer(command: str) -> dict[str, Any]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    with serve(make_app(load(make_tiny()))) as port:
        said = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        done = subprocess.run(said, shell=True, capture_output=True, text=True, check=True, cwd="/")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("name", ["plain", "of two words", 'a,b;c="d"', "it's $HOME", "ünï", "back\\slash"])
def test_files_of_any_name_are_sent(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWINSERVE_PORT", raising=False)
    for identity in range(4):
        folder = tmp_path / "all" / f"{name} {identity}"
        folder.mkdir(parents=True)
        for take in range(2):
            (folder / f"{take}.png").write_bytes(tiny_png(identity, take))
    command = command_for(tmp_path / "all", tmp_path)
    assert answer(command)["model"] == "tiny"
    with pytest.raises(CommandError, match="no two matching items"):
        command_for(tmp_path / "all", tmp_path, takes=False)


def test_items_that_stand_in_a_table_are_sent_from_a_file_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"item": {"base64": base64.b64encode(tiny_png(identity, take)).decode()}, "identity": f"what {identity}"}
        for identity in range(4)
        for take in range(2)
    ]
    command = command_for(write_table(tmp_path / "items.jsonl", rows), tmp_path / "run")
    assert "request.json" in command
    assert answer(command)["model"] == "tiny"

"""ONNX Runtime sends nothing to its maker and leaves no identifier on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OPEN = """
import sys, time
from pathlib import Path
from app.core.bundle import find_bundles, read_bundle
from app.runtime.session import open_session
bundle = read_bundle(find_bundles(Path(sys.argv[1]))[0])
open_session(bundle.graph, device="cpu", threads=1)
"""


def test_opening_a_graph_leaves_no_trace_in_the_home_folder(tiny_models: Path, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-B", "-c", OPEN, str(tiny_models)]
    run = subprocess.run(command, env=kept | home, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert [path.name for path in tmp_path.rglob("*")] == []

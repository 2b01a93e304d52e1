"""What the tests of the training loop share: few drawings, a recipe of seconds on one thread, and real processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.model_export.tiny_omniglot import change_lines, write_tiny_omniglot

RECIPE = Path(__file__).with_name("tiny_training.toml")
TRIPLET = {"[loss]": '[loss]\nname = "triplet"', "[miner]": '[miner]\nname = "batch_hard"'}
"""Sections to replace, for `write_training`: the loss and miner that pull everything together when hurried."""


def write_drawings(folder: Path) -> Path:
    """A folder for TWINSERVE_DATA: 12 characters of two alphabets train, 6 of a third watch, 18 drawings each."""
    write_tiny_omniglot(folder / "omniglot", characters=6)
    return folder


def shuffle_labels(data: Path) -> None:
    """Give every background drawing the label of another, drawn."""
    path = data / "omniglot" / "background.npz"
    arrays = dict(np.load(path))
    order = np.random.default_rng(0).permutation(len(arrays["class_id"]))
    arrays |= {name: arrays[name][order] for name in ("alphabet", "character", "drawer", "class_id")}
    np.savez_compressed(path, **arrays)


def write_training(path: Path, *, schedule: str = "", sections: dict[str, str] | None = None, **changes: str) -> Path:
    """The tiny recipe; `changes` replace right-hand sides, `schedule` adds lines, `sections` replace whole ones."""
    text = change_lines(RECIPE.read_text("utf-8"), changes)
    text = text.replace("[schedule]", f"[schedule]\n{schedule}", 1)
    for heading, section in (sections or {}).items():
        text, count = re.subn(rf"(?m)^{re.escape(heading)}\n(?:(?!\[)[^\n]*\n)*", section + "\n\n", text)
        assert count == 1, heading
    path.write_text(text, "utf-8")
    return path


def start_training(recipe: Path, run: Path, data: Path) -> subprocess.Popen[str]:
    """`train` in a process of its own."""
    command = [sys.executable, "-m", "model_export", "train", str(recipe), "--out", str(run)]
    return subprocess.Popen(command, env={**os.environ, "TWINSERVE_DATA": str(data)}, stderr=subprocess.PIPE, text=True)

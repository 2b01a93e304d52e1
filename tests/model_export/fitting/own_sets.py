"""Little sets of one's own in each kind of item, and `fit` with a number of steps in place of minutes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from model_export.__main__ import main
from model_export.drawings import draw_character
from model_export.probes.series import beat
from model_export.training import loop
from tests.model_export.own_files import write_table

MEANS = ("--match-means", "the same thing", "--name", "mine")
ASK = ("where is my {}", "I cannot find the {}", "please send me a new {}")
COLOURS = ("red", "blue", "green", "black", "white", "golden")
THINGS = ("lamp", "table", "kettle", "pillow", "bicycle", "mirror")


def write_drawings(folder: Path, identities: int = 36) -> Path:
    """A folder a character, by three hands."""
    for identity in range(identities):
        (folder / f"mark {identity}").mkdir(parents=True)
        for hand in range(3):
            draw_character(identity, hand, (40, 32)).save(folder / f"mark {identity}" / f"{hand}.png")
    return folder


def write_questions(path: Path) -> Path:
    """A table of questions about 36 products, under names of columns of its own."""
    products = [f"{colour} {thing}" for thing, colour in itertools.product(THINGS, COLOURS)]
    return write_table(path, [{"text": one.format(what), "product": what} for what in products for one in ASK])


def write_beats(folder: Path, people: int = 36) -> Path:
    """A folder a person, of series as over HTTP."""
    for person in range(people):
        (folder / f"p{person}").mkdir(parents=True)
        for take in range(3):
            noise = np.random.default_rng([person, take]).normal(0, 0.05, (200, 1))
            item = {"values": (beat(person, 200, 1) + noise).round(4).tolist(), "rate": 100}
            (folder / f"p{person}" / f"{take}.json").write_text(json.dumps(item))
    return folder


def run_fit(folder: Path, *arguments: str, steps: int = 12) -> int:
    """The status of `fit` in a folder of its own, its training so many steps long, whatever the minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("TWINSERVE_DATA", raising=False)
        patch.delenv("TWINSERVE_MODELS", raising=False)
        patch.setattr(loop, "count_steps", lambda *_: steps)
        return main(["fit", *arguments])

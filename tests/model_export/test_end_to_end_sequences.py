"""Text, audio and series through the four commands, on tiny sets: what comes out is served as it was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.core.bundle import read_bundle
from app.core.modalities.base import Limits
from app.runtime.encoder import Encoder
from model_export.__main__ import main
from tests.model_export.tiny_sets import (
    write_tiny_digits,
    write_tiny_heartbeats,
    write_tiny_questions,
    write_tiny_recipe,
)

SMALL = {"version": '"1.0.0"', "dimension": "16", "classes": "4", "per_class": "3"}
CASES: dict[str, tuple[str, Callable[[Path], None], dict[str, str]]] = {
    "questions": (
        ".",
        write_tiny_questions,
        SMALL | {"classes": "6", "width": "24", "hidden": "24", "lexical_dimension": "8"},
    ),
    "digits": ("fsdd", write_tiny_digits, SMALL | {"classes": "3", "stages": "[4, 6, 8, 8]"}),
    "heartbeat": (
        "ecg_id",
        write_tiny_heartbeats,
        SMALL | {"filters": "8", "held_out": "16", "held_out_several_days": "5"},
    ),
    "heartbeat-gru": (
        "ecg_id",
        write_tiny_heartbeats,
        SMALL | {"hidden": "12", "held_out": "16", "held_out_several_days": "5"},
    ),
}


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A recipe's name, and the folder in which all four commands worked."""
    name: str = request.param
    folder_name, write, changes = CASES[name]
    folder = tmp_path_factory.mktemp(name)
    write(folder / "data" / folder_name)
    recipe = str(write_tiny_recipe(name, folder / f"{name}.toml", **changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINSERVE_DATA", str(folder / "data"))
        assert main(["train", recipe, "--out", str(folder / "run")]) == 0
        assert main(["export", str(folder / "run"), "--out", str(folder / "exported")]) == 0
        exported = str(folder / "exported" / name / "1.0.0")
        assert main(["calibrate", exported, "--recipe", recipe, "--out", str(folder / "models")]) == 0
        bundle = str(folder / "models" / name / "1.0.1")
        assert main(["evaluate", bundle, "--recipe", recipe, "--out", str(folder / "report")]) == 0
    return name, folder


def test_the_bundle_is_served_as_it_was_trained(made: tuple[str, Path]) -> None:
    name, folder = made
    bundle = read_bundle(folder / "models" / name / "1.0.1")
    assert bundle.golden.source == "training framework"
    assert np.abs(bundle.golden.framework - bundle.golden.served).max() <= 1e-5
    encoder = Encoder(bundle, device="cpu", threads=1)
    encoder.replay_golden()
    items = bundle.golden.items
    together = encoder.embed(items, Limits())
    alone = np.concatenate([encoder.embed([item], Limits()) for item in items])
    assert np.abs(together - alone).max() < 1e-5
    assert len(np.unique(together.round(4), axis=0)) >= len(items) - 2  # probes tell inputs apart


def test_exporting_again_gives_the_same_bytes(made: tuple[str, Path], tmp_path: Path) -> None:
    folder = made[1]
    assert main(["export", str(folder / "run"), "--out", str(tmp_path)]) == 0
    assert bytes_of(tmp_path) == bytes_of(folder / "exported")


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Path below the folder -> content of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_evidence_is_the_recipes_own(made: tuple[str, Path]) -> None:
    name, folder = made
    calibration = read_bundle(folder / "models" / name / "1.0.1").calibration
    assert calibration is not None
    assert calibration.source == "shipped"
    assert {one.type for one in calibration.impostors} == ({"random", "hard"} if name == "questions" else {"random"})
    if name == "digits":
        assert calibration.counts.units == 2
        assert not calibration.supported
        return
    methods = {point.verified.method for point in calibration.operating_points if point.verified is not None}
    assert methods == ({"held_out"} if name == "questions" else {"cross_fitted"})


def test_days_are_told_apart_in_the_card(made: tuple[str, Path]) -> None:
    name, folder = made
    card = (folder / "models" / name / "1.0.1" / "MODEL_CARD.md").read_text("utf-8")
    assert ("same_day" in card and "other_day" in card) == name.startswith("heartbeat")
    assert ("same_speaker" in card and "other_speaker" in card) == (name == "digits")

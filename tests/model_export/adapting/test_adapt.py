"""`adapt`: a head that is better is published with evidence of its own and serves; one that is not leaves no trace."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest

from app.core.bundle import read_bundle, write_bundle
from app.core.modalities.base import Limits
from app.core.scoring import similarity
from app.runtime.encoder import Encoder
from model_export.__main__ import main
from model_export.adapting import learning
from tests.model_export.adapting.own_marks import mark_png, write_marks
from tests.model_export.own_files import texts, write_table
from tests.model_export.printed import printed_tables
from tests.serving import load, make_app, serve
from tests.tiny import make_tiny, tiny_png, write_tiny

MEANS = ("--match-means", "of the same mark")


class Made(NamedTuple):
    """The old bundle's folder, the new one's, and what was printed."""

    old: Path
    new: Path
    printed: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("adapted")
    old = write_tiny(folder / "models", calibrated=False)
    printed = StringIO()
    with redirect_stdout(printed):
        assert main(["adapt", str(old), "--data", str(write_marks(folder / "marks")), *MEANS]) == 0
    return Made(old, folder / "models" / "tiny-adapted" / "1.0.1", printed.getvalue())


def test_a_better_head_is_published_with_evidence_of_its_own(made: Made) -> None:
    old, new = read_bundle(made.old), read_bundle(made.new)
    assert new.calibration is not None
    assert new.calibration.source == "yours"
    assert new.calibration.population == "pictures of marks, of those that did not train"
    assert new.manifest.fingerprint != old.manifest.fingerprint
    assert new.manifest.relation.match_means == "of the same mark"
    assert new.manifest.files.keys() - {"calibration.json"} == old.manifest.files.keys()
    assert made.printed.endswith(f"wrote {made.new}\n")


def test_the_bundle_says_what_it_comes_from_which_head_it_has_and_how_that_was_chosen(made: Made) -> None:
    old, new = read_bundle(made.old), read_bundle(made.new)
    origin = new.manifest.training.data
    assert origin.startswith(old.manifest.training.data)
    assert old.key in origin
    assert old.manifest.fingerprint in origin
    areas = dict(re.findall(r"(none|whitening|linear|network) ([\d.]+)", origin.partition("on validation")[2]))
    assert areas.keys() == {"none", "whitening", "linear", "network"}
    best = max(areas.values())
    assert best > areas["none"]
    (said,) = re.findall(rf"^validation: \w+ +ROC AUC {best} +(.*)$", made.printed, re.MULTILINE)
    assert said in origin
    assert origin in (made.new / "MODEL_CARD.md").read_text("utf-8")


def test_gain_is_of_units_that_neither_fitted_nor_chose_and_its_lower_end_is_above_0(made: Made) -> None:
    plan = dict(re.findall(r"^(training|validation|held out) +(\d+) ", made.printed, re.MULTILINE))
    assert sum(map(int, plan.values())) == 48
    ((_, (row,)),) = [(name, rows) for name, rows in printed_tables(made.printed).items() if "Before" in name]
    gain, low, high = map(float, re.findall(r"[+-][\d.]+", row["gain, 95 % bounds"]))
    assert 0 < low < gain < high
    (both,) = re.findall(r"ROC AUC ([\d.]+) before and ([\d.]+) after", made.printed)
    assert gain == pytest.approx(float(both[1]) - float(both[0]), abs=1.5e-4)
    assert f"{plan['held out']} units" in made.printed


def test_golden_vectors_are_replayed_and_any_batch_size_gives_the_same(made: Made) -> None:
    bundle = read_bundle(made.new)
    encoder = Encoder(bundle, device="cpu", threads=1)
    encoder.replay_golden()
    assert bundle.golden.source == "training framework"
    np.testing.assert_allclose(bundle.golden.framework, bundle.golden.served, atol=1e-5)
    prepared = [encoder.prepare({"bytes": mark_png(900 + place, 0)}, Limits()) for place in range(7)]
    together = encoder.embed_prepared(prepared)
    np.testing.assert_allclose(together, encoder.embed_prepared(prepared, largest=1), atol=1e-6)


def test_it_is_served_over_http_beside_the_old_one(made: Made) -> None:
    old, new = read_bundle(made.old), read_bundle(made.new)
    one, two = mark_png(900, 0), mark_png(900, 1)
    with serve(make_app(load(old, new, default=new.name))) as port:
        url = f"http://127.0.0.1:{port}"
        answer = httpx.post(f"{url}/compare", files={"a": ("a.png", one), "b": ("b.png", two)}).json()
        shown = httpx.get(f"{url}/models/{new.name}").json()
    encoder = Encoder(new, device="cpu", threads=1)
    a, b = encoder.embed([{"bytes": one}, {"bytes": two}], Limits())
    assert answer["score"] == pytest.approx(float(similarity(a, b, "cosine")), abs=1e-6)
    assert answer["fingerprint"] == new.manifest.fingerprint
    assert answer["operating_point"]["calibration"]["source"] == "yours"
    assert shown["golden_source"] == "training framework"


def refuse(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a command that fails: one line."""
    assert main(["adapt", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_head_that_is_no_better_is_refused_with_both_figures_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "STEPS", 100)
    bundle = write_tiny(tmp_path / "models", calibrated=False)
    data = write_marks(tmp_path / "marks", shuffled=True)
    line = refuse([str(bundle), "--data", str(data), "--out", str(tmp_path / "out")], capsys)
    assert re.search(r"nothing is written: .*ROC AUC 0\.\d+ before and 0\.\d+ after, gain [+-][\d.]+ \[-", line)
    assert not (tmp_path / "out").exists()


def test_where_nothing_is_to_be_gained_no_head_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "STEPS", 50)
    bundle = write_tiny(tmp_path / "models")
    for identity in range(40):
        (tmp_path / "own" / f"{identity}").mkdir(parents=True)
        for variant in range(3):
            path = tmp_path / "own" / f"{identity}" / f"{variant}.png"
            path.write_bytes(tiny_png(5000 + identity, variant))
    line = refuse([str(bundle), "--data", str(tmp_path / "own"), "--out", str(tmp_path / "out")], capsys)
    assert line.startswith("adapt: no")
    assert "none 1.0000" in line or "ROC AUC 1.0000 before" in line
    assert not (tmp_path / "out").exists()


def ten(folder: Path) -> Path:
    return write_marks(folder / "marks", identities=5, each=2)


def one_identity(folder: Path) -> Path:
    return write_marks(folder / "marks", identities=1, each=10)


def only_texts(folder: Path) -> Path:
    return write_table(folder / "texts.csv", texts())


def no_such(folder: Path) -> Path:
    return folder / "nowhere"


def broken(folder: Path) -> Path:
    data = write_marks(folder / "marks", identities=40, each=2)
    for path in data.rglob("0.png"):
        path.write_bytes(b"no picture")
    return data


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (ten, "marks: .* has .* items of .* identit"),
        (one_identity, "all 10 items are of one identity"),
        (only_texts, "holds texts, and tiny@1.0.0 takes pictures"),
        (no_such, "no such file or folder"),
        (broken, r"0\.png: "),
    ],
)
def test_data_that_teaches_nothing_is_told_in_one_line(
    write: Callable[[Path], Path], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_tiny(tmp_path / "models", calibrated=False)
    line = refuse([str(bundle), "--data", str(write(tmp_path)), "--out", str(tmp_path / "out")], capsys)
    assert re.search(said, line)
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_less_precision_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = write_bundle(tmp_path / "models", make_tiny(calibrated=False, half=True), {"MODEL_CARD.md": b"# half\n"})
    assert "give the fp32 bundle" in refuse([str(half), "--data", str(write_marks(tmp_path / "marks"))], capsys)

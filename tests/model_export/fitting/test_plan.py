"""`plan`: its figures are those of 3 / P, and what it says of the cut is what the cut is."""

from __future__ import annotations

import re
from math import comb
from pathlib import Path

import pytest

from model_export.__main__ import main
from model_export.datasets.listing import Listing
from model_export.fitting.layouts import find_layout
from model_export.fitting.planning import units_for
from model_export.populations import read_listing, read_splits
from model_export.splitting import cut
from tests.model_export.own_files import SHARED, own_recipe, texts, write_table
from tests.model_export.test_own_data import NO_HARD


@pytest.mark.parametrize(("fmr", "units"), [(1e-2, 25), (1e-3, 78), (1e-4, 246)])
def test_units_for_an_fmr_are_the_fewest_with_so_many_pairs(fmr: float, units: int) -> None:
    assert units_for(fmr) == units
    assert 3 / comb(units, 2) <= fmr < 3 / comb(units - 1, 2)


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def test_plan_prints_the_cut_what_it_could_show_and_what_lower_rates_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "items.csv", texts(90))
    printed = plan(capsys, str(table))
    held_out = int(re.findall(r"^held out +(\d+)", printed, re.MULTILINE)[0])
    assert f"random {'1e-02' if held_out > 24 else '1e-01'} ({comb(held_out, 2)} pairs of units)" in printed
    assert "all 90 identities could show random 1e-03" in printed
    assert re.search(r"^1e-02 +25 +63 +125$", printed, re.MULTILINE)
    assert re.search(r"^1e-03 +78 +195 +390$", printed, re.MULTILINE)
    assert re.search(r"^1e-04 +246 +615 +1230$", printed, re.MULTILINE)
    recipe = own_recipe(tmp_path / "r.toml", f'reader = "items"\ntable = "items.csv"\n{SHARED}', more=NO_HARD)
    splits = read_splits(recipe)
    assert len(set(splits.calibration.identity.tolist())) == held_out
    assert all(line in printed for line in capsys.readouterr().out.splitlines()[-4:])


def test_an_encoder_that_is_there_already_is_measured_on_all_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = plan(capsys, str(write_table(tmp_path / "few.csv", texts(30))), "--frozen")
    assert re.search(r"^held out +30 +30 +90  random 1e-02 \(435 pairs of units\)$", few, re.MULTILINE)
    assert "cross-fitted" in few
    assert "training" not in few
    assert re.search(r"^1e-03 +78 +78 +156$", few, re.MULTILINE)
    many = plan(capsys, str(write_table(tmp_path / "many.csv", texts(120))), "--frozen")
    parts = {name: int(units) for name, units in re.findall(r"^(calibration|test) +(\d+)", many, re.MULTILINE)}
    assert sum(parts.values()) == 120
    assert min(parts.values()) >= 25


def listing_of(path: Path) -> Listing:
    layout = find_layout(path)
    return read_listing(Path(), layout.data(), layout.modality)


def test_frozen_data_trains_nothing_whatever_parts_it_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row | {"split": ("train", "test")[place // 3 % 2]} for place, row in enumerate(texts(40))]
    path = write_table(tmp_path / "items.csv", rows)
    splits = cut(listing_of(path), find_layout(path).data(frozen=True))
    assert splits.frozen
    assert (len(splits.training), len(splits.validation), len(splits.calibration)) == (0, 0, 120)
    assert "not used: nothing trains" in capsys.readouterr().out


def test_frozen_data_is_refused_by_train_and_takes_no_shares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path / "items.csv", texts(40))
    data = f'reader = "items"\ntable = "items.csv"\nfrozen = true\n{SHARED}'
    own_recipe(tmp_path / "r.toml", data, more=NO_HARD)
    assert main(["train", str(tmp_path / "r.toml"), "--out", str(tmp_path / "run")]) == 1
    assert "data.frozen is true, so that all of the data is measured" in capsys.readouterr().err
    (tmp_path / "r.toml").write_text((tmp_path / "r.toml").read_text() + "\n")
    with pytest.raises(Exception, match="do not count where frozen"):
        own_recipe(tmp_path / "s.toml", f"{data}\nshares = {{ test = 0 }}", more=NO_HARD)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (texts(5, each=2), "two at least are needed"),
        (texts(1, each=10), "all 10 items are of one identity"),
        (texts(10, each=1), "matching takes two of one"),
        ([*texts(30), {"text": "so", "identity": ""}], "row 91: identity is empty"),
    ],
)
def test_data_that_shows_nothing_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, str]], words: str
) -> None:
    assert main(["plan", str(write_table(tmp_path / "items.csv", rows))]) == 1
    said = capsys.readouterr().err
    assert said.startswith("plan: ")
    assert words in said
    assert said.count("\n") == 1

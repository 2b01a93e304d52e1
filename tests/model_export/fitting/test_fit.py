"""`fit`: from one's own data to a verdict over HTTP by the request that it prints; and what it will not publish."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

from app.core.bundle import read_bundle
from model_export.fitting import fit as fitting
from model_export.populations import read_splits
from model_export.recipe import read_recipe
from tests.model_export.fitting.own_sets import MEANS, run_fit, write_beats, write_drawings, write_questions
from tests.model_export.own_files import texts, write_table
from tests.serving import load, make_app, serve

SETS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "drawings": (write_drawings, ()),
    "questions.csv": (write_questions, ("--columns", "identity=product")),
    "beats": (write_beats, ()),
}


class Made(NamedTuple):
    """The folder that `fit` worked in, the data's name, and what was printed."""

    folder: Path
    data: str
    printed: str


@pytest.fixture(scope="module", params=SETS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle made by `fit` of each kind of item."""
    folder = tmp_path_factory.mktemp("own")
    write, more = SETS[request.param]
    write(folder / request.param)
    printed = StringIO()
    with redirect_stdout(printed):
        assert run_fit(folder, request.param, *MEANS, *more) == 0
    return Made(folder, request.param, printed.getvalue())


def test_fit_ends_in_a_bundle_with_evidence_beside_its_recipe(made: Made) -> None:
    bundle = read_bundle(made.folder / "models" / "mine" / "1.0.1")
    assert bundle.calibration is not None
    assert bundle.calibration.source == "yours"
    assert bundle.manifest.relation.match_means == "the same thing"
    recipe = read_recipe(made.folder / "models" / "mine" / "recipe.toml")
    assert recipe.schedule.minutes == 10
    assert bundle.calibration.population == recipe.calibration.population


def test_it_says_what_is_cut_how_and_where_everything_lies(made: Made) -> None:
    for said in ("lowest FMR it could show", "to claim an FMR", "# mine 1.0.1", "Two items match when they are"):
        assert said in made.printed
    (report,) = re.findall(r"^report  (.*)$", made.printed, re.MULTILINE)
    assert "data:image/png;base64," in (made.folder / report).read_text("utf-8")
    (again,) = re.findall(r"^recipe  (\S+): ", made.printed, re.MULTILINE)
    assert (made.folder / again).is_file()
    assert made.printed.splitlines()[-1].startswith("ask     curl -s ")


def test_the_request_that_it_prints_gets_a_verdict_from_a_real_service(made: Made) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    command = made.printed.splitlines()[-1].removeprefix("ask     ")
    assert "127.0.0.1:8000" in command
    with serve(make_app(load(read_bundle(made.folder / "models" / "mine" / "1.0.1")))) as port:
        command = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd="/")
    answer = json.loads(done.stdout)
    assert (answer["model"], answer["version"]) == ("mine", "1.0.1")
    assert answer["verdict"] in ("match", "no_match", "undetermined")
    assert answer["score"] > 0
    assert answer["operating_point"]["calibration"]["source"] == "yours"


def test_the_items_of_the_request_did_not_train(made: Made) -> None:
    splits = read_splits(read_recipe(made.folder / "models" / "mine" / "recipe.toml"))
    held_out = {splits.calibration.name(place) for place in range(len(splits.calibration))}
    command = made.printed.splitlines()[-1]
    if made.data == "drawings":
        files = re.findall(r"@(\S+ \d+/\d\.png)", command)
        assert len(files) == 2
        assert {"/".join(Path(file).parts[-2:]) for file in files} <= held_out
    elif made.data == "questions.csv":
        texts_held_out = {item["text"] for item in splits.calibration.items}
        body = json.loads(command.partition(" -d '")[2].rstrip("'"))
        assert {body["a"]["text"], body["b"]["text"]} <= texts_held_out
    else:
        (file,) = re.findall(r"-d @(\S+)", command)
        body = json.loads(Path(file).read_text("utf-8"))
        assert all(body[side] in list(splits.calibration.items) for side in "ab")


def test_a_bundle_that_is_there_already_is_measured_on_all_of_ones_data(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if made.data != "questions.csv":
        pytest.skip("the same for every kind of item; texts are the quickest")
    shutil.copytree(made.folder / "models", tmp_path / "models")
    write_questions(tmp_path / "mine.csv")
    arguments = ("mine.csv", *MEANS[:2], "--columns", "identity=product", "--name", "elsewhere")
    assert run_fit(tmp_path, *arguments, "--bundle", "models/mine") == 0
    assert "curl -s" in capsys.readouterr().out
    before, after = (read_bundle(tmp_path / "models" / "mine" / number) for number in ("1.0.1", "1.0.2"))
    assert after.fingerprint == before.fingerprint
    assert after.calibration is not None
    assert after.calibration.counts.units == 36  # all of them: nothing trained
    assert not (tmp_path / "runs" / "elsewhere-1.0.0" / "checkpoint.safetensors").exists()
    again = "models/mine/elsewhere.toml"
    assert run_fit(tmp_path, again) == 1
    assert "--bundle names the encoder" in capsys.readouterr().err


def test_an_edited_recipe_is_followed_once_its_version_is_raised(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if made.data != "questions.csv":
        pytest.skip("the same for every kind of item; texts are the quickest")
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    recipe = tmp_path / "models" / "mine" / "recipe.toml"
    again = str(recipe.relative_to(tmp_path))
    assert run_fit(tmp_path, made.data, *MEANS) == 1
    assert f"fit {again} follows it" in capsys.readouterr().err
    assert run_fit(tmp_path, again, "--minutes", "1") == 1
    assert "--minutes: models/mine/recipe.toml is a recipe, which says it" in capsys.readouterr().err
    recipe.write_text(recipe.read_text("utf-8").replace("temperature = 0.05", "temperature = 0.2"), "utf-8")
    assert run_fit(tmp_path, again) == 1
    assert "raise its version" in capsys.readouterr().err
    recipe.write_text(recipe.read_text("utf-8").replace('"1.0.0"', '"1.1.0"'), "utf-8")
    assert run_fit(tmp_path, again) == 0
    assert read_bundle(tmp_path / "models" / "mine" / "1.1.1").fingerprint != (
        read_bundle(tmp_path / "models" / "mine" / "1.0.1").fingerprint
    )


def test_without_words_for_a_match_it_stops_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path / "items.csv", texts())
    assert run_fit(tmp_path, "items.csv", "--name", "mine") == 1
    said = capsys.readouterr().err
    assert '"of the same category"' in said
    assert said.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_on_a_terminal_it_asks_what_a_match_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["of the same kind", "of the same maker"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    monkeypatch.setattr(fitting, "follow", lambda *_, **__: pytest.fail("the copies stop it before"))
    rows = [*texts(), {"text": texts()[0]["text"], "identity": "what 1"}]
    write_table(tmp_path / "items.csv", rows)
    assert run_fit(tmp_path, "items.csv", "--name", "mine") == 1
    assert "What do two matching items have in common?" in capsys.readouterr().out
    recipe = read_recipe(tmp_path / "models" / "mine" / "recipe.toml")
    assert (recipe.relation.match_means, recipe.relation.not_) == ("of the same kind", "of the same maker")


def bundles(folder: Path) -> list[Path]:
    return list((folder / "models").glob("*/*/manifest.json"))


def test_labels_that_belong_to_other_items_publish_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "items.csv", texts(60))  # letters drawn at random: an identity is nothing but a name
    assert run_fit(tmp_path, "items.csv", *MEANS, steps=3) == 1
    assert "no better than chance" in capsys.readouterr().err
    assert bundles(tmp_path) == []


def test_one_picture_under_two_names_publishes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_drawings(tmp_path / "drawings")
    shutil.copyfile(tmp_path / "drawings" / "mark 3" / "0.png", tmp_path / "drawings" / "mark 4" / "9.png")
    assert run_fit(tmp_path, "drawings", *MEANS) == 1
    said = capsys.readouterr()
    assert "of two identities" in said.out
    assert "duplicates" in said.err
    assert bundles(tmp_path) == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (texts(5, each=2), "two at least are needed"),
        ([{"a": "so", "b": "", "label": 1}], "row 1: a text is empty"),
        ([{"a": "so", "b": "and so", "label": 1}], "nothing tells apart"),
    ],
)
def test_ten_items_or_an_empty_side_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, object]], words: str
) -> None:
    write_table(tmp_path / "items.csv", rows)
    assert run_fit(tmp_path, "items.csv", *MEANS) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_a_name_that_no_bundle_could_have_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "items.csv", texts())
    for name in ("../mine", "Mine", ""):
        assert run_fit(tmp_path, "items.csv", "--match-means", "so", "--name", name) == 1
        assert "--name is the bundle's" in capsys.readouterr().err

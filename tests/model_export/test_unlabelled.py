"""`calibrate --items`: a collection that nobody labelled, questions about it, and what the service says on them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.bundle import Bundle, read_bundle
from model_export.__main__ import main
from tests.serving import b64, load, make_app, serve
from tests.tiny import tiny_png, write_tiny

IDENTITIES, VARIANTS = 60, 3
OTHERS = 3000


def owner(name: str) -> str:
    return name.split("_")[1]


def write_collection(folder: Path, identities: int = IDENTITIES, first: int = OTHERS) -> Path:
    """Pictures whose names say what they show, in an order that does not."""
    folder.mkdir(parents=True)
    for identity in range(identities):
        for variant in range(VARIANTS):
            name = f"{(identity * VARIANTS + variant) * 7919 % 997}_{identity}.png"
            (folder / name).write_bytes(tiny_png(first + identity, variant))
    return folder


def fill(sheet: Path, answer: str | None = None) -> list[dict[str, str]]:
    """Answer every open question by what the names say, or all of them alike."""
    with sheet.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["match"] = answer or row["match"] or str(int(owner(row["a"]) == owner(row["b"])))
    write(sheet, rows)
    return rows


def write(sheet: Path, rows: list[dict[str, str]], columns: str = "number,a,b,match,a_key,b_key") -> None:
    with sheet.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns.split(","))
        table.writeheader()
        table.writerows(rows)


class Work:
    """A bundle, a collection, and the commands on them."""

    def __init__(self, folder: Path, identities: int = IDENTITIES) -> None:
        self.bundle = folder / "models" / "tiny" / "1.0.0"
        self.items = folder / "items"
        self.sheet = folder / "answers.csv"
        write_tiny(folder / "models", calibrated=False, status="demonstration")
        write_collection(self.items, identities)

    def run(self, *arguments: str) -> int:
        return main(["calibrate", str(self.bundle), "--items", str(self.items), *arguments])

    def answered(self, *arguments: str) -> int:
        return self.run("--answers", str(self.sheet), *arguments)

    def version(self, number: str) -> Bundle:
        return read_bundle(self.bundle.with_name(number))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """1.0.1 without answers; 120 answers in three rounds; 1.0.2 with them."""
    made = Work(tmp_path_factory.mktemp("unlabelled"))
    assert made.run("--population", "our patterns", "--unit", "picture") == 0
    for _ in range(3):
        assert made.answered("--ask", "40") == 0
        fill(made.sheet)
    assert made.answered() == 0
    return made


def compare(bundle: Bundle, a: bytes, b: bytes, **selectors: Any) -> dict[str, Any]:
    """A verdict of the real service on a real port."""
    with serve(make_app(load(bundle))) as port:
        body = {"a": {"base64": b64(a)}, "b": {"base64": b64(b)}, **selectors}
        response = httpx.post(f"http://127.0.0.1:{port}/compare", json=body)
    assert response.status_code == 200
    return dict(response.json())


def test_without_answers_fmr_is_bounded_and_fnmr_unknown(work: Work) -> None:
    before, after = work.version("1.0.0"), work.version("1.0.1")
    found = after.calibration
    assert found is not None
    assert (after.fingerprint, after.manifest.status) == (before.fingerprint, "released")
    assert (found.population, found.unit, found.source) == ("our patterns", "picture", "yours")
    assert (found.genuine_curves, found.ratios, found.counts.genuine_pairs) == ((), (), 0)
    assert found.impostor("random").unit_pairs == 180 * 179 // 2
    assert {point.fnmr for point in found.operating_points} == {None}


def test_verdicts_without_answers_say_that_fnmr_is_unknown(work: Work) -> None:
    said = compare(work.version("1.0.1"), tiny_png(5000, 0), tiny_png(5000, 1), prior=0.5)
    assert said["verdict"] == "match"
    assert [reason["code"] for reason in said["reasons"]] == ["fnmr_unknown"]
    point = said["operating_point"]
    assert (point["name"], point["fnmr"], point["impostor"]["type"]) == ("fmr_1e-1", None, "random")
    assert 0 < point["fmr"]["value"] <= point["fmr"]["high"] <= 0.1
    assert (said["posterior"], said["log_likelihood_ratio"]) == (None, None)


def test_verdicts_with_answers_have_fnmr_and_posterior(work: Work) -> None:
    said = compare(work.version("1.0.2"), tiny_png(5000, 0), tiny_png(5000, 1), prior=0.01, impostor="random")
    assert (said["verdict"], said["reasons"]) == ("match", [])
    fnmr, posterior = said["operating_point"]["fnmr"], said["posterior"]
    assert 0 <= fnmr["low"] <= fnmr["value"] <= fnmr["high"] < 1
    assert 0.01 < posterior["low"] <= posterior["value"] <= posterior["high"] < 1
    no = compare(work.version("1.0.2"), tiny_png(5000, 0), tiny_png(5001, 0), prior=0.01, impostor="random")
    assert no["verdict"] == "no_match"
    assert no["posterior"]["value"] < 0.01


def test_fmr_on_other_identities_is_within_the_bounds_before_and_after_answers(work: Work) -> None:
    from model_export.measure import embed_all  # noqa: PLC0415

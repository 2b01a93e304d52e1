"""The bundle that ships, behind a running service: what it claims holds, and what README says is what it answers."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from app.core.bundle import read_bundle
from app.core.bundle.manifest import version_key
from app.core.evidence import Calibration
from app.core.modalities.base import Item
from model_export.datasets.omniglot import read_drawings, read_runs, run_alphabets
from model_export.drawings import draw_character
from model_export.oneshot import one_shot_hits
from tests.supervisor.live import LiveService, live_service

MODELS = Path("models")
Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def service() -> Iterator[LiveService]:
    """The shipped models, served as `make run` does, on a free port."""
    with live_service(MODELS, workers=2, default_model="glyphs") as running:
        running.wait_ready(2)
        yield running


@pytest.fixture(scope="module")
def omniglot() -> Path:
    """The real drawings, where they are at hand."""
    root = os.environ.get("TWINSERVE_DATA")
    if not root:
        pytest.skip("TWINSERVE_DATA is not set: the real drawings are not at hand")
    return Path(root) / "omniglot"


def newest() -> Path:
    """The folder of the version that `glyphs` means."""
    return max(MODELS.glob("glyphs/*"), key=lambda folder: version_key(folder.name))


def calibration() -> Calibration:
    """The evidence of the shipped bundle."""
    evidence = read_bundle(newest()).calibration
    assert evidence is not None
    return evidence


def embed(service: LiveService, items: Sequence[Item]) -> Vectors:
    """Embeddings over HTTP, in requests of at most 250 items."""
    rows = []
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for start in range(0, len(items), 250):
            inputs = [{"base64": base64.b64encode(item["bytes"]).decode()} for item in items[start : start + 250]]
            answer = client.post("/embed", json={"inputs": inputs, "encoding_format": "base64"})
            assert answer.status_code == 200, answer.text
            rows += [np.frombuffer(base64.b64decode(one), "<f4") for one in answer.json()["embeddings"]]
    return np.stack(rows)


def png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def compare(service: LiveService, a: bytes, b: bytes) -> dict[str, object]:
    answer = httpx.post(service.url + "/compare", files={"a": a, "b": b}, timeout=60)
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


def test_every_operating_point_was_verified_on_other_identities() -> None:
    for point in calibration().operating_points:
        assert point.verified is not None
        assert point.fmr.low <= point.verified.fmr.high
        assert point.verified.fmr.low <= point.fmr.high


def ask(service: LiveService, command: str) -> dict[str, Any]:
    """What one of README's curl commands prints."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    words = shlex.split(command.replace("http://127.0.0.1:8000", service.url))
    printed = subprocess.run([*words, "--fail"], capture_output=True, check=True, timeout=60).stdout
    answer: dict[str, Any] = json.loads(printed)
    return answer


def test_readme_command_gives_the_answer_that_readme_shows(service: LiveService) -> None:
    readme = Path("README.md").read_text("utf-8")
    command = re.search(r"^(curl .*/compare .*)$", readme, re.MULTILINE)
    shown = re.search(r"```json\n(.*?)```", readme, re.DOTALL)
    assert command is not None
    assert shown is not None
    answer, said = ask(service, command.group(1)), json.loads(shown.group(1))
    for rounded in ("score", "distance", "log_likelihood_ratio"):  # the last digits are those of the processor
        assert answer.pop(rounded) == pytest.approx(said.pop(rounded), rel=1e-3)
    for step in (said, answer):
        step.pop("fmr_at_score")  # may be that of the next knot
    assert said == answer


def test_every_command_in_readme_is_answered(service: LiveService) -> None:
    commands = re.findall(r"^curl .*$", Path("README.md").read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        answer = ask(service, command)
        version = read_bundle(MODELS / answer["model"] / answer["version"])
        assert answer["fingerprint"] == version.fingerprint
        assert answer["model"] == ("questions" if "questions" in command else "glyphs")


def test_readme_command_finds_the_character_on_file(service: LiveService) -> None:
    (command,) = re.findall(r"^curl .*/match .*$", Path("README.md").read_text("utf-8"), re.MULTILINE)
    answer = ask(service, command)
    assert (answer["verdict"], answer["best"]) == ("match", "one")
    assert [(one["id"], one["verdict"]) for one in answer["references"]] == [("one", "match"), ("two", "no_match")]
    assert answer["family"]["fmr"]["high"] <= 0.05


def test_two_hands_of_one_character_match_and_another_character_does_not(service: LiveService) -> None:
    one_a, one_b, two = ((Path("examples") / f"{name}.png").read_bytes() for name in ("one_a", "one_b", "two"))
    assert compare(service, one_a, one_b)["verdict"] == "match"
    assert compare(service, one_b, one_a)["verdict"] == "match"
    assert compare(service, one_a, two)["verdict"] == "no_match"


def test_pictures_unlike_those_measured_get_no_verdict(service: LiveService) -> None:
    rng = np.random.default_rng(0)
    own = draw_character(3, 1)
    foreign = {
        "noise": Image.fromarray(rng.integers(0, 256, (80, 80), dtype=np.uint8)),
        "white on black": ImageOps.invert(own),
        "a smooth gradient, as in photographs": Image.linear_gradient("L"),
    }
    for what, picture in foreign.items():
        body = compare(service, png(own), png(picture))
        assert body["verdict"] == "undetermined", what
        assert [(r["code"], r["side"]) for r in body["reasons"]] == [("outside_calibration", "b")], what  # type: ignore[attr-defined]


def test_official_one_shot_runs_reach_the_figure_of_the_results_page_also_through_match(
    service: LiveService, omniglot: Path
) -> None:
    """Each trial once by its embeddings and once as a request to /match: the drawing as it is, the twenty on file as
    embeddings. A tie is no hit either way.
    """
    runs = read_runs(omniglot)
    assert len(runs) == 20
    hits = matched = 0
    fingerprint = read_bundle(newest()).fingerprint
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for run in runs:
            training = embed(service, run.training)
            hits += int(one_shot_hits(embed(service, run.tests), training, run.answer).sum())
            file = [
                {"id": str(place), "items": [{"embedding": row.tolist(), "fingerprint": fingerprint}]}
                for place, row in enumerate(training.astype(np.float64))
            ]
            for item, right in zip(run.tests, run.answer.tolist(), strict=True):
                probe = {"base64": base64.b64encode(item["bytes"]).decode()}
                answer = client.post("/match", json={"probe": probe, "references": file, "threshold": -1})
                assert answer.status_code == 200, answer.text
                assert len(answer.json()["references"]) == 20
                best, first = answer.json()["best"], answer.json()["references"][0]
                # an odd drawing gets no verdict, which takes nothing from who is first
                codes = {reason["code"] for reason in answer.json()["reasons"]}
                matched += (first["id"] if codes == {"outside_calibration"} else best) == str(right)
    results = Path("docs/results.md").read_text("utf-8")
    said = re.search(r"^\| glyphs@\S+ \| 20 \| 152000 \|.*\| 400 \| (\d+) \(", results, re.MULTILINE)
    assert said is not None
    assert matched == hits == int(said.group(1))
    assert hits >= 0.96 * 400


def test_claimed_rates_hold_on_test_identities_over_http(service: LiveService, omniglot: Path) -> None:
    evaluation = read_drawings(omniglot, "evaluation")
    in_runs = np.isin(evaluation.group, sorted(run_alphabets(read_runs(omniglot), evaluation)))
    test = evaluation.select(in_runs & (evaluation.source <= 8))  # eight drawings of every character
    vectors = embed(service, test.items)
    scores = vectors @ vectors.T
    same = test.identity[:, None] == test.identity[None, :]
    hard = (test.group[:, None] == test.group[None, :]) & ~same
    off = ~np.eye(len(scores), dtype=np.bool_)
    for point in calibration().operating_points:
        impostor = scores[hard] if point.impostor == "hard" else scores[~same]
        assert (impostor >= point.threshold).mean() <= point.fmr.high, point.name
        assert point.fnmr is not None
        assert (scores[same & off] < point.threshold).mean() <= point.fnmr.high, point.name


def test_own_items_are_seldom_refused_as_foreign(service: LiveService, omniglot: Path) -> None:
    evaluation = read_drawings(omniglot, "evaluation")
    items = evaluation.items[:: len(evaluation) // 128][:128]
    inputs = [{"base64": base64.b64encode(item["bytes"]).decode()} for item in items]
    pairs = [{"a": a, "b": b} for a, b in zip(inputs[:64], inputs[64:], strict=True)]
    answer = httpx.post(service.url + "/compare/batch", json={"pairs": pairs}, timeout=60).json()
    codes = [reason["code"] for result in answer["results"] for reason in result["reasons"]]
    assert codes.count("outside_calibration") <= 0.05 * len(items)

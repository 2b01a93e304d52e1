"""A recorded verdict is taken again from the items and the bundle; whatever differs is told, with exit code 1."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli import main
from app.core.bundle import read_bundle, seal, write_bundle
from app.core.observe import NullObserver
from app.records import read_signer
from app.records import seal as seal_record
from app.service import Recorder
from tests.records.test_signing import write_key
from tests.serving import client_of, load, make_app, picture
from tests.tiny import make_tiny, tiny_png

Asked = dict[str, Any]


def pair(**changes: Any) -> Asked:
    return {"a": picture(0, 0), "b": picture(0, 1), "include": ["record"], **changes}


def ask(models: Path, route: str, body: Asked, key: Path | None = None, name: str = "tiny/1.0.0") -> Asked:
    """The answer of the service on these models."""
    told = Recorder(NullObserver(), lambda: datetime.now(UTC), signer=None if key is None else read_signer(key))
    registry = load(read_bundle(models / name))

    async def post() -> Asked:
        async with client_of(make_app(registry, recorder=told)) as client:
            answer = await client.post(route, json=body, headers={"x-request-id": "mine"})
        assert answer.status_code == 200, answer.text
        found: Asked = answer.json()
        return found

    return asyncio.run(post())


@pytest.fixture
def run(tmp_path: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Replays a record with items, given as bytes, in a service that runs on the CPU."""

    def replay(
        record: Asked | bytes, *items: bytes, models: Path = tiny_models, more: tuple[str, ...] = ()
    ) -> tuple[int, str]:
        file = tmp_path / "record.json"
        file.write_bytes(record if isinstance(record, bytes) else json.dumps(record).encode())
        names = []
        for number, item in enumerate(items):
            (tmp_path / f"item-{number}").write_bytes(item)
            names.append(str(tmp_path / f"item-{number}"))
        code = main(["replay", str(file), *names, "--models", str(models), *more])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return replay


Run = Callable[..., tuple[int, str]]
ITEMS = (tiny_png(0, 0), tiny_png(0, 1))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_fmr": 0.01},
        {"max_fmr": 0.0011, "max_fnmr": 0.04},
        {"threshold": 0.9999},
        {"operating_point": "fmr_1e-1", "impostor": "random"},
        {"a": picture(2000, 0)},
    ],
    ids=["default", "max_fmr", "two thresholds", "a threshold", "named", "an unlike item"],
)
def test_recorded_verdict_is_reproduced(run: Run, tiny_models: Path, changes: Asked) -> None:
    record = ask(tiny_models, "/compare", pair(**changes))["record"]
    first = tiny_png(2000, 0) if "a" in changes else ITEMS[0]
    code, said = run(record, first, ITEMS[1])
    assert code == 0, said
    assert said.splitlines()[-1] == "reproduced"
    assert "difference 0, guard band" in said
    assert "signature: none" in said


def test_reference_of_a_file_is_reproduced_with_all_its_items(run: Run, tiny_models: Path) -> None:
    references = [{"id": "x", "items": [picture(0, 1), picture(0, 2)]}, {"id": "y", "items": [picture(1, 0)]}]
    body = {"probe": picture(0, 0), "references": references, "aggregation": "mean", "threshold": 0.4}
    answer = ask(tiny_models, "/match", {**body, "include": ["record"]})
    by_id = {reference["id"]: reference["record"] for reference in answer["references"]}
    assert run(by_id["x"], *ITEMS, tiny_png(0, 2))[0] == 0
    assert run(by_id["y"], ITEMS[0], tiny_png(1, 0))[0] == 0
    code, said = run(by_id["x"], *ITEMS)
    assert (code, "3 items; 2 were given" in said) == (1, True)
    asked = {**{name: part for name, part in body.items() if name != "threshold"}, "max_fmr": 0.1}
    asked["references"] = [references[1], {"id": "z", "items": [picture(2, 0)]}]
    shared = ask(tiny_models, "/match", {**asked, "include": ["record"]})["references"][0]["record"]
    probe = tiny_png(1, 0) if shared["pointer"] == "/references/0" else tiny_png(2, 0)
    assert run(shared, ITEMS[0], probe)[0] == 0


def test_other_items_are_told_before_anything_runs(run: Run, tiny_models: Path) -> None:
    record = ask(tiny_models, "/compare", pair())["record"]
    code, said = run(record, ITEMS[1], ITEMS[0])
    assert code == 1
    assert "is not what was compared" in said
    assert "score" not in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": 0.5}, "differs: the score"),
        ({"verdict": "no_match"}, "differs: the verdict"),
        ({"guard_band": 1e-9}, "differs: the guard band"),
        ({"operating_point": None, "verdict": "undetermined"}, "differs: the threshold"),
        ({"reasons": [{"code": "outside_calibration", "side": "a"}], "verdict": "undetermined"}, "like those"),
        ({"version": "0.9.0", "fingerprint": "0" * 64}, "it has tiny@1.0.0"),
        ({"model": "other"}, "it has none of that name"),
    ],
    ids=lambda changes: ",".join(changes) if isinstance(changes, dict) else "",
)
def test_record_that_was_changed_and_sealed_anew_is_found_out(
    run: Run, tiny_models: Path, changes: Asked, said: str
) -> None:
    record = ask(tiny_models, "/compare", pair())["record"]
    content = {name: part for name, part in record.items() if name not in ("sha256", "signature")}
    code, found = run(seal_record({**content, **changes}, None), *ITEMS)
    assert code == 1
    assert said in found
    assert "Traceback" not in found


def test_tampered_record_is_found_out(run: Run, tiny_models: Path) -> None:
    record = ask(tiny_models, "/compare", pair())["record"]
    code, said = run({**record, "verdict": "no_match"}, *ITEMS)
    assert (code, "it was changed" in said) == (1, True)


def test_signature_is_checked_with_the_key_that_is_given(
    run: Run, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = write_key(tmp_path)
    _, other = write_key(tmp_path, "other")
    record = ask(tiny_models, "/compare", pair(), key=private)["record"]
    assert "valid, of key" in run(record, *ITEMS, more=("--key", str(public)))[1]
    assert "not checked" in run(record, *ITEMS)[1]
    code, said = run(record, *ITEMS, more=("--key", str(other)))
    assert (code, "signed with the key" in said) == (1, True)
    assert run({**record, "signature": None}, *ITEMS, more=("--key", str(public)))[0] == 1
    assert run(record, *ITEMS, more=("--key", str(tmp_path / "missing")))[0] == 1
    monkeypatch.setenv("TWINSERVE_RECORD_KEY_FILE", str(private))
    assert "valid, of key" in run(record, *ITEMS)[1]


def test_line_of_a_file_of_decisions_is_found_by_its_request_and_place(run: Run, tiny_models: Path) -> None:
    other = {"a": picture(1, 0), "b": picture(2, 0)}
    body = {"pairs": [{"a": picture(0, 0), "b": picture(0, 1)}, other], "include": ["record"]}
    records = [result["record"] for result in ask(tiny_models, "/compare/batch", body)["results"]]
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    assert "holds 2 such records; name one" in run(lines, *ITEMS)[1]
    assert run(lines, *ITEMS, more=("--request-id", "mine", "--pointer", "/pairs/0"))[0] == 0
    assert "holds 0 such records" in run(lines, *ITEMS, more=("--request-id", "yours"))[1]
    assert run(lines.splitlines()[1], tiny_png(1, 0), tiny_png(2, 0))[0] == 0


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"3", b'{"a": 1}\n{', b"\xff"])
def test_file_that_holds_no_record_is_one_line(run: Run, record: bytes) -> None:
    code, said = run(record, *ITEMS)
    assert code == 1
    assert said.startswith("differs: ")
    assert said.count("\n") == 1


def test_recalibrated_bundle_reproduces_the_score_and_says_that_its_evidence_is_another(
    run: Run, tiny_models: Path, tmp_path: Path
) -> None:
    record = ask(tiny_models, "/compare", pair())["record"]
    before = make_tiny()
    assert before.calibration is not None
    after = seal(
        before.manifest.draft(version="1.0.1"),
        graph=before.graph,
        golden=before.golden,
        calibration=before.calibration.model_copy(update={"id": "tiny-2"}),
    )
    write_bundle(tmp_path / "models", after, {"MODEL_CARD.md": b"# tiny\n"})
    code, said = run(record, *ITEMS, models=tmp_path / "models")
    assert code == 0, said
    assert "bundle: tiny@1.0.1" in said
    assert "thresholds were not compared" in said


def test_embeddings_are_replayed_from_their_bytes_and_from_json(run: Run, tiny_models: Path) -> None:
    given = ask(tiny_models, "/embed", {"inputs": [picture(0, 0)]})
    numbers = given["embeddings"][0]
    item = {"embedding": numbers, "fingerprint": given["fingerprint"]}
    record = ask(tiny_models, "/compare", pair(a=item))["record"]
    raw = np.array(numbers, dtype="<f4").tobytes()
    assert run(record, raw, ITEMS[1])[0] == 0
    assert run(record, json.dumps(numbers).encode(), ITEMS[1])[0] == 0
    assert run(record, json.dumps([*numbers[1:], 1]).encode(), ITEMS[1])[0] == 1
    assert len(raw) == struct.calcsize(f"<{len(numbers)}f")


ROOT = Path(__file__).parents[2]


def test_texts_are_replayed_from_files_or_as_they_stand(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On the shipped questions: a prefix or a cut is among a record's options."""
    a, b = "How do I learn to swim?", "What is the best way to learn swimming?" + " really" * 300
    item = {"text": b, "truncate": True}
    [name] = [str(one.relative_to(ROOT / "models")) for one in (ROOT / "models" / "questions").iterdir()]
    answer = ask(ROOT / "models", "/compare", {"a": {"text": a}, "b": item, "include": ["record"]}, name=name)
    assert answer["record"]["inputs"][1]["options"] == {"truncate": True}
    assert run(answer["record"], a.encode() + b"\n", b.encode(), models=ROOT / "models")[0] == 0
    file = tmp_path / "record"
    file.write_text(json.dumps(answer["record"]))
    assert main(["replay", str(file), a, b, "--text", "--models", str(ROOT / "models")]) == 0
    assert "reproduced" in capsys.readouterr().out


def test_series_are_replayed_from_json(run: Run) -> None:
    [folder] = (ROOT / "models" / "heartbeat").iterdir()
    golden = read_bundle(folder).golden.items
    record = ask(
        ROOT / "models",
        "/compare",
        {"a": golden[0], "b": golden[1], "include": ["record"]},
        name=str(folder.relative_to(ROOT / "models")),
    )["record"]
    files = [json.dumps(one["values"]).encode() for one in golden[:2]]
    code, said = run(record, *files, models=ROOT / "models")
    assert code == 0, said
    assert record["inputs"][0]["form"] == "values"

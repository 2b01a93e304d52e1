"""Product listings of two shops: the same product? Everything in docs/examples/products.md.

    python examples/products/run.py [FOLDER] [--listings FILE] [--bundle BUNDLE]

A line of FILE is {"split": "train" | "valid" | "test", "a": {column: text}, "b": {column: text}, "label": 1 | 0}: the
form of the Abt-Buy and Amazon-Google benchmarks, whose own files may be given. Left out: a few listings written for
the project, with the bundle that ships.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from running import WAIT_S, command, service, shipped  # noqa: E402 - the line above makes it importable

LEFT_OUT = frozenset({"description", "price"})
"""Columns that the text of a record leaves out: on the valid pairs of both benchmarks it was better without them."""
BATCH = 64
Pair = dict[str, Any]
Item = dict[str, Any]


def main(folder: Path, listings: Path, bundle: Path) -> None:
    """Calibrate the bundle on the train pairs, choose a threshold on the valid pairs, judge the test pairs."""
    pairs = read(listings)
    train = without_contradictions(pairs["train"])
    print(f"{len(pairs['train']) - len(train)} train pairs are left out: the same two texts are labelled both ways")
    write_table(folder / "train.jsonl", train)
    models, name = folder / "models", bundle.parent.name
    words = ("--population", f"train pairs of {listings.name}", "--impostor", "another product, picked to be alike")
    command("calibrate", bundle, "--pairs", folder / "train.jsonl", "--out", models, *words)
    with service(models, folder) as url:
        kept = embed(url, name, [pair[side] for split in ("valid", "test") for pair in pairs[split] for side in "ab"])
        found = judge(url, name, pairs["test"], kept)
        report("the default operating point, fixed by an error rate", found, pairs["test"])
        scores = [answer["score"] for answer in judge(url, name, pairs["valid"], kept)]
        found = judge(url, name, pairs["test"], kept, threshold=best_threshold(scores, pairs["valid"]))
        report("the threshold with the best F1 on the valid pairs", found, pairs["test"])
    known = {text(pair[side]) for pair in pairs["train"] for side in "ab"}
    again = [text(pair[side]) in known for pair in pairs["test"] for side in "ab"]
    print(f"\n{sum(again) / len(again):.1%} of the records in test pairs are in train pairs too")


def text(record: dict[str, str]) -> str:
    """The declared rule: the values of all columns but those left out, in the file's order, one space between them."""
    return " ".join(value for name, value in record.items() if value and name not in LEFT_OUT)


def item(record: dict[str, str]) -> Item:
    """A record as an item. A text too long for the encoder is cut, as `notices` in the answer say."""
    return {"text": text(record), "truncate": True}


def read(path: Path) -> dict[str, list[Pair]]:
    """Labelled pairs of records by split, from JSON lines, also as .gz."""
    found: dict[str, list[Pair]] = {"train": [], "valid": [], "test": []}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for line in file:
            pair = json.loads(line)
            found[pair["split"]].append(pair)
    return found


def without_contradictions(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs whose two texts never come with the other label; `calibrate` refuses a table that has both."""
    labels: dict[frozenset[str], set[int]] = {}
    for pair in pairs:
        labels.setdefault(texts(pair), set()).add(pair["label"])
    return [pair for pair in pairs if len(labels[texts(pair)]) == 1]


def texts(pair: Pair) -> frozenset[str]:
    """The two texts of a pair, in no order."""
    return frozenset(text(pair[side]) for side in "ab")


def write_table(path: Path, pairs: Sequence[Pair]) -> None:
    """Pairs as `calibrate --pairs` reads them."""
    rows = ({"a": item(pair["a"]), "b": item(pair["b"]), "label": pair["label"]} for pair in pairs)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")


def embed(url: str, model: str, records: Sequence[dict[str, str]]) -> dict[str, Item]:
    """Each distinct text's embedding as an item, from POST /embed: records recur in pairs, and are embedded once."""
    texts = sorted({text(record): item(record) for record in records}.items())
    found: dict[str, Item] = {}
    for start in range(0, len(texts), BATCH):
        some = texts[start : start + BATCH]
        answer = post(f"{url}/embed", {"model": model, "inputs": [one for _, one in some], "encoding_format": "base64"})
        for (words, _), row in zip(some, answer["embeddings"], strict=True):
            found[words] = {"embedding": row, "fingerprint": answer["fingerprint"]}
    return found


def judge(url: str, model: str, pairs: Sequence[Pair], kept: dict[str, Item], **selector: float) -> list[Item]:
    """What POST /compare/batch says of each pair of kept embeddings."""
    answers: list[Item] = []
    for start in range(0, len(pairs), BATCH):
        some = [{side: kept[text(pair[side])] for side in "ab"} for pair in pairs[start : start + BATCH]]
        answers += post(f"{url}/compare/batch", {"model": model, "pairs": some, **selector})["results"]
    return answers


def post(url: str, body: Item) -> Item:
    """The answer; a refusal ends the example."""
    response = httpx.post(url, json=body, timeout=WAIT_S)
    answer: Item = response.json()
    if not response.is_success:
        sys.exit(answer["detail"])
    return answer


def best_threshold(scores: Sequence[float], pairs: Sequence[Pair]) -> float:
    """The score that, taken as threshold, gives the highest F1."""
    return max(scores, key=lambda one: f1([score >= one for score in scores], pairs))


def f1(match: Sequence[bool], pairs: Sequence[Pair]) -> float:
    """F1 of the match class."""
    hits = sum(said and pair["label"] for said, pair in zip(match, pairs, strict=True))
    return float(2 * hits / (sum(match) + sum(pair["label"] for pair in pairs)))


def report(where: str, answers: Sequence[Item], pairs: Sequence[Pair]) -> None:
    """Rates on the test pairs, each pair once, beside those that the calibration states for this threshold."""
    match = [answer["verdict"] == "match" for answer in answers]
    alike = [pair["label"] == 1 for pair in pairs]
    wrong = sum(said and not true for said, true in zip(match, alike, strict=True)) / alike.count(False)
    missed = sum(true and not said for said, true in zip(match, alike, strict=True)) / alike.count(True)
    point = answers[0]["operating_point"]
    unsure = sum(answer["verdict"] == "undetermined" for answer in answers)
    print(f"\n{len(pairs)} test pairs at {where}: {point['name'] or 'threshold'} ({point['threshold']:.4f})")
    print(f"  F1 of the match class: {f1(match, pairs):.3f}")
    for name, rate in (("fmr", wrong), ("fnmr", missed)):
        said = point[name]
        print(
            f"  {name.upper()}: {rate:.3f}, stated {said['value']:.3f} (95 %: {said['low']:.3f} to {said['high']:.3f})"
        )
    print(f"  undetermined: {unsure}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where to write; a temporary folder when left out")
    parser.add_argument("--listings", type=Path, default=HERE / "listings.jsonl")
    parser.add_argument("--bundle", type=Path, help="name/version; the shipped `questions` when left out")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinserve-products-") as temporary:
        place = (chosen.folder or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        main(place, chosen.listings.resolve(), (chosen.bundle or shipped("questions")).resolve())

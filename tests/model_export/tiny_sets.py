"""Synthetic folders in the layout of the real sets of questions, digits and heartbeats, and recipes cut to seconds."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile

from model_export.probes.audio import utter
from model_export.probes.series import beat

RECIPES = Path(__file__).parents[2] / "recipes"
SPEAKERS = ("george", "jackson", "lucas", "nicolas")
DOMAINS = ("banking", "travel")
WORDS = ("card", "money", "account", "flight", "hotel", "ticket", "pin", "limit", "rate", "fee", "bag", "seat", "visa")


def write_tiny_questions(folder: Path, per_intent: int = 12) -> None:
    """banking77/ with 8 intents and clinc150/ with 8 in each of two domains; an intent is three words of its own."""
    rng = np.random.default_rng(0)

    def rows(first: int, names: list[str]) -> list[str]:
        lines = []
        for place, name in enumerate(names, start=first):
            own = [f"{WORDS[place % len(WORDS)]}{place}", f"{WORDS[(place * 3) % len(WORDS)]}", f"do{place}"]
            for number in range(per_intent):
                words = [*rng.permutation(own)[:2], *rng.choice(WORDS, 3), f"number{number}"]
                lines.append(f"train\t{' '.join(words)}\t{name}")
        return lines

    (folder / "banking77").mkdir(parents=True)
    (folder / "clinc150").mkdir()
    _write_table(folder / "banking77" / "queries.tsv.gz", rows(0, [f"bank_{i}" for i in range(8)]))
    domains = {domain: [f"{domain}_{i}" for i in range(8)] for domain in DOMAINS}
    lines = [line for n, domain in enumerate(DOMAINS) for line in rows(8 * (n + 1), domains[domain])]
    _write_table(folder / "clinc150" / "queries.tsv.gz", [*lines, "oos_train\tnothing of the kind\toos"])
    (folder / "clinc150" / "domains.json").write_text(json.dumps(domains))


def _write_table(path: Path, lines: list[str]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(["split\ttext\tintent", *lines]) + "\n")


def write_tiny_digits(folder: Path, digits: int = 3, takes: int = 9) -> None:
    """recordings.zip of four voices."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "recordings.zip", "w") as archive:
        for digit in range(digits):
            for voice, speaker in enumerate(SPEAKERS):
                for take in range(takes):
                    file = BytesIO()
                    sound = utter(digit, 0.3 + 0.01 * take, 8000) * (0.5 + 0.1 * voice)
                    soundfile.write(file, sound, 8000, format="WAV", subtype="PCM_16")
                    archive.writestr(f"recordings/{digit}_{speaker}_{take}.wav", file.getvalue())


def write_tiny_heartbeats(folder: Path, people: int = 24, records: int = 3) -> None:
    """ecg_id.npz: each person's beat, every third person on two days; a minority of the real length."""
    folder.mkdir(parents=True)
    person = np.repeat(np.arange(1, people + 1), records)
    signals = np.zeros((len(person), 2, 3000), np.int16)
    for row, one in enumerate(person):
        noise = np.random.default_rng(row).normal(0, 0.05, 3000)
        signals[row, 1] = (beat(int(one), 3000, 1)[:, 0] * 200).astype(np.int16)
        signals[row, 0] = signals[row, 1] + (noise * 200).astype(np.int16)
    number = np.tile(np.arange(1, records + 1), people)
    date = np.where((person % 3 == 0) & (number == records), "02.02.2005", "01.01.2005")
    np.savez_compressed(
        folder / "ecg_id.npz", signals=signals, person=person.astype(np.uint8), record=number, date=date
    )


def write_tiny_recipe(name: str, path: Path, **changes: str) -> Path:
    """A shipped recipe with `changes` of whole lines, key -> new right-hand side, each key once in the recipe."""
    text = (RECIPES / f"{name}.toml").read_text("utf-8")
    for key, value in ({"steps": "12", "warmup_steps": "2", "check_every": "6", "draws": "1000"} | changes).items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert count == 1, f"{key} is {count} times in {name}"
    path.write_text(text, "utf-8")
    return path

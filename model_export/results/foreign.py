"""Inputs that a model was never meant for, of the form that it takes: what its applicability model should refuse.

Up to SAMPLE of each kind, spread evenly over a data set below TWINSERVE_DATA, or made by a fixed seed. The kind that a
recipe itself measures is left out, by its reader.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from app.core.modalities.base import Item
from model_export.datasets.omniglot import read_drawings
from model_export.datasets.pictures import to_png
from model_export.recipe import Recipe, set_folder

SAMPLE = 120
SERIES_SECONDS = 8
OTHER_LANGUAGES = Path(__file__).with_name("other_languages.json")
"""Everyday questions and requests in other languages, written for the project: language -> sentences."""
Array = npt.NDArray[Any]
Source = tuple[frozenset[str], Callable[[Recipe], Sequence[Item]]]
"""The readers whose own kind it is, and what gives the items."""


def foreign_items(recipe: Recipe) -> Iterator[tuple[str, Sequence[Item]]]:
    """(kind, items) of every kind of the recipe's modality. Raises CommandError where a data set is not there."""
    for kind, (readers, make) in SOURCES[recipe.modality.name].items():
        if recipe.data.reader not in readers:
            yield kind, make(recipe)


def _spread(items: Sequence[Any]) -> list[Any]:
    return [items[at] for at in np.unique(np.linspace(0, len(items) - 1, SAMPLE).round().astype(int))]


def _files(folder: str, without: str = "\0") -> Callable[[Recipe], Sequence[Item]]:
    def read(_: Recipe) -> Sequence[Item]:
        with zipfile.ZipFile(set_folder(folder, "applicability") / "images.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg") and without not in name)
            return [{"bytes": archive.read(name)} for name in _spread(names)]

    return read


def _arrays(folder: str, file: str, name: str) -> Callable[[Recipe], Sequence[Item]]:
    def read(_: Recipe) -> Sequence[Item]:
        with np.load(set_folder(folder, "applicability") / file, allow_pickle=False) as arrays:
            return [{"bytes": to_png(image)} for image in _spread(arrays[name])]

    return read


def _drawings(_: Recipe) -> Sequence[Item]:
    return _spread(read_drawings(set_folder("omniglot", "applicability"), "evaluation").items)


def _noise_pictures(_: Recipe) -> Sequence[Item]:
    rng = np.random.default_rng(0)
    return [{"bytes": to_png(rng.integers(0, 256, (96, 96), dtype=np.uint8))} for _ in range(SAMPLE)]


def _texts(folder: str, file: str, column: str) -> Callable[[Recipe], Sequence[Item]]:
    def read(_: Recipe) -> Sequence[Item]:
        with gzip.open(set_folder(folder, "applicability") / file, "rt", encoding="utf-8") as lines:
            place = next(lines).rstrip("\n").split("\t").index(column)
            return [{"text": line.rstrip("\n").split("\t")[place]} for line in _spread(list(lines))]

    return read


def _titles(_: Recipe) -> Sequence[Item]:
    path = set_folder("products", "applicability") / "wdc_computers.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [{"text": json.loads(line)["a"]["title"]} for line in _spread(list(lines))]


def _other_languages(_: Recipe) -> Sequence[Item]:
    sentences = json.loads(OTHER_LANGUAGES.read_text("utf-8"))
    return [{"text": text} for language in sorted(sentences) for text in sentences[language]]


def _code(_: Recipe) -> Sequence[Item]:
    """Lines of this package."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    lines = [line.strip() for path in paths for line in path.read_text("utf-8").splitlines()]
    return [{"text": line} for line in _spread([line for line in lines if len(line) > 20])]


def _letters(_: Recipe) -> Sequence[Item]:
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz     "))
    return [{"text": "".join(rng.choice(letters, rng.integers(20, 60))).strip() or "x"} for _ in range(SAMPLE)]


def _series(signals: Callable[[], Sequence[tuple[Array, float]]]) -> Callable[[Recipe], Sequence[Item]]:
    """One channel of another sensor at the model's rate, repeated until it is as long as a recording."""

    def make(recipe: Recipe) -> Sequence[Item]:
        rate = float(recipe.modality.params["rate"])
        return [
            {"values": _stretch(signal, own, rate)[:, np.newaxis].tolist(), "rate": rate} for signal, own in signals()
        ]

    return make


def _sounds(signals: Callable[[], Sequence[tuple[Array, float]]]) -> Callable[[Recipe], Sequence[Item]]:
    """The same, played ten times as fast, as a second of sound."""

    def make(recipe: Recipe) -> Sequence[Item]:
        rate = int(recipe.modality.params["rate"])
        return [_wav(_stretch(signal, own * 10, rate)[:rate], rate) for signal, own in signals()]

    return make


def _stretch(signal: Array, own: float, rate: float) -> npt.NDArray[np.float64]:
    seconds = len(signal) / own
    time = np.arange(round(SERIES_SECONDS * rate)) / rate
    return np.interp(time % seconds, np.arange(len(signal)) / own, signal.astype(np.float64))


def _wav(signal: npt.NDArray[np.float64], rate: int) -> Item:
    file = BytesIO()
    loudest = max(float(np.abs(signal).max()), 1e-9)
    soundfile.write(file, 0.5 * signal / loudest, rate, format="WAV", subtype="PCM_16")
    return {"bytes": file.getvalue()}


def _phone() -> Sequence[tuple[Array, float]]:
    """Acceleration of a phone on the body, forward."""
    with np.load(set_folder("uci_har_subset", "applicability") / "windows.npz", allow_pickle=False) as arrays:
        return [(window[0], 50.0) for window in _spread(arrays["x"])]


def _heartbeats() -> Sequence[tuple[Array, float]]:
    with np.load(set_folder("ecg_id", "applicability") / "ecg_id.npz", allow_pickle=False) as arrays:
        return [(signal[0], 500.0) for signal in _spread(arrays["signals"])]


def _noise() -> Sequence[tuple[Array, float]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=4000), 500.0) for _ in range(SAMPLE)]


def _tones() -> Sequence[tuple[Array, float]]:
    """A sine each, of 1 to 40 Hz."""
    time = np.arange(4000) / 500
    return [(np.sin(2 * np.pi * hertz * time), 500.0) for hertz in np.geomspace(1, 40, SAMPLE)]


NONE: frozenset[str] = frozenset()
SOURCES: Mapping[str, Mapping[str, Source]] = {
    "image": {
        "faces": (frozenset({"faces"}), _files("lfw")),
        "X-rays": (frozenset({"xray"}), _arrays("pneumoniamnist", "pneumoniamnist.npz", "val_images")),
        "signatures": (frozenset({"signatures"}), _arrays("signatures_cms", "signatures.npz", "images")),
        "drawn characters": (frozenset({"omniglot"}), _drawings),
        "photographs of products": (frozenset({"groceries"}), _files("grocery", without="iconic")),
        "photographs of garments": (NONE, _files("clothing")),
        "noise": (NONE, _noise_pictures),
    },
    "text": {
        "German, French, Spanish": (NONE, _other_languages),
        "news": (NONE, _texts("mrpc", "pairs.tsv.gz", "text_a")),
        "titles of products": (NONE, _titles),
        "program code": (NONE, _code),
        "random letters": (NONE, _letters),
    },
    "audio": {
        "heartbeats as sound": (NONE, _sounds(_heartbeats)),
        "motion as sound": (NONE, _sounds(_phone)),
        "tones": (NONE, _sounds(_tones)),
        "noise": (NONE, _sounds(_noise)),
    },
    "series": {
        "motion of a phone": (NONE, _series(_phone)),
        "tones": (NONE, _series(_tones)),
        "noise": (NONE, _series(_noise)),
    },
}

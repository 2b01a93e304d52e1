"""A folder in Omniglot's form, drawn for the project: enough to train, export, calibrate and evaluate in seconds."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_export.drawings import draw_character

DRAWERS = 18
RECIPE = Path(__file__).with_name("tiny_glyphs.toml")


def write_tiny_omniglot(folder: Path, *, alphabets: int = 3, characters: int = 12) -> None:
    """Write background.npz (also holding the recipe's validation alphabets), evaluation.npz and all_runs.zip."""
    folder.mkdir(parents=True)
    names = ["Tifinagh", *(f"drawn_{number}" for number in range(1, alphabets))]
    _write_part(folder / "background.npz", names, characters, first=0)
    evaluation = [f"new_{number}" for number in range(4)]
    pictures = _write_part(folder / "evaluation.npz", evaluation, characters, first=1000)
    with zipfile.ZipFile(folder / "all_runs.zip", "w") as archive:
        for run in (1, 2):
            _write_run(archive, run, pictures[run - 1])


def _write_part(path: Path, names: list[str], characters: int, first: int) -> npt.NDArray[np.uint8]:
    """Pictures (alphabets, characters, drawers, 105, 105), 1 = ink, also written in the packed form."""
    pictures = np.stack(
        [
            [
                [_ink(first + alphabet * characters + character, drawer) for drawer in range(DRAWERS)]
                for character in range(characters)
            ]
            for alphabet in range(len(names))
        ]
    )
    count = len(names) * characters * DRAWERS
    identity = np.repeat(np.arange(len(names) * characters), DRAWERS)
    np.savez_compressed(
        path,
        ink=np.packbits(pictures.reshape(count, 105, 105), axis=2),
        alphabet=(identity // characters).astype(np.uint8),
        character=(identity % characters + 1).astype(np.uint8),
        drawer=np.tile(np.arange(1, DRAWERS + 1), count // DRAWERS).astype(np.uint8),
        class_id=identity.astype(np.uint16),
        alphabet_names=np.array(names),
    )
    return pictures


def _ink(character: int, hand: int) -> npt.NDArray[np.uint8]:
    return (np.asarray(draw_character(character, hand, (105, 105))) < 128).astype(np.uint8)


def _write_run(archive: zipfile.ZipFile, run: int, alphabet: npt.NDArray[np.uint8]) -> None:
    lines = []
    for character, drawings in enumerate(alphabet, start=1):
        test, training = f"run{run:02}/test/item{character:02}.png", f"run{run:02}/training/class{character:02}.png"
        archive.writestr(test, _png(drawings[0]))
        archive.writestr(training, _png(drawings[1]))
        lines.append(f"{test} {training}")
    archive.writestr(f"run{run:02}/class_labels.txt", "\n".join(lines))


def _png(ink: npt.NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray((ink == 0).astype(np.uint8) * 255).convert("1").save(file, "PNG")
    return file.getvalue()


def write_tiny_recipe(path: Path, **changes: str) -> Path:
    """The tests' recipe of drawings; `changes` are other right-hand sides, by key."""
    path.write_text(change_lines(RECIPE.read_text("utf-8"), changes), "utf-8")
    return path


def change_lines(text: str, changes: Mapping[str, str]) -> str:
    """A recipe with other right-hand sides, by key; each key stands there once."""
    lines = text.splitlines()
    for key, value in changes.items():
        (place,) = [i for i, line in enumerate(lines) if line.startswith(f"{key} =")]
        lines[place] = f"{key} = {value}"
    return "\n".join(lines) + "\n"

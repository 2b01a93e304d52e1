"""`leave-one-out RECIPE --out FOLDER`: what a recipe of spoken digits does for each speaker whom it did not hear.

For each speaker the recipe is followed once with all others, and the speaker's recordings are compared with the others'
official test takes. It describes the recipe, not the weights that are shipped; one voice a training is no sample of
voices, so that no bound is given. Run folders and bundles stay in FOLDER.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from app.core.evidence import GenuineScores, PairScores, Units
from app.core.scoring import similarity_matrix
from model_export import recipe
from model_export.card import markdown_table
from model_export.comparing import Scores
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.figures import ALL, compute_figures
from model_export.floors.subject import Floor
from model_export.populations import read_splits
from model_export.recipe import data as recipe_data
from model_export.results.compare import export_subject
from model_export.subjects import Subject
from model_export.training import train

DRAWS = 100
FLOOR = "dtw"


def leave_one_out(recipe_path: Path, out: Path) -> None:
    """Train for each speaker and print a row each, then the mean. Raises CommandError for a recipe of other data."""
    chosen = recipe.read_recipe(recipe_path)
    if not isinstance(chosen.data, recipe_data.FsddData):
        raise CommandError(f"{recipe_path}: data.reader is {chosen.data.reader!r}; this is for fsdd")
    speakers = (*chosen.data.training_speakers, *chosen.data.held_out_speakers)
    numbers = []
    for left_out in speakers:
        own = _write_recipe(recipe_path, out, left_out, [one for one in speakers if one != left_out])
        train(own, out / left_out, fresh=True)
        subject = export_subject(out / left_out, out / left_out / "bundles")
        splits = read_splits(recipe.read_recipe(own))
        floor = Floor(FLOOR, chosen.modality)
        numbers.append(
            [value for each in (subject, floor) for value in _measure(each, splits.calibration, splits.validation)]
        )
    header = [f"{what}{whose}" for whose in ("", f", floor {FLOOR}") for what in ("ROC AUC", "EER", "nearest is right")]
    names = [*speakers, "mean"]
    rows = [(name, *(f"{value:.4f}" for value in row)) for name, row in zip(names, _with_mean(numbers), strict=True)]
    print("\n".join(markdown_table([("left out", *header), *rows])))


def _with_mean(numbers: list[list[float]]) -> list[list[float]]:
    return [*numbers, np.mean(numbers, axis=0).tolist()]


def _write_recipe(path: Path, out: Path, left_out: str, others: list[str]) -> Path:
    """The recipe with other speakers, beside the run folders."""
    text = path.read_text("utf-8")
    for field, names in (("training_speakers", others), ("held_out_speakers", [left_out])):
        line = f"{field} = [{', '.join(repr(name) for name in names)}]"
        text, count = re.subn(rf"^{field} = \[.*\]$", line, text, flags=re.MULTILINE)
        if count != 1:
            raise CommandError(f"{path}: data.{field} must be written on a line of its own")
    out.mkdir(parents=True, exist_ok=True)
    written = out / f"{left_out}.toml"
    written.write_text(text, "utf-8")
    return written


def _measure(subject: Subject, asked: LabelledItems, known: LabelledItems) -> tuple[float, float, float]:
    """ROC AUC and EER of all pairs of an asked and a known item, and how often the most alike known one matches."""
    embeddings = subject.embed([*asked.items, *known.items])
    both = np.arange(len(embeddings.kept))[embeddings.kept]
    count = int((both < len(asked)).sum())
    first, second = both[:count], both[count:] - len(asked)
    rows = embeddings.vectors
    score = similarity_matrix(rows[:count], rows[count:], subject.metric)
    alike = asked.identity[first][:, np.newaxis] == known.identity[second]
    voice = np.broadcast_to(known.unit[second] + 1, alike.shape)  # 0 is the speaker left out
    asking = np.zeros(alike.shape, np.int64)
    scores = Scores(
        Units(int(voice.max()) + 1),
        GenuineScores(score[alike], voice[alike]),
        {"random": PairScores(score[~alike], asking[~alike], voice[~alike])},
    )
    figures = compute_figures(scores, draws=DRAWS, seed=0)[ALL, "random"]
    right = alike[np.arange(count), score.argmax(axis=1)].mean()
    return figures.auc.value, figures.eer.value, float(right)

"""`losses RECIPE --out FOLDER`: one encoder and one budget, learnt with each loss and each way to choose pairs.

A loss meets a way to choose pairs as pytorch-metric-learning puts them together: the contrastive loss takes the two
pairs of each mined triplet, the supervised contrastive one finds an item's mined genuine items among these and its
mined impostors alone. `single` is the classic twin: each item embedded for one pair, two embeddings a pair.

Each is trained by `train` into a run folder of its own below FOLDER, once a seed. A command that was stopped goes on,
and what was measured is kept there too, in accuracy.json. The recipe's own loss, miner and seed are not used.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model_export.card import markdown_table
from model_export.comparing import score_all_pairs
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.figures import draw_samples, headline_of
from model_export.measure import keep_labelled
from model_export.oneshot import WAYS, hits_by_group, mean_over_groups
from model_export.populations import read_splits
from model_export.recipe import Recipe, read_recipe
from model_export.results.compare import export_subject
from model_export.results.pair_cost import Cost, check_timeable, measure_costs
from model_export.training import is_finished, train
from model_export.training.progress import read_rows
from model_export.training.run_folder import PROGRESS_FILE, write_whole

LOSSES = {
    "contrastive": 'name = "contrastive"\nmargin = 0.5\n',
    "triplet": 'name = "triplet"\nmargin = 0.2\n',
    "supervised contrastive": 'name = "supervised_contrastive"\ntemperature = 0.07\n',
}
"""The `[loss]` section of each; the numbers are the best of some on validation alphabets, as docs/results.md says."""


class Choice(NamedTuple):
    """How pairs are chosen: the `[miner]` section, and what `[sampler]` says beside the recipe's own."""

    miner: str
    sampler: str = ""


ALL_PAIRS = 'name = "none"\n'
PAIRS = {
    "random": Choice(ALL_PAIRS),
    "semi-hard": Choice('name = "semi_hard"\nmargin = 0.2\n'),
    "hard": Choice('name = "batch_hard"\n'),
    "re-mined": Choice(ALL_PAIRS, "remined_share = 0.5\n"),
    "single": Choice('name = "single_pairs"\n'),
}
Cell = tuple[str, str]
CELLS: Sequence[Cell] = [
    (loss, pairs) for loss in LOSSES for pairs in PAIRS if loss == "contrastive" or pairs != "single"
]
SEEDS = (1, 2, 3)
ACCURACY_FILE = "accuracy.json"
DRAWS = 100
"""Of bounds that no row shows: the spread over seeds stands in their place."""


@dataclass(frozen=True)
class Accuracy:
    """Of the exported graph on held-out identities: ROC AUC of all pairs, and one-shot accuracy within groups."""

    auc: float
    one_shot: float


@dataclass(frozen=True)
class Outcome:
    """What one run came to. `steps` to the target, None where no look reached it; `active` share of pairs in the first,
    the middle and the last round.
    """

    accuracy: Accuracy
    steps: int | None
    active: tuple[float, float, float]


def compare_losses(recipe_path: Path, out: Path, target: float) -> None:
    """Train, measure and print a row each. Raises CommandError for a recipe that cannot be varied or timed."""
    recipe = read_recipe(recipe_path)
    check_timeable(recipe)
    out.mkdir(parents=True, exist_ok=True)
    runs = {(cell, seed): _write_recipe(recipe_path, out, cell, seed) for seed in SEEDS for cell in CELLS}
    splits = read_splits(recipe)
    outcomes: dict[Cell, list[Outcome]] = {cell: [] for cell in CELLS}
    for (cell, _), own in runs.items():
        run = own.with_suffix("")
        if not is_finished(own, run):
            print(run.name, file=sys.stderr, flush=True)
            train(own, run)
        outcomes[cell].append(_outcome(run, splits.calibration, recipe, target))
    costs = measure_costs([runs[cell, SEEDS[0]].with_suffix("") for cell in CELLS], splits.training)
    print(f"{len(splits.calibration)} items: {recipe.calibration.population}")
    print("\n".join(["", *markdown_table([_header(recipe, target), *map(_row, CELLS, outcomes.values(), costs)])]))


def _write_recipe(path: Path, out: Path, cell: Cell, seed: int) -> Path:
    """The recipe with the loss, miner, sampler and seed of a run, beside its run folder."""
    loss, pairs = cell
    chosen = PAIRS[pairs]
    sampler = rf"\g<0>{chosen.sampler}"
    text = path.read_text("utf-8")
    for pattern, new in (
        (r"(?m)^seed = \d+$", f"seed = {seed}"),
        (r"(?m)^\[loss\]\n(.+\n)*", f"[loss]\n{LOSSES[loss]}"),
        (r"(?m)^\[miner\]\n(.+\n)*", f"[miner]\n{chosen.miner}"),
        (r"(?m)^\[sampler\]\n", sampler),
    ):
        text, count = re.subn(pattern, new, text)
        if count != 1:
            raise CommandError(f"{path}: must hold a seed, and the sections loss, miner and sampler")
    written = out / f"{loss}-{pairs}-{seed}.toml".replace(" ", "-")
    write_whole(written, text.encode())
    return written


def _outcome(run: Path, items: LabelledItems, recipe: Recipe, target: float) -> Outcome:
    rows = read_rows(run / PROGRESS_FILE)
    first, middle, last = (float(rows[at]["active_share"]) for at in (0, len(rows) // 2, -1))
    reached = (int(row["step"]) for row in rows if float(row["validation_auc"]) >= target)
    return Outcome(_accuracy(run, items, recipe), next(reached, None), (first, middle, last))


def _accuracy(run: Path, items: LabelledItems, recipe: Recipe) -> Accuracy:
    """Measure the exported graph once, and keep what it gave."""
    path = run / ACCURACY_FILE
    if path.exists():
        return Accuracy(**json.loads(path.read_text("utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        subject = export_subject(run, Path(folder))
    embedded = keep_labelled(items, subject.embed(items.items))
    scores = score_all_pairs(embedded, subject.metric, recipe.calibration, seed=recipe.seed)
    auc, _ = headline_of(draw_samples(scores, draws=DRAWS, seed=recipe.seed), _impostor(recipe))
    hits = hits_by_group(embedded.rows.vectors, embedded.items, seed=recipe.seed, metric=subject.metric)
    one_shot = mean_over_groups(hits, scores.units.count, draws=DRAWS, seed=recipe.seed)
    measured = Accuracy(auc.value, one_shot.value)
    write_whole(path, json.dumps(asdict(measured)).encode())
    return measured


def _impostor(recipe: Recipe) -> str:
    return "random" if recipe.calibration.hard is None else "hard"


def _header(recipe: Recipe, target: float) -> Sequence[str]:
    return (
        "loss",
        "pairs",
        f"ROC AUC, {_impostor(recipe)} impostors",
        f"{WAYS}-way one-shot",
        f"steps to validation AUC {target:g}, by seed",
        "active at start, middle, end",
        "ms a step",
        "pairs a step",
        "ms a pair",
    )


def _row(cell: Cell, outcomes: Sequence[Outcome], cost: Cost) -> Sequence[str]:
    accuracies = [one.accuracy for one in outcomes]
    active = np.mean([one.active for one in outcomes], axis=0)
    return (
        *cell,
        _over_seeds([one.auc for one in accuracies]),
        _over_seeds([one.one_shot for one in accuracies]),
        ", ".join("never" if one.steps is None else str(one.steps) for one in outcomes),
        ", ".join(f"{share:.1%}" for share in active),
        f"{cost.step_ms:.1f}",
        str(cost.pairs),
        f"{cost.step_ms / cost.pairs:.3g}",
    )


def _over_seeds(values: Sequence[float]) -> str:
    return f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"

"""What a training may begin with: the small network, a directory of sentence-transformers, or an earlier run.

Where there are several, each is trained for a little while, and the best on the validation items is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.core.modalities.base import Item
from model_export.datasets import Splits
from model_export.duplicates import find_copies
from model_export.errors import CommandError, needing
from model_export.fitting.small import Small
from model_export.populations import read_splits
from model_export.recipe import ModalityChoice, Recipe, SentenceTransformersChoice, read_recipe
from model_export.training.run_folder import RECIPE_FILE, WEIGHTS_FILE, choose_modality

MODULES = "modules.json"
"""What tells a directory of sentence-transformers."""
TRAINED_LAYERS = 2
"""Layers of a directory that are trained, the last ones: the others, and the token embeddings, stay as they are."""
KEPT_SHARE = 0.5
"""Of a directory's weights in those that come out: most of what is learnt stays, and most of what would be lost."""
GENTLER = 0.3
"""What an earlier run's learning rate is multiplied by where its weights are trained on."""
SMALL_SCHEDULE = {"name": "cosine", "check_every": 50, "keep": "best", "ema": 0.99}
FINE_TUNING = {"name": "cosine", "check_every": 25, "keep": "best"}


@dataclass(frozen=True)
class Start:
    """Sections of a recipe by their fields, what its comment says of them, and identities and items of each a batch."""

    said: str
    encoder: Mapping[str, Any]
    batch: tuple[int, int]
    loss: Mapping[str, Any]
    optimiser: Mapping[str, Any]
    schedule: Mapping[str, Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})
    tokenizer: Mapping[str, Any] | None = None

    @property
    def has_weights(self) -> bool:
        """Whether it has learnt something already."""
        return "from" in self.encoder


def small_start(modality: str, items: Sequence[Item]) -> Start:
    """The small network of a modality, by the looks of the items. Raises CommandError where they show nothing."""
    small = _look(modality)(items)
    return Start(
        said=f"{small.seen}; begins with a small network, untrained",
        encoder=small.encoder,
        batch=small.batch,
        loss={"name": "supervised_contrastive", "temperature": small.temperature},
        optimiser=small.optimiser,
        schedule=SMALL_SCHEDULE,
        params=small.params,
        augmentation=small.augmentation,
        tokenizer=small.tokenizer,
    )


def _look(modality: str) -> Callable[[Sequence[Item]], Small]:
    """The look of a modality, whose libraries come with it."""
    match modality:
        case "image":
            from model_export.fitting.pictures import look  # noqa: PLC0415
        case "audio":
            from model_export.fitting.sounds import look  # noqa: PLC0415
        case "series":
            from model_export.fitting.series import look  # noqa: PLC0415
        case _:
            from model_export.fitting.texts import look  # noqa: PLC0415
    return look


def start_from(folder: Path, modality: str) -> Start:
    """What begins with the weights in a folder: a run, or a directory of sentence-transformers.

    Raises CommandError for any other folder, and for one of another modality.
    """
    if (folder / RECIPE_FILE).is_file():
        return _from_run(folder, modality)
    if (folder / MODULES).is_file():
        if modality != "text":
            raise CommandError(f"{folder}: an encoder of texts, and the data is of the modality {modality}")
        return _from_directory(folder)
    raise CommandError(
        f"{folder}: neither a run folder nor a directory of sentence-transformers; a bundle holds a graph and no "
        "weights to train on: --bundle measures it as it is"
    )


def _from_directory(folder: Path) -> Start:
    with needing("import"):
        from model_export.importing.sentence_directories import (  # noqa: PLC0415
            choose_metric,
            load_model,
            transformer_of,
        )

    model = load_model(folder)
    layers = transformer_of(model).auto_model.config.num_hidden_layers
    return Start(
        said=f"begins with the weights of {folder}, of whose {layers} layers the last {TRAINED_LAYERS} are trained",
        encoder={
            "name": "sentence_transformers",
            "from": str(folder.resolve()),
            "dimension": model.get_embedding_dimension(),
            "normalise": choose_metric(model, None)[0] == "cosine",
            "from_share": KEPT_SHARE,
            "frozen_layers": max(0, layers - TRAINED_LAYERS),
        },
        batch=(16, 4),
        loss={"name": "supervised_contrastive", "temperature": 0.05},
        optimiser={"name": "adamw", "learning_rate": 5e-5, "weight_decay": 1e-2, "clip_norm": 1.0},
        schedule=FINE_TUNING,
    )


def _from_run(folder: Path, modality: str) -> Start:
    earlier = read_recipe(folder / RECIPE_FILE)
    if earlier.modality.name != modality:
        raise CommandError(f"{folder}: of the modality {earlier.modality.name}, and the data is of {modality}")
    own = isinstance(earlier.encoder, SentenceTransformersChoice)  # whose preparation comes with the weights
    prepared: ModalityChoice = choose_modality(earlier, folder)
    optimiser = _written(earlier.optimiser)
    return Start(
        said=f"begins with the weights of the run {folder}",
        encoder={**_written(earlier.encoder), "from": str(folder.resolve())},
        batch=(earlier.sampler.classes, earlier.sampler.per_class),
        loss=_written(earlier.loss),
        optimiser={**optimiser, "learning_rate": optimiser["learning_rate"] * GENTLER},
        schedule=FINE_TUNING if own else SMALL_SCHEDULE,
        params={} if own else prepared.params,
        augmentation=_written(earlier.augmentation),
    )


def _written(section: BaseModel) -> dict[str, Any]:
    """What a recipe's file says of a section, and which kind it is."""
    kind: dict[str, Any] = section.model_dump(include={"name", "kind"})
    given: dict[str, Any] = section.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    return kind | given


def find_starts(modality: str, splits: Splits, *, models: Path, runs: Path, but: Path) -> Iterator[Start]:
    """What lies in the folders of bundles and runs, and may be begun with: nothing that may hold what is measured, nor
    the run `but`, which is about to be written.
    """
    for root in (models, runs):
        for marker in sorted(root.glob(f"*/{MODULES}")) if modality == "text" else ():
            yield start_from(marker.parent, modality)
    for held in sorted(runs.glob(f"*/{RECIPE_FILE}")):
        folder = held.parent
        if folder == but or not (folder / WEIGHTS_FILE).is_file():
            continue
        try:
            earlier = read_recipe(held)
            if earlier.modality.name != modality:
                continue
            print(f"looking whether {folder} may be begun with; its data:")
            check_unseen(earlier, splits)
        except CommandError as error:
            print(f"not begun with {folder}: {error}")
            continue
        yield start_from(folder, modality)


def check_unseen(earlier: Recipe, splits: Splits) -> None:
    """Raise CommandError where an earlier run trained on a copy of what is measured here, or nobody can tell."""
    trained = read_splits(earlier)
    parts = {"what it trained on": trained.training, "its validation": trained.validation}
    measured = {name: items for name, items in splits.parts().items() if name not in ("training", "validation")}
    for copy in find_copies({**parts, **measured}, earlier.modality, near=True):
        if copy.part in parts and copy.other_part in measured:
            raise CommandError(f"it trained on what is measured here: {copy.line({**parts, **measured})}")

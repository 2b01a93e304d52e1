"""What a training goes on from: tensors as safetensors, and the figures of its Mark as JSON in their metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from model_export.errors import CommandError
from model_export.training.collapse import Signs
from model_export.training.run_folder import STATE_FILE, write_whole

METADATA = "twinserve"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Mark:
    """How far a training has come: the figures beside its tensors.

    `best` is the best validation AUC so far, `looks` the newest signs of collapse, `data` a digest of the training
    items, `threads` the number of torch's threads.
    """

    step: int
    steps: int
    seconds: float
    best: float
    untrained_auc: float
    looks: tuple[Signs, ...]
    data: str
    threads: int


def write_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write tensors alone; the same tensors give the same bytes."""
    write_whole(path, save(_copies(weights)))


def write_state(run: Path, mark: Mark, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write what the next round starts from. It is written last: what the folder holds beside it is of that step."""
    write_whole(run / STATE_FILE, save(_copies(tensors), {METADATA: json.dumps(asdict(mark))}))


def _copies(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Copies on the CPU: the file takes no two names of one tensor, as T5 has for its embeddings."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def read_mark(run: Path) -> Mark | None:
    """How far the run in a folder has come; None where none began. Raises CommandError for a damaged state."""
    path = run / STATE_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            mark = Mark(**json.loads(file.metadata()[METADATA]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{path}: damaged; --fresh trains anew") from error
    return replace(mark, looks=tuple(Signs(**one) for one in mark.looks))  # type: ignore[arg-type]


def read_tensors(run: Path) -> Tensors:
    """The tensors of a state, on the CPU."""
    with safe_open(run / STATE_FILE, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping


def name_tensors(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors under names of their own: `prefix.name`."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def select_tensors(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Those that name_tensors named, under their first names."""
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Tensors:
    """What an optimiser remembers of each weight, as `number.what`."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{what}": value for number, kept in state.items() for what, value in kept.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give an optimiser back what optimiser_tensors took, each tensor laid out in memory as its weight is.

    The layout decides which of a processor's instructions work on which values, and so the last bits of a sum.
    """
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    state: dict[int, Tensors] = {}
    for name, value in tensors.items():
        number, what = name.split(".")
        weight = weights[int(number)]
        own = torch.empty_like(weight, device="cpu").copy_(value) if value.shape == weight.shape else value.clone()
        state.setdefault(int(number), {})[what] = own.detach()
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})

"""Whether a spec gives the owner's reference vectors; if not, which other preparation does.

Preparations that differ from the spec's in one choice come first, then those that differ in two and three: the fewest
changes that reproduce the vectors are the likely culprit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import numpy as np
import onnx
from pydantic import ValidationError

from app.core import modalities
from app.core.errors import TwinserveError
from app.core.modalities.base import Modality, Window
from app.runtime.session import Session
from model_export.errors import CommandError
from model_export.importing.alternatives import Choice, axes_of, change, written
from model_export.importing.foreign import FLOATS, Original, match_inputs, output_of
from model_export.importing.onnx_spec import Spec
from model_export.importing.publishing import Reference, Rows
from model_export.importing.reference import embed_prepared, prepare_reference, to_unit_length
from model_export.measure import shown

MOST_CHANGES = 3
FAR, ROUNDING = 10.0, 1e-5
"""Two choices are told apart where one is so many times farther from the vectors, and not by rounding alone."""
SHOWN = 3
"""Preparations that fit equally well and are named."""

Axes = Mapping[str, Sequence[Choice]]


@dataclass(frozen=True)
class Trial:
    """One file, opened, and the owner's reference, on which specs are tried."""

    model: onnx.ModelProto
    session: Session
    assets: Mapping[str, bytes]
    reference: Reference
    _modalities: dict[str, Modality] = field(default_factory=dict, init=False)
    _windows: dict[tuple[str, int], Sequence[Window]] = field(default_factory=dict, init=False)

    def axes(self, spec: Spec) -> dict[str, list[Choice]]:
        """What might have been meant instead of the spec."""
        outputs = [one.name for one in self.model.graph.output if one.type.tensor_type.elem_type in FLOATS]
        feeds = match_inputs(self.model, spec.graph, tuple(self._prepare(spec, 0)[0]))
        return axes_of(spec, outputs, whole_numbers=feeds[0].dtype.kind != "f")

    def difference(self, spec: Spec, *, enough: bool = False) -> float:
        """The largest difference from the reference in any component, as publishing counts it; infinite where vectors
        are of another size.

        `enough`: of the items up to the first that misses the limit. Raises CommandError or TwinserveError for a spec
        that cannot be.
        """
        cosine = spec.graph.metric == "cosine"
        wanted = to_unit_length(self.reference.vectors) if cosine else self.reference.vectors
        largest = max(1.0, float(np.abs(wanted).max()))
        differences = []
        for place in range(len(wanted)):
            windows = self._prepare(spec, place)
            feeds = match_inputs(self.model, spec.graph, tuple(windows[0]))
            original = Original(self.session, spec.graph, feeds, output_of(self.model, spec.graph))
            got = embed_prepared(original, self._once(spec)[1], [windows], cosine=cosine)[0]
            differences.append(_differ(got, wanted[place]) / largest)
            if enough and differences[-1] > self.reference.limit:
                break
        return max(differences)

    def _once(self, spec: Spec) -> tuple[str, Modality]:
        """The modality of the spec's params, made once, and what it is kept under."""
        key = json.dumps(spec.modality.params, sort_keys=True, default=str)
        if key not in self._modalities:
            self._modalities[key] = modalities.create(spec.modality.name, spec.modality.params, self.assets)
        return key, self._modalities[key]

    def _prepare(self, spec: Spec, place: int) -> Sequence[Window]:
        """The windows of an item, prepared once for all specs of the same params."""
        key, modality = self._once(spec)
        if (key, place) not in self._windows:
            self._windows[key, place] = prepare_reference(modality, self.reference.items[place], place)
        return self._windows[key, place]


@dataclass(frozen=True)
class Found:
    """A preparation that was tried: what it changes, axis -> choice, and how far it is from the reference."""

    choices: Mapping[str, Choice]
    difference: float

    @property
    def words(self) -> str:
        """In one line."""
        return " and ".join(written(choice) for choice in self.choices.values())


def check_reference(trial: Trial, spec: Spec) -> None:
    """Say what the reference vouches for. Raises CommandError, naming the likely culprit, where the spec misses it."""
    difference, limit = trial.difference(spec), trial.reference.limit
    axes = trial.axes(spec)
    singles = list(_try(trial, spec, axes, 1))
    if difference <= limit:
        print(f"the owner's vectors are met: largest difference {difference:.1e} (limit {limit:.0e})")
        _tell_what_is_open(singles, difference, limit)
        return
    by = f"differs by {difference:.2e} from the owner's vectors, allowed is {limit:.0e}"
    if math.isinf(difference):
        by = f"the owner's vectors are of another size, {trial.reference.vectors.shape[1]}, than the graph's"
    # What could not be alone is not tried beside something else.
    ran = {axis: [one.choices[axis] for one in singles if axis in one.choices] for axis in axes}
    tried: list[Found] = []
    for number in range(1, MOST_CHANGES + 1):
        tried += singles if number == 1 else _try(trial, spec, ran, number)
        if fitting := [one for one in tried if one.difference <= limit]:
            raise CommandError(f"golden items: {by}; {_reproduced(fitting)}; nothing is written")
    raise CommandError(f"golden items: {by}; {_not_reproduced(tried)}; nothing is written")


def _reproduced(fitting: Sequence[Found]) -> str:
    best = sorted(fitting, key=lambda one: one.difference)
    said = " or with ".join(f"{one.words} ({one.difference:.0e})" for one in best[:SHOWN])
    more = f" or {len(best) - SHOWN} more" if len(best) > SHOWN else ""
    return f"the likely culprit is {' and '.join(best[0].choices)}, since they are reproduced with {said}{more}"


def _not_reproduced(tried: Sequence[Found]) -> str:
    nearest = min((one for one in tried if math.isfinite(one.difference)), key=lambda one: one.difference, default=None)
    close = "" if nearest is None else f" (nearest, by {nearest.difference:.2e}: {nearest.words})"
    return (
        f"none of {len(tried)} other preparations reproduces them{close}: perhaps the items were cropped or aligned "
        "before, or the vectors are of other weights"
    )


def _tell_what_is_open(singles: Sequence[Found], own: float, limit: float) -> None:
    """Name what the items cannot tell apart, since another choice that meets the reference as well is not ruled out;
    and a choice that meets it better by far, though the limit allows the spec's.
    """
    near = min(limit, max(FAR * own, ROUNDING))
    tried: dict[str, list[str]] = {}
    for one in singles:
        ((axis, choice),) = one.choices.items()
        tried.setdefault(axis, []).extend([written(choice)] if one.difference <= near else [])
        if own > ROUNDING and FAR * one.difference < own:
            print(f"  closer by far with {written(choice)} ({one.difference:.0e}): most likely what the owner does")
    for axis, choices in tried.items():
        if choices:
            print(f"  they leave {axis} open: met as well with {' or '.join(choices)}")
    if settled := [axis for axis, choices in tried.items() if not choices]:
        print(f"  they vouch for {', '.join(settled)}")


def _try(trial: Trial, spec: Spec, axes: Axes, number: int) -> Iterator[Found]:
    """Every spec that differs in `number` axes and can be, with its difference as far as it was looked at."""
    chosen = [
        dict(zip(names, choices, strict=True))
        for names in combinations(axes, number)
        for choices in product(*(axes[name] for name in names))
    ]
    for choices in shown(chosen, f"trying other preparations, {number} changed"):
        changes: dict[str, Any] = {}
        for choice in choices.values():
            changes |= choice
        try:
            difference = trial.difference(change(spec, changes), enough=True)
        except (CommandError, TwinserveError, ValidationError):
            continue
        yield Found(choices, difference)


def _differ(got: Rows, wanted: Rows) -> float:
    """Largest difference in any component; infinite for another size, and for numbers that are not finite."""
    if got.shape != wanted.shape:
        return math.inf
    difference = float(np.abs(got - wanted).max())
    return difference if math.isfinite(difference) else math.inf

"""What wear does to an encoder: items are changed a little and more, and go through the same preparation as any other.

A modality's changes stand in the file of its name here (image.py, text.py, ...), as `CHANGES`; comparisons.py says
what is compared, measuring.py measures. Adding a modality's changes is adding its file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.core.modalities.base import Item

Apply = Callable[[Item, float, np.random.Generator], Item]


@dataclass(frozen=True)
class Change:
    """One way to change an item, at several strengths, mildest first; `unit` says what a strength counts.

    `apply` gives the changed item, in the form that the service takes; what it draws comes from the generator.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Apply


def changes_of(modality: str) -> tuple[Change, ...]:
    """The changes of a modality by its name; none where no file of that name is here."""
    if modality not in {module.name for module in pkgutil.iter_modules(__path__)} - {"comparisons", "measuring"}:
        return ()
    changes: tuple[Change, ...] = importlib.import_module(f"{__name__}.{modality}").CHANGES
    return changes

"""Kinds of input. One file a modality, found by its file name: adding one changes nothing elsewhere.

A modality file defines `create(params, assets) -> Modality`; base.py says what a Modality must do.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from app.core.errors import BundleRefused
from app.core.modalities.base import Modality


def names() -> tuple[str, ...]:
    """The closed set of modality names: the files of this package, base aside."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base"))


def create(name: str, params: Mapping[str, Any], assets: Mapping[str, bytes]) -> Modality:
    """Make the modality that a manifest names; only its own file is imported, so only its own libraries are needed.

    `params` are the manifest's `modality.params`, `assets` the bytes of the files that they name.
    Raises BundleRefused for a name outside the closed set, for params it does not accept, or a missing library.
    """
    if name not in names():
        raise BundleRefused(f"modality {name!r} is unknown; this version knows {', '.join(names())}")
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise BundleRefused(f"modality {name!r} needs the package {error.name!r}, which is not installed") from error
    modality: Modality = module.create(params, assets)
    return modality

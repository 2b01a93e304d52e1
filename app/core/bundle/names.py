"""What names of models mean: models/aliases.toml, and the highest version where it says nothing. No bundle is read."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core.bundle.manifest import NAME_REGEX, VERSION_REGEX, Manifest, highest
from app.core.errors import BundleRefused

ALIASES_FILE = "aliases.toml"
SHADOW = "shadow"
"""The table of aliases.toml that names versions on trial."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A version on trial: `candidate`, name@version, scores a `share` (above 0, at most 1) of what a name answers."""

    candidate: str
    share: float


@dataclass(frozen=True, slots=True)
class Names:
    """`aliases`: alias -> "name" or "name@version". `trials`: name or alias -> the version on trial beside it."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    trials: Mapping[str, Trial] = field(default_factory=dict)

    @property
    def candidates(self) -> frozenset[str]:
        """Keys on trial. A name alone never means one of them."""
        return frozenset(trial.candidate for trial in self.trials.values())


def read_names(models: Path) -> Names:
    """Read models/aliases.toml; empty where there is none.

    It holds lines of `alias = "name"` or `alias = "name@version"`, and may end with a table `[shadow]` of lines
    `name = {candidate = "name@version", share = 0.1}`. Raises BundleRefused for anything else.
    """
    try:
        fields = tomllib.loads((models / ALIASES_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Names()
    except (OSError, ValueError) as error:
        raise BundleRefused(f"{ALIASES_FILE}: cannot be read as TOML") from error
    trials = fields.pop(SHADOW) if isinstance(fields.get(SHADOW), dict) else {}
    for alias, target in fields.items():
        if not NAME_REGEX.match(alias) or not (_is_name(target) or _is_key(target)):
            raise BundleRefused(f'{ALIASES_FILE}: {alias} must be set to "name" or "name@version"')
    return Names(fields, {name: _trial(name, entry) for name, entry in trials.items()})


def meant_by(
    name: str, manifests: Mapping[str, Manifest], aliases: Mapping[str, str], hidden: Collection[str] = ()
) -> str | None:
    """Return the key that a name, alias or key means among `manifests` (key -> manifest), or None.

    An alias or a key means exactly that; a name its highest released version but those in `hidden`.
    """
    target = aliases.get(name, name)
    if target in manifests:
        return target
    versions = [manifest for key, manifest in manifests.items() if manifest.name == target and key not in hidden]
    return highest(versions).key if versions else None


def _trial(name: str, entry: Any) -> Trial:
    match entry:
        case {"candidate": str(candidate), "share": float() | int() as share, **others} if (
            not others and NAME_REGEX.match(name) and _is_key(candidate) and 0 < share <= 1 and share is not True
        ):
            return Trial(candidate, float(share))
    raise BundleRefused(
        f'{ALIASES_FILE}: {SHADOW}.{name} must be {{candidate = "name@version", share = a number above 0, at most 1}}'
    )


def _is_name(target: object) -> bool:
    return isinstance(target, str) and NAME_REGEX.match(target) is not None


def _is_key(target: object) -> bool:
    name, _, version = target.partition("@") if isinstance(target, str) else ("", "", "")
    return _is_name(name) and VERSION_REGEX.match(version) is not None

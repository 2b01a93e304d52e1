"""Which bundles are served, which are refused and why, and when that stops the service. No processes, no sockets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.core.bundle import Bundle, ManifestCheck, find_bundles, highest, read_aliases, read_bundle
from app.core.errors import BundleRefused
from app.core.observe import ModelState, Readiness


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What was found in the folder of models.

    `bundles` are verified; `refused` maps the key name@version of every other one, taken from its path, to the
    reason. `default` is as the settings say it; `default_key` the bundle that it means, None where it is not set.
    """

    bundles: tuple[Bundle, ...]
    refused: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None
    default_key: str | None = None

    def without(self, refused: Mapping[str, str]) -> Catalogue:
        """Return the catalogue after workers refused these too, such as for golden vectors not reproduced."""
        left = tuple(bundle for bundle in self.bundles if bundle.key not in refused)
        return Catalogue(left, {**self.refused, **refused}, self.aliases, self.default, self.default_key)

    def fault(self, *, strict: bool) -> str | None:
        """Return why the service must not run with this catalogue, in one line, or None."""
        if self.default_key is not None and self.default_key in self.refused:
            return f"the default model {self.default_key} is refused"
        if self.default_key is not None and self.default_key not in {bundle.key for bundle in self.bundles}:
            return f"the default model {self.default} is not among the models found"
        if not self.bundles:
            return "no model is left to serve"
        if strict and self.refused:
            return f"{len(self.refused)} refused, and TWINSERVE_STRICT_MODELS is set"
        return None

    def dangling(self) -> dict[str, str]:
        """Aliases that mean nothing that was found, refused or not: alias -> target."""
        keys = {bundle.key for bundle in self.bundles} | set(self.refused)
        known = keys | {key.partition("@")[0] for key in keys}
        return {alias: target for alias, target in self.aliases.items() if target not in known}

    def readiness(self, serving: Iterable[str], *, workers_ready: int, stopping: bool) -> Readiness:
        """Return the one truth that every worker answers from; `serving` are the keys that a ready worker serves."""
        waiting = "the service is stopping" if stopping else "loading"
        served = set() if stopping else set(serving)
        keys = [bundle.key for bundle in self.bundles]
        models = {key: ModelState(True) if key in served else ModelState(False, waiting) for key in keys}
        models.update((key, ModelState(False, reason)) for key, reason in self.refused.items())
        return Readiness(ready=workers_ready > 0 and not stopping, models=models)


def read_catalogue(models: Path, default: str | None, check: ManifestCheck | None) -> Catalogue:
    """Read and verify every bundle below `models`. A bad one is refused; bad aliases raise BundleRefused.

    With a `check`, one that it does not let pass is a bad one.
    """
    if not models.is_dir():
        return Catalogue((), {}, default=default)
    aliases = read_aliases(models)
    bundles: list[Bundle] = []
    refused: dict[str, str] = {}
    for folder in find_bundles(models):
        try:
            bundles.append(read_bundle(folder, check))
        except BundleRefused as error:
            refused[f"{folder.parent.name}@{folder.name}"] = error.detail
    default_key = None if default is None else _meant_by(default, bundles, refused, aliases)
    return Catalogue(tuple(bundles), refused, aliases, default, default_key)


def _meant_by(default: str, bundles: Iterable[Bundle], refused: Iterable[str], aliases: Mapping[str, str]) -> str:
    """Return the key that the default means, refused or not: an older version never silently takes its place."""
    name = aliases.get(default, default)
    if "@" in name:
        return name
    named = [bundle.manifest for bundle in bundles if bundle.name == name]
    candidates = [highest(named).key] if named else []
    candidates += [key for key in refused if key.partition("@")[0] == name]
    return max(candidates, key=_version_of, default=f"{name}@?")


def _version_of(key: str) -> tuple[int, ...]:
    parts = key.partition("@")[2].split(".")
    # A folder whose name is no version is refused; it still counts as the highest, since nobody can say it is not.
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else (2**31,)

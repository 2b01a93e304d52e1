"""Which bundles are served, which are refused and why, and when that stops the service. No processes, no sockets.

What becomes of a catalogue when the folder is read again is succession.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.core.bundle import (
    Bundle,
    ManifestCheck,
    Names,
    Signature,
    Trial,
    find_bundles,
    highest,
    meant_by,
    read_bundle,
    read_names,
    sign,
    sign_models,
)
from app.core.errors import BundleRefused
from app.core.observe import ModelState, Readiness
from app.runtime.control import Switch


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What was found in the folder of models, and what of former contents still runs.

    `bundles` are verified; `refused` maps the key name@version of every other one, taken from its path, to the
    reason: a key may be in both, where the bundle that had it before goes on. `default` is as the settings say it;
    `default_key` the bundle that it means, None where it is not set. `retired` maps the keys of bundles that are gone
    from the folder to the time.monotonic() at which they stop being served. `signatures` are those of the folders that
    `bundles` came from, by key, `seen` that of the whole folder of models.
    """

    bundles: tuple[Bundle, ...]
    refused: Mapping[str, str]
    names: Names = field(default_factory=Names)
    default: str | None = None
    default_key: str | None = None
    retired: Mapping[str, float] = field(default_factory=dict)
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    seen: Signature = ()

    @property
    def by_key(self) -> dict[str, Bundle]:
        """The bundles, by name@version."""
        return {bundle.key: bundle for bundle in self.bundles}

    @property
    def by_digest(self) -> dict[str, Bundle]:
        """The bundles, by the digest of their manifest."""
        return {bundle.manifest.manifest_digest: bundle for bundle in self.bundles}

    @property
    def hidden(self) -> frozenset[str]:
        """Keys that a name alone never means: retired ones, and those on trial."""
        return self.names.candidates | self.retired.keys()

    def meant_by(self, name: str) -> Bundle | None:
        """What a request that says this name, alias or key gets."""
        bundles = self.by_key
        manifests = {key: bundle.manifest for key, bundle in bundles.items()}
        key = meant_by(name, manifests, self.names.aliases, self.hidden)
        return None if key is None else bundles[key]

    def without(self, refused: Mapping[str, str]) -> Catalogue:
        """Return the catalogue after workers refused these too, such as for golden vectors not reproduced."""
        left = tuple(bundle for bundle in self.bundles if bundle.key not in refused)
        return dataclasses.replace(self, bundles=left, refused={**self.refused, **refused})

    def fault(self, *, strict: bool) -> str | None:
        """Return why the service must not run with this catalogue, in one line, or None."""
        served = self.by_key.keys() - self.retired.keys()
        if self.default_key is not None and self.default_key not in served:
            if self.default_key in self.refused:
                return f"the default model {self.default_key} is refused"
            return f"the default model {self.default} is not among the models found"
        if not served:
            return "no model is left to serve"
        if strict and self.refused:
            return f"{len(self.refused)} refused, and TWINSERVE_STRICT_MODELS is set"
        return None

    def dangling(self) -> dict[str, str]:
        """Aliases that mean nothing that was found, refused or not: alias -> target."""
        keys = (self.by_key.keys() - self.retired.keys()) | self.refused.keys()
        known = keys | {key.partition("@")[0] for key in keys}
        return {alias: target for alias, target in self.names.aliases.items() if target not in known}

    def trials(self) -> dict[str, Trial]:
        """The versions on trial that can be: key of the model whose comparisons are scored too -> trial.

        Both must be served, be two, and take the same kind of items.
        """
        bundles, found = self.by_key, {}
        for name, trial in self.names.trials.items():
            served, candidate = self.meant_by(name), bundles.get(trial.candidate)
            if served is None or candidate is None or served is candidate:
                continue
            if served.manifest.modality.name == candidate.manifest.modality.name:
                found[served.key] = trial
        return found

    def switch(self, generation: int) -> Switch:
        """What workers are to serve."""
        models = {bundle.key: digest for digest, bundle in self.by_digest.items()}
        return Switch(generation, models, self.names.aliases, self.hidden, self.trials())

    def readiness(self, serving: Iterable[str], *, workers_ready: int, stopping: bool, swapping: bool) -> Readiness:
        """Return the one truth that every worker answers from; `serving` are the keys that a ready worker serves."""
        waiting = "the service is stopping" if stopping else "loading"
        served = set() if stopping else set(serving)
        models = {key: ModelState(False, reason) for key, reason in self.refused.items()}
        for key in self.by_key:
            ready = key in served
            models[key] = ModelState(ready, self.refused.get(key) if ready else waiting)
        return Readiness(ready=workers_ready > 0 and not stopping and not swapping, models=models)


def read_catalogue(
    models: Path, default: str | None, running: Catalogue | None = None, *, check: ManifestCheck | None
) -> Catalogue:
    """Read and verify every bundle below `models`. A bad one is refused; bad aliases raise BundleRefused.

    A bundle of `running` whose files were not touched is taken as it is, without reading it again. With a `check`, one
    that it does not let pass is a bad one.
    """
    if not models.is_dir():
        return Catalogue((), {}, default=default)
    before = {} if running is None else running.by_key
    seen = sign_models(models)  # before anything is read, so that a change meanwhile shows the next time
    names = read_names(models)
    bundles: list[Bundle] = []
    refused: dict[str, str] = {}
    signatures: dict[str, Signature] = {}
    for folder in find_bundles(models):
        key = f"{folder.parent.name}@{folder.name}"
        signature = sign(folder)
        if running is not None and key in before and running.signatures.get(key) == signature:
            bundles.append(before[key])
        else:
            try:
                bundles.append(_same(read_bundle(folder, check), before.get(key)))
            except BundleRefused as error:
                refused[key] = error.detail
                continue
        signatures[key] = signature
    catalogue = Catalogue(tuple(bundles), refused, names, default, signatures=signatures, seen=seen)
    return dataclasses.replace(catalogue, default_key=default_key(catalogue))


def default_key(catalogue: Catalogue) -> str | None:
    """Return the key that the default means, refused or not: an older version never silently takes its place."""
    if catalogue.default is None:
        return None
    name = catalogue.names.aliases.get(catalogue.default, catalogue.default)
    if "@" in name:
        return name
    hidden = catalogue.hidden
    named = [bundle.manifest for key, bundle in catalogue.by_key.items() if bundle.name == name and key not in hidden]
    candidates = [highest(named).key] if named else []
    candidates += [key for key in catalogue.refused if key.partition("@")[0] == name and key not in hidden]
    return max(candidates, key=_version_of, default=f"{name}@?")


def _same(bundle: Bundle, running: Bundle | None) -> Bundle:
    """The running bundle where this is it once more, so that one copy is held, not two."""
    if running is None or running.manifest.manifest_digest != bundle.manifest.manifest_digest:
        return bundle
    return running


def _version_of(key: str) -> tuple[int, ...]:
    parts = key.partition("@")[2].split(".")
    # A folder whose name is no version is refused; it still counts as the highest, since nobody can say it is not.
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else (2**31,)

"""What is to run once the folder of models was read again, and what an operator is told of it. No processes.

The rule: whatever was refused, what runs goes on, under the names that it has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from app.core.bundle import ALIASES_FILE, Bundle, Names
from app.supervisor.catalogue import Catalogue, default_key
from app.supervisor.commands import Report


def succeed(running: Catalogue, found: Catalogue, *, until: float) -> Catalogue:
    """Return what is to run after `running`, once `found` was read from the folder.

    A bundle whose new contents are refused goes on as it is. One that is gone from the folder is retired: served under
    its full key until the time `until`, or as was said when it was retired. A name or default that would mean nothing
    now, or what is refused, goes on meaning what it does.
    """
    kept = running.by_key | found.by_key
    retired = {
        key: running.retired.get(key, until)
        for key in kept.keys() - found.by_key.keys()
        if key not in found.refused or key in running.retired
    }
    after = dataclasses.replace(found, bundles=tuple(kept[key] for key in sorted(kept)), retired=retired)
    aliases = dict(found.names.aliases)
    for alias in aliases:
        if after.meant_by(alias) is None and (meant := running.meant_by(alias)) is not None:
            aliases[alias] = meant.key
    after = dataclasses.replace(after, names=Names(aliases, found.names.trials))
    key = default_key(after)
    if key in after.refused and key not in after.by_key and running.default_key in after.by_key:
        key = running.default_key
    return dataclasses.replace(after, default_key=key)


def expire(running: Catalogue, now: float) -> Catalogue:
    """Return the catalogue without what has been retired for long enough."""
    retired = {key: until for key, until in running.retired.items() if until > now}
    left = tuple(bundle for bundle in running.bundles if bundle.key in retired or bundle.key not in running.retired)
    return dataclasses.replace(running, bundles=left, retired=retired)


def nothing_changed(reason: str) -> Report:
    """The report of a reload that was refused as a whole."""
    return Report((f"refused: {reason}; no model has changed",), refused=True)


def compare(before: Catalogue, after: Catalogue, wanted: Names, *, retire_s: float) -> Report:
    """Say what has changed from one catalogue to the next, and which of the names `wanted` mean something else."""
    kept = [*_kept(after, wanted)]
    lines = [*_bundles(before, after, retire_s), *_names(before, after), *kept, *_trials(before, after)]
    return Report(tuple(lines) or ("no model has changed",), refused=bool(after.refused or kept))


def _bundles(before: Catalogue, after: Catalogue, retire_s: float) -> Iterator[str]:
    old, new = before.by_key, after.by_key
    for key in sorted(new.keys() - old.keys()):
        yield f"added {key}"
    for key in sorted(new.keys() & old.keys()):
        if new[key] is not old[key]:
            yield f"replaced {key}" + _consequence(key, old[key], new[key])
    for key in sorted(after.retired.keys() - before.retired.keys()):
        yield f"retired {key}: it answers to its full name for {retire_s:g} s more"
    for key in sorted(before.retired.keys() - after.retired.keys()):
        yield f"brought back {key}" if key in new else f"let go of {key}"
    for key in sorted(old.keys() - new.keys() - before.retired.keys()):
        yield f"let go of {key}"
    for key, reason in sorted(after.refused.items()):
        name = key.partition("@")[0]
        meant = after.meant_by(name)
        goes_on = "" if meant is None else f"; {name} goes on as {meant.key}"
        yield f"refused {key}: {reason}" + ("; the one that runs goes on" if key in new else goes_on)


def _names(before: Catalogue, after: Catalogue) -> Iterator[str]:
    names = {bundle.name for bundle in after.bundles} | after.names.aliases.keys() | before.names.aliases.keys()
    for name in sorted(names):
        old, new = before.meant_by(name), after.meant_by(name)
        if new is None:
            yield from [f"{name} means nothing any more"] if old is not None else []
        elif old is None:
            yield f"{name} means {new.key}"
        elif old.key != new.key:
            yield f"{name} means {new.key}, no longer {old.key}" + _consequence(name, old, new)
    for alias, target in sorted(after.dangling().items()):
        yield f"warning: alias {alias} means {target}, which is not there"


def _kept(after: Catalogue, wanted: Names) -> Iterator[str]:
    for alias, target in sorted(wanted.aliases.items()):
        if after.names.aliases[alias] != target:
            yield f"refused {alias} as {target}: it is not served; {alias} goes on as {after.names.aliases[alias]}"


def _consequence(name: str, old: Bundle, new: Bundle) -> str:
    if old.fingerprint == new.fingerprint:
        return ""
    return f"; its fingerprint has changed: embeddings that {name} gave out before are now refused with 409"


def _trials(before: Catalogue, after: Catalogue) -> Iterator[str]:
    was, now = before.trials(), after.trials()
    for key, trial in now.items():
        if was.get(key) != trial:
            yield f"on trial: {trial.candidate} scores {100 * trial.share:.4g} % of what {key} compares"
    for key in was.keys() - now.keys():
        yield f"no longer on trial beside {key}: {was[key].candidate}"
    for name, trial in after.names.trials.items():
        if trial not in now.values():
            yield (
                f"warning: {ALIASES_FILE}: {trial.candidate} cannot be on trial beside {name}: "
                "they must be two, both served, and take the same kind of items"
            )

"""Which models run now, and how they are changed while the service runs: read again, loaded everywhere, then swapped.

No processes and no sockets: the fleet has the workers, commands.py and the signals say when.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from app.core.bundle import ManifestCheck, sign_models
from app.core.errors import BundleRefused
from app.settings import Settings
from app.supervisor.catalogue import Catalogue, read_catalogue
from app.supervisor.commands import Report
from app.supervisor.fleet import Fleet
from app.supervisor.succession import compare, expire, nothing_changed, succeed


class Repertoire:
    """The catalogue that the fleet serves. Changes are made one after another."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        fleet: Fleet,
        say: Callable[[str], object],
        *,
        check: ManifestCheck | None,
    ) -> None:
        self._settings = settings
        self._check = check
        self._fleet = fleet
        self._say = say
        self._generation = 0
        self._changing = asyncio.Lock()
        self._expiry: asyncio.TimerHandle | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._seen = catalogue.seen
        self.catalogue = catalogue

    def serve(self, catalogue: Catalogue) -> None:
        """Have the fleet serve this catalogue from now on."""
        self.catalogue = catalogue
        self._generation += 1
        self._fleet.serve(catalogue.by_digest, catalogue.switch(self._generation))

    def refuse(self, reasons: Mapping[str, str]) -> str | None:
        """Serve on without bundles that a worker refused; return why the service must not go on, if so."""
        new = {key: reason for key, reason in reasons.items() if key in self.catalogue.by_key}
        for key, reason in new.items():
            self._say(f"refused {key}: {reason}")
        left = self.catalogue.without(new)
        if new and (fault := left.fault(strict=self._settings.strict_models)):
            self.catalogue = left
            return fault
        if new:
            self.serve(left)
        return None

    async def reload(self) -> Report:
        """Read the folder again and serve what is good in it; return once no new request sees what was before."""
        async with self._changing:
            report = await self._change()
        for line in report.lines:
            self._say(f"reload: {line}")
        return report

    async def _change(self) -> Report:
        settings, before, now = self._settings, self.catalogue, time.monotonic()
        try:
            found = await asyncio.to_thread(
                read_catalogue, settings.models, settings.default_model, before, check=self._check
            )
        except BundleRefused as error:
            self._seen = await asyncio.to_thread(sign_models, settings.models)
            return await self._stay(error.detail)
        self._seen = found.seen
        if fault := self._fault(found, now):
            return await self._stay(fault)
        coming = {digest: one for digest, one in found.by_digest.items() if digest not in before.by_digest}
        refused = await self._fleet.load(coming)
        found = found.without({coming[digest].key: reason for digest, reason in refused.items()})
        if fault := self._fault(found, now):
            return await self._stay(fault)
        self.serve(succeed(self.catalogue, found, until=now + settings.retire_s))
        await self._fleet.settled()
        await self._expire()
        return compare(before, self.catalogue, found.names, retire_s=settings.retire_s)

    async def _stay(self, reason: str) -> Report:
        """Serve what is served once more, so that workers let go of what they have loaded, and have heard all else."""
        self.serve(self.catalogue)
        await self._fleet.settled()
        return nothing_changed(reason)

    def _fault(self, found: Catalogue, now: float) -> str | None:
        """Why the service must not go over to what was found, with the first of the refusals that may be the cause."""
        after = succeed(self.catalogue, found, until=now)
        fault = after.fault(strict=self._settings.strict_models)
        causes = "".join(f"; {key}: {reason}" for key, reason in sorted(found.refused.items()))
        return None if fault is None else fault + causes

    async def _expire(self) -> None:
        """Let go of what has been retired for long enough, and see to it that the rest is let go of in time."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        now = time.monotonic()
        if any(until <= now for until in self.catalogue.retired.values()):
            self.serve(expire(self.catalogue, now))
            await self._fleet.settled()
        if self.catalogue.retired:
            wait_s = min(self.catalogue.retired.values()) - now
            self._expiry = asyncio.get_running_loop().call_later(wait_s, self._expire_soon)

    def _expire_soon(self) -> None:
        self._expiring = asyncio.create_task(self._expire_in_turn())

    async def _expire_in_turn(self) -> None:
        async with self._changing:
            await self._expire()

    async def watch(self, every_s: float, reload: Callable[[], Awaitable[object]]) -> None:
        """Await `reload` whenever the folder is not as it was last read, and has stood still for `every_s`."""
        last = self._seen
        while True:
            await asyncio.sleep(every_s)
            now = await asyncio.to_thread(sign_models, self._settings.models)
            if now == last != self._seen:
                await reload()
            last = now


def read_repertoire(
    settings: Settings, fleet: Fleet, say: Callable[[str], object], *, check: ManifestCheck | None
) -> Repertoire:
    """Read the folder of models for the first time, and say what is refused.

    Raises BundleRefused, in one line, where what is left must not be served.
    """
    catalogue = read_catalogue(settings.models, settings.default_model, check=check)
    for key, reason in catalogue.refused.items():
        say(f"refused {key}: {reason}")
    for alias, meant in catalogue.dangling().items():
        say(f"warning: alias {alias} means {meant}, which is not there")
    if fault := catalogue.fault(strict=settings.strict_models):
        raise BundleRefused(f"{fault} (models are looked for in {settings.models})")
    return Repertoire(settings, catalogue, fleet, say, check=check)

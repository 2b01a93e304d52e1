"""Who still has use for something that is to be closed once nobody has. On the event loop only; closes nothing."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Holders:
    """Counts holders. `with holders:` holds, any number of times, also across awaits."""

    def __init__(self) -> None:
        self._count = 0
        self._none: asyncio.Event | None = None

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count -= 1
        if self._none is not None and not self._count:
            self._none.set()

    def __bool__(self) -> bool:
        return self._count > 0

    async def gone(self) -> None:
        """Wait until there are none. One that holds anew at once, without an await between, has never let go."""
        while self._count:
            self._none = asyncio.Event()
            await self._none.wait()

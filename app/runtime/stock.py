"""The models that a worker has loaded, served or about to be, and which of them a registry is made of. No loading.

On the event loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from app.runtime.control import Switch
from app.runtime.registry import Model, Registry


class Stock:
    """Loaded models by the digest of their manifest. A model that stays served is never loaded again.

    `on_gone` is called whenever one that is served no more has answered its last request and is let go of.
    """

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self._models: dict[str, Model] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def add(self, model: Model) -> None:
        """Keep a loaded model; it is served from the next switch on that names it."""
        self._models[model.digest] = model

    def switch(self, order: Switch, default: str | None) -> Registry:
        """Make the registry that is to be served from now on, and let go of every model that is not in it.

        Requests that hold one of those end as if nothing had happened; then it is closed. Raises KeyError for a model
        that is not here.
        """
        models = [self._models[digest] for digest in order.models.values()]
        registry = Registry(models, default=default, aliases=order.aliases, hidden=order.hidden, trials=order.trials)
        for digest in self._models.keys() - set(order.models.values()):
            task = asyncio.get_running_loop().create_task(self._models.pop(digest).batcher.retire())
            self._leaving.add(task)
            task.add_done_callback(self._gone)
        return registry

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        self._on_gone()

    def under_way(self) -> list[Hashable]:
        """Every model's batches that run now; see Batcher.under_way."""
        return [batch for model in self._models.values() for batch in model.batcher.under_way]

    async def close(self) -> None:
        """Close every model's batcher, at once: those of requests that outlived their time too."""
        for task in list(self._leaving):
            task.cancel()
        for model in self._models.values():
            await model.batcher.close()

"""Shards embedded over a Ray cluster. The only importer of ray in the service; rows travel with what is in their files.

The driver reads the files and writes the shards, so that no node needs to see either folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from app.embedding_files.embedding import Embedded, Embedder, Recipe, loaded
from app.embedding_files.processes import Done, Shard, WorkLostError

AHEAD = 2
"""Shards that an embedder has at a time: the next travels while one is embedded."""
MOST_LOSSES = 3
"""So often an embedder may be lost over one shard, before the shard itself is taken for the cause."""


def embed_on_ray(recipe: Recipe, form: str, address: str, actors: int | None, shards: Iterator[Shard]) -> Done:
    """Embed the shards on the cluster at `address` and give each as it is done, in whatever order.

    There are as many embedders as `actors`, or as the cluster has CPUs (GPUs where the device is cuda), each with one
    of them. The shards of one that is lost with its node go to others. Raises WorkLostError where the cluster cannot
    be reached, no embedder can begin, or a shard is lost MOST_LOSSES times.
    """
    try:
        ray.init(address=address, logging_level="warning")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkLostError(f"no Ray cluster at {address}: {_line(error)}") from error
    try:
        yield from _hand_out(recipe, form, actors, shards)
    except RayError as error:
        raise WorkLostError(_line(error)) from error
    finally:
        ray.shutdown()


class _Crew:
    """The embedders of a cluster. `free` has one that has begun as often as it may be given a shard more.

    A lost one is replaced, and its shards go to whoever is free first: the new one may wait long for a CPU of its own.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        gpu = int(recipe.device == "cuda")
        self._remote: Any = ray.remote(num_cpus=1, num_gpus=gpu)(Embedder)
        self._recipe = ray.put(recipe)
        self._free: list[Any] = []
        self._under_way: dict[Any, tuple[Any, Shard | None]] = {}  # None: it begins
        self._lost: Counter[int | None] = Counter()
        for _ in range(size):
            self._begin()

    def give(self, take: Callable[[], Shard | None]) -> bool:
        """Give what `take` gives to those that are free, until nobody is or there is nothing; whether that is all."""
        while self._free:
            shard = take()
            if shard is None:
                return not any(shard is not None for _, shard in self._under_way.values())
            actor = self._free.pop(0)
            self._under_way[actor.embed.remote(shard[1])] = actor, shard
        return False

    def wait(self) -> tuple[Shard | None, Embedded | None]:
        """Wait until something happens: a shard and what became of it, or without that where its embedder was lost.

        Neither where one has begun. Raises WorkLostError for a shard, or a beginning, that is lost over and over.
        """
        [reference], _ = ray.wait(list(self._under_way), num_returns=1)
        actor, shard = self._under_way.pop(reference)
        try:
            answer: Embedded = ray.get(reference)
        except RayActorError as error:
            self._replace(actor, shard, error)
            return shard, None
        if shard is None:
            self._lost[None] = 0
            self._free += [actor] * AHEAD
            return None, None
        self._free.append(actor)
        return shard, answer

    def _begin(self) -> None:
        actor = self._remote.remote(self._recipe)
        self._under_way[actor.__ray_ready__.remote()] = actor, None

    def _replace(self, actor: Any, shard: Shard | None, error: RayActorError) -> None:
        number = None if shard is None else shard[0]
        self._lost[number] += 1
        if self._lost[number] == MOST_LOSSES:
            what = "no embedder can begin" if number is None else f"shard {number} lost its embedder"
            raise WorkLostError(f"{what}, {MOST_LOSSES} times: {_line(error)}")
        self._free = [other for other in self._free if other is not actor]
        if not any(actor is other for other, _ in self._under_way.values()):
            self._begin()  # once for each that is lost: at the last of the shards that it had


def _hand_out(recipe: Recipe, form: str, actors: int | None, shards: Iterator[Shard]) -> Done:
    unit = "GPU" if recipe.device == "cuda" else "CPU"
    size = actors or int(ray.cluster_resources().get(unit, 0))
    if not size:
        raise WorkLostError(f"the Ray cluster has no {unit}")
    crew = _Crew(recipe, size)
    lost: list[Shard] = []
    remaining = _materialised(recipe, form, shards)
    while not crew.give(lambda: lost.pop() if lost else next(remaining, None)):
        shard, embedded = crew.wait()
        if shard is None:
            continue
        if embedded is None:
            lost.append(shard)
        else:
            yield shard[0], embedded


def _materialised(recipe: Recipe, form: str, shards: Iterator[Shard]) -> Generator[Shard, None, None]:
    for number, rows in shards:
        yield number, [loaded(row, recipe, form) for row in rows]


def _line(error: Exception) -> str:
    """What happened, in one line: of a remote error, the last of its many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

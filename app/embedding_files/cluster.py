"""Shards embedded over a Ray cluster. The only importer of ray in the service; rows travel with what is in their files.

The driver reads the files and writes the shards, so that no node needs to see either folder.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from app.embedding_files.embedding import Embedder, Recipe, loaded
from app.embedding_files.processes import Done, Shard, WorkLostError

AHEAD = 2
"""Shards that an embedder has at a time: the next travels while one is embedded."""


def embed_on_ray(recipe: Recipe, form: str, address: str, actors: int | None, shards: Iterator[Shard]) -> Done:
    """Embed the shards on the cluster at `address` and give each as it is done, in whatever order.

    There are as many embedders as `actors`, or as the cluster has CPUs (GPUs where the device is cuda), each with one
    of them; one that is lost with its node begins anew elsewhere, and its shards with it. Raises WorkLostError where
    the cluster cannot be reached, or no embedder can begin.
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


def _hand_out(recipe: Recipe, form: str, actors: int | None, shards: Iterator[Shard]) -> Done:
    unit = "GPU" if recipe.device == "cuda" else "CPU"
    count = actors or int(ray.cluster_resources().get(unit, 0))
    if not count:
        raise WorkLostError(f"the Ray cluster has no {unit}")
    needs = {"num_cpus": 1, "num_gpus": int(unit == "GPU")}
    remote: Any = ray.remote(max_restarts=-1, max_task_retries=-1, **needs)(Embedder)
    shared = ray.put(recipe)
    crew = [remote.remote(shared) for _ in range(count)]
    # An embedder gets shards only once it has begun: one that waits for a free CPU would sit on them.
    under_way: dict[Any, tuple[Any, int | None]] = {actor.__ray_ready__.remote(): (actor, None) for actor in crew}
    waiting = _materialised(recipe, form, shards)
    exhausted = False
    while not exhausted or any(number is not None for _, number in under_way.values()):
        [reference], _ = ray.wait(list(under_way), num_returns=1)
        actor, number = under_way.pop(reference)
        answer = ray.get(reference)
        for _ in range(AHEAD if number is None else 1):
            shard = next(waiting, None)
            if shard is None:
                exhausted = True
                break
            under_way[actor.embed.remote(shard[1])] = actor, shard[0]
        if number is not None:
            yield number, answer


def _materialised(recipe: Recipe, form: str, shards: Iterator[Shard]) -> Generator[Shard, None, None]:
    for number, rows in shards:
        yield number, [loaded(row, recipe, form) for row in rows]


def _line(error: Exception) -> str:
    """What happened, in one line: of a remote error, the last of its many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__

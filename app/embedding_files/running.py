"""One `embed-files` from its arguments to its exit code: which model, which rows, where to, and who embeds them.

Exit codes: 0, also where some items could not be embedded; 1 where none could, or the source is at fault; 2 where
settings, the output or the machine do not allow it; 3 where the model does not; 130 after a Ctrl-C. After any but 0,
the same command goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import __version__
from app.core import modalities
from app.core.bundle import Bundle
from app.core.errors import BundleRefused, DeviceUnavailable
from app.core.modalities.base import Limits
from app.embedding_files.embedding import Recipe
from app.embedding_files.processes import Done, Shard, WorkLostError, embed_here
from app.embedding_files.sources import Source, SourceError, cut, open_source
from app.settings import Settings
from app.supervisor.catalogue import read_catalogue
from app.supervisor.machine import default_workers
from app.supervisor.running import NO_MODELS, UNABLE, say
from app.supervisor.signatures import NoSignatureCheckError, signature_check

if TYPE_CHECKING:
    from app.embedding_files.output import Output

DONE, FAILED, INTERRUPTED = 0, 1, 130
SAY_EVERY_S = 10.0

Embed = Callable[[Iterator[Shard]], Done]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be embedded, as the command line says it. `ray` is the address of a Ray cluster."""

    source: Path
    out: Path
    model: str | None
    column: str | None
    id_column: str | None
    shard_items: int
    ray: str | None


class _UnableError(Exception):
    """The machine or the installation does not allow it; the message is one line."""


EXIT_CODES: Mapping[type[Exception], int] = {
    SourceError: FAILED,
    BundleRefused: NO_MODELS,
    DeviceUnavailable: UNABLE,
    NoSignatureCheckError: UNABLE,
    WorkLostError: UNABLE,
    _UnableError: UNABLE,
}


def embed_files(settings: Settings, order: Order) -> int:
    """Embed what is not embedded yet, and return the exit code."""
    try:
        return _embed_files(settings, order)
    except tuple(EXIT_CODES) as error:
        return _fail(str(error), EXIT_CODES[type(error)])
    except OSError as error:
        return _fail(f"{error.filename or order.out}: {error.strerror or error}", UNABLE)
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on", INTERRUPTED)


def _embed_files(settings: Settings, order: Order) -> int:
    if find_spec("pyarrow") is None:
        raise _UnableError("needs the package 'pyarrow': install twinserve[parquet]")
    from app.embedding_files.output import Output, OutputError  # noqa: PLC0415  (an extra)

    bundle = _choose(settings, order.model)
    manifest = bundle.manifest
    form = modalities.create(manifest.modality.name, manifest.modality.params, bundle.assets).form
    try:
        with Output.locked(order.out) as output:
            source = open_source(
                order.source, form=form, column=order.column, id_column=order.id_column, listing=output.listing
            )
            about = {"model": bundle.name, "version": bundle.version, "fingerprint": bundle.fingerprint}
            output.begin({**about, "source": dict(source.about), "shard_items": order.shard_items})
            limits = Limits(settings.max_body_bytes, settings.max_pixels, settings.max_seconds, settings.max_tokens)
            recipe = Recipe(bundle, limits, settings.device, settings.threads, settings.cuda_memory_mb)
            run = _Run(output, about, source, order.shard_items)
            run.embed(_embedder(recipe, form, settings, order))
            return run.finish(manifest.embedding.model_dump())
    except OutputError as error:
        raise _UnableError(str(error)) from error


def _choose(settings: Settings, model: str | None) -> Bundle:
    """The bundle that `model` means, else the default one, else the only one. Raises BundleRefused for none."""
    name = model or settings.default_model
    catalogue = read_catalogue(settings.models, name, check=signature_check(settings.signing_key, None))
    if name is None:
        keys = [*(bundle.key for bundle in catalogue.bundles), *catalogue.refused]
        names = sorted({key.partition("@")[0] for key in keys})
        if len(names) != 1:
            raise BundleRefused(f"set --model to one of {', '.join(names) or 'none'} (looked for in {settings.models})")
        return _choose(settings, names[0])
    key = catalogue.default_key or ""
    if key in catalogue.refused:
        raise BundleRefused(f"{key} is refused: {catalogue.refused[key]}")
    for bundle in catalogue.bundles:
        if bundle.key == key:
            return bundle
    raise BundleRefused(f"no model {name} is found in {settings.models}")


def _embedder(recipe: Recipe, form: str, settings: Settings, order: Order) -> Embed:
    if order.ray is None:
        processes = settings.workers or default_workers(settings.device)
        return lambda shards: embed_here(recipe, processes, shards)
    if find_spec("ray") is None:
        raise _UnableError("--ray needs the package 'ray': install twinserve[ray]")
    from app.embedding_files.cluster import embed_on_ray  # noqa: PLC0415  (an extra)

    address, actors = order.ray, settings.workers
    return lambda shards: embed_on_ray(recipe, form, address, actors, shards)


class _Run:
    """What is done so far, and how much of it failed."""

    def __init__(self, output: Output, about: Mapping[str, str], source: Source, shard_items: int) -> None:
        self._output = output
        self._about = about
        self._source = source
        self._size = shard_items
        self._counts: dict[int, tuple[int, int]] = {}
        self._first_error: str | None = None

    def embed(self, embed: Embed) -> None:
        """Embed every shard that is not there."""
        missing = self._missing()
        first = next(missing, None)
        if first is None:
            return  # nobody need be started
        began = said = time.monotonic()
        fresh = 0
        with contextlib.closing(embed(itertools.chain([first], missing))) as done:
            for number, embedded in done:
                self._output.write(number, embedded, self._about)
                failed = [error for error in embedded.errors if error is not None]
                self._first_error = self._first_error or next(iter(failed), None)
                self._counts[number] = len(embedded.ids), len(failed)
                fresh += len(embedded.ids)
                if time.monotonic() - said >= SAY_EVERY_S:
                    said = time.monotonic()
                    say(f"embed-files: {self.items} items done, {fresh / (said - began):.0f} a second")

    def finish(self, embedding: Mapping[str, Any]) -> int:
        """Say that all is there, in the folder and to the operator, and return the exit code."""
        shards = [
            {"file": f"part-{number:05d}.parquet", "items": items, "failed": failed}
            for number, (items, failed) in sorted(self._counts.items())
        ]
        counted = {"items": self.items, "failed": self.failed, "twinserve": __version__, "shards": shards}
        self._output.finish({**self._about, "embedding": dict(embedding), **counted})
        say(f"embed-files: {self.items} items in {len(shards)} shards in {self._output.folder}, {self.failed} failed")
        if self.items and self.failed == self.items:
            return _fail(f"no item could be embedded; the first: {self._first_error or 'see the column error'}", FAILED)
        return DONE

    @property
    def items(self) -> int:
        """Items in the shards that are done."""
        return sum(items for items, _ in self._counts.values())

    @property
    def failed(self) -> int:
        """Those of them that could not be embedded."""
        return sum(failed for _, failed in self._counts.values())

    def _missing(self) -> Iterator[Shard]:
        for number, rows in cut(self._source.rows(), self._size):
            if self._output.has(number):
                self._counts[number] = self._output.counts(number)
            else:
                yield number, rows


def _fail(line: str, status: int) -> int:
    say(f"embed-files: {line}")
    return status

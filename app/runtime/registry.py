"""Which models are served: an immutable snapshot that a request holds from decoding to verdict. No HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import astuple, dataclass, field
from functools import partial
from statistics import median

from app.core.bundle import CPU, Bundle, Trial, meant_by
from app.core.errors import InvalidRequest, UnknownModel
from app.core.evidence import Choice, Selectors, choose
from app.core.modalities.base import Limits
from app.core.observe import Observer
from app.core.scoring import GUARD_BAND_FLOORS
from app.runtime.batcher import Batcher
from app.runtime.encoder import Encoder
from app.runtime.engine import Encoded, Engine, Work
from app.runtime.padding import serving_trimming, trimmable
from app.runtime.runs import MOST_WINDOWS, speed
from app.runtime.session import Device

INLINE_BELOW_S = 0.004
"""A batch that is expected to be faster than this runs on the event loop: see docs/decisions/0014."""
INLINE_BYTES = 16 * 1024
INLINE_LIMITS = Limits(max_body_bytes=INLINE_BYTES, max_pixels=256 * 256, max_seconds=10.0, max_tokens=128)
"""What a batch prepares itself. Larger items would stall the rest of their batch (a 12-megapixel photograph takes tens
of milliseconds, a text of 16 KiB twenty), and bytes alone do not bound the work: two kilobytes of WebP can hold fifty
megapixels.
"""
MOST_CHOICES = 256
CUDA_IN_FLIGHT = 2
"""Batches in flight on CUDA, so that the device computes one while the next is handed over."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One served bundle. The batcher maps items, prepared or small, to what the engine makes of them."""

    engine: Engine
    batcher: Batcher[Work, Encoded]
    limits: Limits
    choices: dict[Selectors, Choice] = field(default_factory=dict)
    """Where pairs were judged before, by how they were asked for: callers ask in few ways, over and over."""

    def choose(self, selectors: Selectors) -> Choice:
        """Where pairs are judged; raises what evidence.choose raises."""
        choice = self.choices.get(selectors)
        if choice is None:
            manifest = self.bundle.manifest
            floor = GUARD_BAND_FLOORS[manifest.graph.precision]
            choice = choose(self.bundle.calibration, manifest.status, selectors, guard_band_floor=floor)
            if len(self.choices) >= MOST_CHOICES:
                self.choices.clear()
            self.choices[selectors] = choice
        return choice

    @property
    def bundle(self) -> Bundle:
        """What is served."""
        return self.engine.bundle

    @property
    def encoder(self) -> Encoder:
        """The bundle's encoder."""
        return self.engine.encoder

    @property
    def key(self) -> str:
        """name@version."""
        return self.bundle.key

    @property
    def digest(self) -> str:
        """The manifest's digest: equal for equal contents only, where a key may be given to others."""
        return self.bundle.manifest.manifest_digest


@dataclass(frozen=True, slots=True, eq=False)
class Shadow:
    """A model on trial, and the share of another's comparisons that it scores too."""

    model: Model
    share: float


class Registry:
    """The served models. Never changes: a reload makes another one.

    A name alone never means a model whose key is `hidden`; `trials` maps keys of models to the one on trial beside.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        default: str | None,
        aliases: Mapping[str, str],
        hidden: Collection[str] = (),
        trials: Mapping[str, Trial] | None = None,
    ) -> None:
        self._models = {model.key: model for model in models}
        self._default = default
        self.names = tuple(sorted({model.bundle.name for model in models if model.key not in hidden}))
        """Names without versions, sorted, aliases aside."""
        self._known = ", ".join(sorted({*self.names, *aliases})) or "none"
        manifests = {key: model.bundle.manifest for key, model in self._models.items()}
        meant = {name: meant_by(name, manifests, aliases, hidden) for name in {*self._models, *self.names, *aliases}}
        self._meant = {name: self._models[key] for name, key in meant.items() if key is not None}
        self._shadows = {
            key: Shadow(self._models[trial.candidate], trial.share) for key, trial in (trials or {}).items()
        }

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def get(self, name: str | None) -> Model:
        """Return the model that a request means by `name`, by `name@version`, or by naming none.

        A name is its alias if it has one, else its highest released version. No name is the default, else the only
        name served. Raises InvalidRequest where neither exists, UnknownModel for a model that is not served.
        """
        name = name if name is not None else self._default
        if name is None:
            if len(self.names) != 1:
                raise InvalidRequest(f"set `model` to one of {self._known}", pointer="/model")
            name = self.names[0]
        model = self._meant.get(name)
        if model is None:
            raise UnknownModel(f"no such model is served; the models are {self._known}", pointer="/model")
        return model

    def shadow(self, model: Model) -> Shadow | None:
        """The model on trial beside this one, if there is any."""
        return self._shadows.get(model.key) if self._shadows else None


def load_model(
    bundle: Bundle,
    *,
    limits: Limits,
    device: Device,
    threads: int,
    batch_ms: float,
    queue_items: int,
    queue_ms: float,
    observer: Observer,
    executor: Executor,
    on_death: Callable[[str, str], None] = lambda *_: None,
    cuda_memory_mb: int | None = None,
) -> Model:
    """Open, verify, warm and measure a bundle. Blocking, seconds long; needs no event loop.

    A batch's cap is the largest size that was measured to take at most `batch_ms`, of the quickest bucket, or where
    padding is cut, MOST_WINDOWS, of which those run that fit into that time. `on_death`
    gets key and reason, on the event loop, should the model's engine stop for good; `cuda_memory_mb` bounds what it
    takes of a GPU. Raises BundleRefused with the reason in one line, DeviceUnavailable where no bundle could be served
    at all.
    """
    encoder = Encoder(bundle, device=device, threads=threads, cuda_memory_mb=cuda_memory_mb)
    batch_s = batch_ms / 1000
    encoder.replay_golden()
    measured = encoder.warm(limit_s=batch_s)
    speeds = {bucket: speed(taken, batch_s) for bucket, taken in measured.items()}
    ragged = trimmable(encoder)
    trimming = None if ragged is None else serving_trimming(ragged, measured, batch_s)
    encoder.release_graph()
    small = Limits(*map(min, astuple(limits), astuple(INLINE_LIMITS)))
    engine = Engine(encoder.bundle, encoder, small, speeds, batch_s, observer, trimming)
    batcher = Batcher[Work, Encoded](
        engine.run,
        cap=max(one.largest for one in speeds.values()) if trimming is None else MOST_WINDOWS,
        queue_items=queue_items,
        queue_ms=queue_ms,
        executor=executor,
        inline_below_s=INLINE_BELOW_S if encoder.provider == CPU else 0.0,
        in_flight=1 if encoder.provider == CPU else CUDA_IN_FLIGHT,
        seconds_per_item=median(one.seconds for one in speeds.values()),
        on_queued=partial(observer.queued, bundle.key),
        on_batch=partial(observer.batch, bundle.key),
        on_death=partial(on_death, bundle.key),
    )
    return Model(engine, batcher, limits)

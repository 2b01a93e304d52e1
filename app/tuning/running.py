"""One tuning from the bundles to the exit code: measures, prints, and writes. What follows from figures: choice.py.

Exit codes: 0; 2 where settings or the machine do not allow it; 3 where no bundle can be measured; 130 after a Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from app.core.bundle import Bundle
from app.core.errors import BundleRefused
from app.runtime.cpus import available_cpus
from app.runtime.encoder import LADDER
from app.settings import TUNED, Settings
from app.supervisor.catalogue import read_catalogue
from app.supervisor.machine import expects_gpu
from app.supervisor.running import NO_MODELS, UNABLE, say
from app.supervisor.signatures import NoSignatureCheckError, signature_check
from app.tuning import choice
from app.tuning.choice import Figure, Layout
from app.tuning.crew import Crew, CrewLostError
from app.tuning.file import cpu_name, render, write
from app.tuning.measuring import Round
from app.tuning.table import table

SIZES = tuple(sorted(LADDER))
REPEATS = 2
INTERRUPTED = 128 + signal.SIGINT

Measured = dict[Layout, dict[str, dict[int, Figure]]]


def tune(settings: Settings, *, seconds: float, out: Path | None) -> int:
    """Measure, print the table on stdout, write the file, and return the exit code. A figure takes `seconds`, twice."""
    if (obstacle := _obstacle(settings, out)) is not None:
        say(f"tune: {obstacle}")
        return UNABLE
    file = out or Path(settings.state_dir or "") / TUNED
    try:
        with _ending_at_once():
            bundles = _measurable(settings)
            values = _settle(bundles, seconds)
        keys = [bundle.key for bundle in bundles]
        write(file, render(values, when=datetime.now(UTC), cpu=cpu_name(), cpus=available_cpus(), bundles=keys))
    except BundleRefused as error:
        say(f"tune: {error.detail}")
        return NO_MODELS
    except (CrewLostError, NoSignatureCheckError) as error:
        say(f"tune: {error}")
        return UNABLE
    except OSError as error:
        say(f"tune: cannot write {file}: {error.strerror or error}")
        return UNABLE
    say(f"tune: wrote {file}; serve reads {TUNED} in its TWINSERVE_STATE_DIR")
    return 0


@contextlib.contextmanager
def _ending_at_once() -> Iterator[None]:
    """Have a Ctrl-C end this process wherever it is: an exception in the midst of starting another may be swallowed.

    The measuring processes end by themselves, since their pipes are closed then.
    """

    def end(_number: int, _frame: object) -> None:
        say("tune: stopped, nothing was written")
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _obstacle(settings: Settings, out: Path | None) -> str | None:
    """Why there is nothing to begin with, in one line."""
    if out is None and settings.state_dir is None:
        return "set TWINSERVE_STATE_DIR, where serve looks for what was tuned, or give --out FILE"
    if expects_gpu(settings.device):
        return f"device {settings.device} means a GPU here, and only CPUs are tuned for: set TWINSERVE_DEVICE=cpu"
    return None


def _measurable(settings: Settings) -> list[Bundle]:
    """The bundles that a worker would serve; each other one is told with its reason. Raises BundleRefused for none."""
    catalogue = read_catalogue(settings.models, None, check=signature_check(settings.signing_key, None))
    refused = dict(catalogue.refused)
    if catalogue.bundles:
        with Crew(catalogue.bundles, Layout(1, 1)) as crew:
            refused |= crew.opened().refused
    for key, reason in refused.items():
        say(f"refused {key}: {reason}")
    bundles = [bundle for bundle in catalogue.bundles if bundle.key not in refused]
    if not bundles:
        raise BundleRefused(f"no model is left to measure (models are looked for in {settings.models})")
    return bundles


def _settle(bundles: Sequence[Bundle], seconds: float) -> dict[str, int]:
    """Measure the bundles, print what was found, and return the settings that follow."""
    default = Layout(available_cpus(), 1)
    measured = measure_layouts(bundles, choice.layouts(available_cpus()), seconds)
    layout, times = choice.choose_layout(measured, default)
    batches = {key: choice.choose_batch(figures) for key, figures in measured[layout].items()}
    buckets = measure_buckets(bundles, layout, batches, seconds)
    taken = [measured[layout][key][batch].batch_ms for key, batch in batches.items()]
    batch_ms = choice.choose_batch_ms(taken)
    print(table(measured, layout, batches, buckets), end="\n\n")
    print(explanation(layout, default, times))
    print(
        f"Batches: for each bundle the smallest within 3 % of its best. The slowest of them takes {max(taken):.3g} ms, "
        f"so that TWINSERVE_BATCH_MS={batch_ms} (between {choice.LEAST_MS} and {choice.MOST_MS})."
    )
    return {"workers": layout.processes, "threads": layout.threads, "batch_ms": batch_ms}


def explanation(layout: Layout, default: Layout, times: Mapping[Layout, float]) -> str:
    """Say which layout was chosen and why, in one line."""
    leader = max(times, key=lambda one: times[one])
    if layout != default:
        return f"Layout: {layout}, {times[layout]:.2f} times the default {default} over all bundles."
    if len(times) == 1:
        return f"Layout: the default {default}, the only one on one usable CPU."
    if leader == default:
        return f"Layout: the default {default}; no other is faster over all bundles."
    return (
        f"Layout: the default {default} stays; {leader} reaches {times[leader]:.2f} times its throughput over all "
        f"bundles, and less than {choice.CLEARLY} does not count."
    )


def measure_layouts(bundles: Sequence[Bundle], layouts: Sequence[Layout], seconds: float) -> Measured:
    """Each bundle's figures at each layout and batch size, the medians of rounds over all layouts."""
    minutes = REPEATS * len(layouts) * len(bundles) * len(SIZES) * seconds / 60
    say(f"tune: {len(bundles)} bundles, {len(layouts)} layouts: at least {minutes:.1f} minutes")
    seen: defaultdict[tuple[Layout, str, int], list[Figure]] = defaultdict(list)
    for repeat in range(REPEATS):
        for layout in layouts:
            say(f"tune: {layout} processes x threads, round {repeat + 1} of {REPEATS}")
            with Crew(bundles, layout) as crew:
                crew.opened()
                for bundle in bundles:
                    for size in SIZES:
                        seen[layout, bundle.key, size].append(crew.go(Round(bundle.key, size, seconds)))
    return {
        layout: {one.key: {size: choice.middle(seen[layout, one.key, size]) for size in SIZES} for one in bundles}
        for layout in layouts
    }


def measure_buckets(
    bundles: Sequence[Bundle], layout: Layout, batches: Mapping[str, int], seconds: float
) -> dict[str, dict[str, Figure]]:
    """Each bucket's figure at its bundle's batch, for the bundles that have several."""
    found: dict[str, dict[str, Figure]] = {}
    with Crew(bundles, layout) as crew:
        for key, names in crew.opened().buckets.items():
            if len(names) > 1:
                rounds = [Round(key, batches[key], seconds, bucket) for bucket in range(len(names))] * REPEATS
                figures = [crew.go(asked) for asked in rounds]
                repeats = [figures[start :: len(names)] for start in range(len(names))]
                found[key] = {name: choice.middle(each) for name, each in zip(names, repeats, strict=True)}
    return found

"""Guesses for an encoder of series: numbers in three axes, steps and channels."""

from __future__ import annotations

from collections.abc import Iterator

from model_export.drafting.entries import Entry, ask, guess, known
from model_export.drafting.graph import Facts, Port, channel_axis, first_steps

USUAL_STEPS, FEWEST, MOST_LADDER = 128, 8, 512
WINDOWS = 16
"""Windows of a long series, where the graph takes one length only."""


def recognise(facts: Facts) -> str | None:
    """Why it seems to take series; None if not."""
    port = numbers(facts)
    if port is None or port.rank != 3:
        return None
    return f"its input {port.name} has three axes of floating-point numbers, as steps and channels in a batch have"


def draft(facts: Facts) -> Iterator[Entry]:
    """The entries of modality.params, graph.inputs and graph.layout."""
    port = numbers(facts)
    assert port is not None
    layout, steps, channels = axes(facts, port)
    mask = mask_of(facts, port)
    yield layout
    count, why = (channels, "as many as the graph takes") if channels else (1, "no axis says how many channels")
    named = [{"name": f"channel {place + 1}", "unit": "unknown"} for place in range(count)]
    yield ask("modality.params.channels", named, f"{why}; what each measures, and in which unit, is for you to say")
    yield from _lengths(steps, masked=mask is not None)
    yield guess("modality.params.gaps", "refuse", "no gap is filled unless you say how")
    yield guess(
        "modality.params.normalisation",
        "none",
        "as they come; else per_item, or declared with the training's numbers",
    )
    yield known("graph.inputs", {"values": port.name, **({"mask": mask} if mask else {})}, "its inputs")


def numbers(facts: Facts) -> Port | None:
    """The one input of floating-point numbers that is no mask; None where there are none or several."""
    found = [port for port in facts.inputs if port.dtype.startswith(("float", "bfloat")) and not _is_mask(port)]
    return found[0] if len(found) == 1 else None


def mask_of(facts: Facts, port: Port) -> str | None:
    """The input that tells real steps from padding, by its name."""
    return next((other.name for other in facts.inputs if other is not port and _is_mask(other)), None)


def axes(facts: Facts, port: Port) -> tuple[Entry, int | None, int | None]:
    """graph.layout, and the sizes of steps and channels, None where any is taken."""
    _, first, second = port.dims or (None,) * 3
    field = "graph.layout"
    seen = channel_axis(first_steps(facts.model, port.name), 3)
    if seen is not None and seen[0] in (1, 2):
        where, count = seen
        why = "where its first convolution looks for channels"
        return known(field, "nct" if where == 1 else "ntc", why), (second if where == 1 else first), count
    if (first is None) != (second is None):
        nct = second is None
        why = f"the steps are the axis of any size, axis {2 if nct else 1}"
        return guess(field, "nct" if nct else "ntc", why), None, first if nct else second
    if first is None or second is None:
        return guess(field, "ntc", "no axis has a size; recurrent networks take steps first"), None, None
    nct = first < second
    why = "of the two sizes the larger is taken for the steps"
    return guess(field, "nct" if nct else "ntc", why), max(first, second), min(first, second)


def _is_mask(port: Port) -> bool:
    return port.rank == 2 and any(word in port.name.lower() for word in ("mask", "valid", "real"))


def _lengths(steps: int | None, *, masked: bool) -> Iterator[Entry]:
    start = "modality.params."
    if steps is not None or not masked:
        length = steps or USUAL_STEPS
        say, why = (known, "the steps that the graph declares") if steps else (guess, "a usual length")
        alone = why if masked else f"{why}, the only one: it takes no mask, so padding could not be told"
        yield say(f"{start}ladder", [length], alone)
        yield guess(f"{start}min_steps", length, "a shorter series would be padded")
        yield guess(f"{start}max_steps", length * WINDOWS, "a longer one is cut into windows, to this length")
        yield guess(f"{start}long", "window", "windows of that length, whose embeddings are averaged")
        yield guess(f"{start}window_steps", length, "the length that the graph takes")
        yield guess(f"{start}hop_steps", max(1, length // 2), "neighbouring windows share half")
        return
    ladder = [32, 64, 128, 256, MOST_LADDER]
    yield guess(f"{start}ladder", ladder, "lengths to which series are padded, twice as long each; a matter of speed")
    yield guess(f"{start}min_steps", FEWEST, "a shorter series is refused; yours to say")
    yield guess(f"{start}max_steps", MOST_LADDER, "the last of the ladder; yours to say")
    yield guess(f"{start}long", "refuse", "a longer series is refused")

"""Guesses for an encoder of sound: samples in two axes, or mel bands in three, by the input's name."""

from __future__ import annotations

from collections.abc import Iterator

from model_export.drafting.entries import Entry, guess, known
from model_export.drafting.graph import Facts, Port
from model_export.drafting.series import axes, mask_of, numbers

RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512
BANDS = 80
BAND_NAMES = ("mel", "fbank", "filterbank", "spec", "audio", "feats")
LADDER_SECONDS = (1.0, 2.0, 4.0, 8.0)
START = "modality.params."


def recognise(facts: Facts) -> str | None:
    """Why it seems to take sound; None if not."""
    port = numbers(facts)
    if port is None:
        return None
    if port.rank == 3 and any(word in port.name.lower() for word in BAND_NAMES):
        return f"its input is called {port.name}, as mel bands over time are"
    if port.rank == 2:
        return f"its input {port.name} has two axes of floating-point numbers, as samples of sound in a batch have"
    return None


def draft(facts: Facts) -> Iterator[Entry]:
    """The entries of modality.params, graph.inputs and graph.layout."""
    port = numbers(facts)
    assert port is not None
    mask = mask_of(facts, port)
    if port.rank == 2:
        array, steps = "waveform", (port.dims or (None, None))[1]
        yield known(f"{START}features.kind", "waveform", f"{port.name} takes samples")
        seconds = None if steps is None else steps / RATE
    else:
        array = "features"
        layout, steps, bands = axes(facts, port)
        yield layout
        yield from _bands(bands)
        seconds = None if steps is None else (WINDOW + (steps - 1) * HOP) / RATE
    yield guess(f"{START}rate", RATE, "as most encoders of speech take it; 8000, 22050, 44100 and 48000 are others")
    yield known(f"{START}mixdown", "mean", "the only way that there is")
    yield known(f"{START}resampler", "soxr_hq", "the only one that there is")
    yield guess(f"{START}trim", "off", "silence at the ends stays")
    yield from _lengths(port, seconds, masked=mask is not None)
    yield guess(f"{START}silence_db", -60.0, "sounds below it are refused as silent; yours to say")
    yield guess(f"{START}clipping_share", 0.05, "sounds clipped more than this are refused; yours to say")
    yield known("graph.inputs", {array: port.name, **({"mask": mask} if mask else {})}, "its inputs")


def _bands(bands: int | None) -> Iterator[Entry]:
    start = f"{START}features."
    yield guess(f"{start}kind", "log_mel", "the input's name")
    if bands is None:
        yield guess(f"{start}n_mels", BANDS, "a usual number; the graph declares none")
    else:
        yield known(f"{start}n_mels", bands, "so many bands as the graph takes")
    yield guess(f"{start}win_length", WINDOW, "25 ms at 16 kHz, as in most speech front ends")
    yield guess(f"{start}hop_length", HOP, "10 ms at 16 kHz, likewise")
    yield guess(f"{start}n_fft", FFT, "the next power of two; torchaudio and librosa often take the window's length")
    yield guess(f"{start}fmin", 0.0, "some start at 20 or 60 Hz")
    yield guess(f"{start}fmax", RATE / 2, "half the rate")
    yield guess(f"{start}floor", 1e-6, "what counts as nothing before the logarithm; 1e-10 is as usual")
    yield guess(f"{start}mel_scale", "htk", "torchaudio's default; librosa's is slaney")
    yield guess(f"{start}normalise", "none", "per_item_mean takes each band's mean away, as many speaker encoders do")


def _lengths(port: Port, seconds: float | None, *, masked: bool) -> Iterator[Entry]:
    if seconds is None and masked:
        yield guess(f"{START}min_seconds", 0.25, "yours to say")
        yield guess(f"{START}max_seconds", LADDER_SECONDS[-1], "yours to say")
        yield guess(f"{START}long", {"policy": "refuse"}, "a longer sound is refused unless its item says truncate")
        yield guess(f"{START}ladder_seconds", LADDER_SECONDS, "lengths to which sounds are padded; a matter of speed")
        return
    length = seconds or LADDER_SECONDS[1]
    why = f"the length that {port.name} declares" if seconds else "a usual length"
    alone = why if masked else f"{why}, the only one: it takes no mask, so padding could not be told"
    yield guess(f"{START}min_seconds", length, "a shorter sound would be padded")
    yield guess(f"{START}max_seconds", length, alone)
    windows = {"policy": "window", "window_seconds": length, "hop_seconds": length / 2}
    yield guess(f"{START}long", windows, "a longer sound is cut into windows, whose embeddings are averaged")
    yield guess(f"{START}ladder_seconds", [length], alone)

"""Golden probes are the same bytes whenever, and wherever, they are made."""

from __future__ import annotations

import re
import struct
from io import BytesIO

import numpy as np
import pytest
import soundfile

from model_export.probes.audio import probe_items
from model_export.probes.traces import SERIAL, without_traces

PAGE_NUMBER, PEAK_DATE = 14, 12
"""Places of what libsndfile draws and dates: in an Ogg page, and in the PEAK chunk of a WAV file."""


def written(container: str, subtype: str) -> bytes:
    file = BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(4000) / 20), 8000, format=container, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "subtype", "mark", "place"),
    [("OGG", "VORBIS", b"OggS", PAGE_NUMBER), ("WAV", "FLOAT", b"PEAK", PEAK_DATE)],
)
def test_a_file_of_another_day_is_the_same(container: str, subtype: str, mark: bytes, place: int) -> None:
    data = written(container, subtype)
    other = bytearray(data)
    starts = [match.start() for match in re.finditer(mark, data)]
    assert starts
    for start in starts:
        other[start + place : start + place + 4] = struct.pack("<I", 20_000_101)
    assert without_traces(bytes(other)) == without_traces(data)
    heard, rate = soundfile.read(BytesIO(without_traces(data)))  # a page whose checksum is wrong would be skipped
    assert rate == 8000
    assert np.array_equal(heard, soundfile.read(BytesIO(data))[0])


def test_what_is_neither_drawn_nor_dated_stays() -> None:
    for kind in (("WAV", "PCM_16"), ("FLAC", "PCM_16")):
        data = written(*kind)
        assert without_traces(data) == data


def test_no_probe_tells_when_it_was_made() -> None:
    files = [item["bytes"] for item in probe_items(0.1, 2.0)]
    (ogg,) = [data for data in files if data.startswith(b"OggS")]
    numbers = {ogg[match.start() + PAGE_NUMBER :][:4] for match in re.finditer(b"OggS", ogg)}
    assert numbers == {struct.pack("<I", SERIAL)}
    dated = [data for data in files if b"PEAK" in data[:200]]
    assert dated
    for data in dated:
        assert data[data.index(b"PEAK") + PEAK_DATE :][:4] == bytes(4)

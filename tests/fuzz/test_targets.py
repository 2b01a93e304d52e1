"""What is fuzzed holds on the files that fuzzing begins from, cut short anywhere and with bytes changed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import NAMES, Target, find_target

PLACE = st.floats(0, 1, exclude_max=True)


@st.composite
def damaged(draw: st.DrawFn, target: Target) -> bytes:
    """One of the seeds, perhaps cut short, with up to eight pieces of another or of anything laid over it."""
    data = bytearray(draw(st.sampled_from(target.seeds)))
    for _ in range(draw(st.integers(0, 8))):
        at = int(draw(PLACE) * len(data))
        other = draw(st.one_of(st.binary(max_size=4), st.sampled_from(target.seeds)))
        data[at : at + draw(st.integers(0, 64))] = other[: draw(st.integers(0, 64))]
    return bytes(data[: int(draw(PLACE) * (len(data) + 1))] if draw(st.booleans()) else data)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_input_is_taken_or_refused_with_a_documented_error(name: str) -> None:
    target = find_target(name)
    for seed in target.seeds:
        target.read(seed)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(damaged(target))
    def read(data: bytes) -> None:
        target.read(data)

    read()

"""What a process of bulk work needs for one run is there for the next."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys
import numpy as np
from app.runtime.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def go_round():
    pieces = [np.ones(3 << 20, dtype=np.uint8) for _ in range(5)]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
go_round()
go_round()
before = faults()
for _ in range(10):
    go_round()
print(faults() - before)
"""


def pages_fetched(how: str) -> int:
    """In ten rounds of pieces that together are larger than what glibc keeps, of its own accord, after such pieces."""
    run = subprocess.run([sys.executable, "-c", ROUNDS, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library, which is left as it is")
def test_memory_that_is_kept_is_not_fetched_anew() -> None:
    assert pages_fetched("as it is") > 1000  # else this shows nothing
    assert pages_fetched("keep") < 100

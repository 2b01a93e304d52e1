"""Ctrl-C (SIGINT) and SIGTERM: the first is answered between two steps, the second at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Notes the first signal while `patient`, for the loop to ask; raises KeyboardInterrupt for any other."""

    def __init__(self) -> None:
        self.asked = False
        self.patient = False

    def __call__(self, *_: object) -> None:
        """The signal handler."""
        if self.asked or not self.patient:
            raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def listening() -> Iterator[Interrupts]:
    """Take both signals inside. Only a main thread can; any other is never asked to stop."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts) for number in SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

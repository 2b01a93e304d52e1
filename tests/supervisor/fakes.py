"""Small worker programs that speak the control channel and nothing else; each runs in a process of its own."""

from __future__ import annotations

import sys
import time
from multiprocessing.connection import Connection

from app.runtime.control import Died, Drain, Keys, Leaving, Loaded, Up


def die_at_once(**_: object) -> None:
    """End before anything is up."""
    sys.exit(7)


def serve_until_drained(control: Connection, **_: object) -> None:
    """Become ready, then wait for the order to drain."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    wait_for_drain(control)


def wait_for_keys(control: Connection, **_: object) -> None:
    """Become ready only once keys were told."""
    while not isinstance(control.recv(), Keys):
        pass
    serve_until_drained(control)


def ignore_drain(control: Connection, **_: object) -> None:
    """Become ready and never leave."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    while True:
        time.sleep(60)


def lose_the_engine(control: Connection, **_: object) -> None:
    """Become ready, then tell of a dead engine and exit."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    control.send(Died("the engine of tiny@1.0.0 stopped: out of memory"))
    sys.exit(70)


def ask_to_leave(control: Connection, **_: object) -> None:
    """Become ready, then leave as one does that somebody else has terminated."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    control.send(Leaving())
    wait_for_drain(control)


def wait_for_drain(control: Connection) -> None:
    """Read messages until the one that ends it."""
    while not isinstance(control.recv(), Drain):
        pass

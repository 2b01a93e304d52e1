"""Small worker programs that speak the control channel and nothing else; each runs in a process of its own."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import time
from multiprocessing.connection import Connection

from app.runtime.control import Beat, Died, Drain, Leaving, Loaded, Up


def die_at_once(**_: object) -> None:
    """End before anything is up."""
    sys.exit(7)


def serve_until_drained(control: Connection, **_: object) -> None:
    """Become ready, then wait for the order to drain."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    wait_for_drain(control)


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


def hang(control: Connection, **_: object) -> None:
    """Become ready, and show no life from then on."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    while True:
        time.sleep(60)


def hang_in_a_batch(control: Connection, **_: object) -> None:
    """Become ready, and tell of a batch that does not end."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    for beat in itertools.count(1):
        control.send(Beat(beat))
        time.sleep(0.05)


def leave_and_stay(control: Connection, **_: object) -> None:
    """Become ready, ask to leave, and never go."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    control.send(Leaving())
    while True:
        time.sleep(60)


def take_one(control: Connection, deals: socket.socket, **_: object) -> None:
    """Become ready, take one of the connections dealt, and die."""
    control.send(Up())
    control.send(Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"}))
    socket.recv_fds(deals, 1, 1)
    time.sleep(0.5)  # others are dealt meanwhile
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_drain(control: Connection) -> None:
    """Read messages until the one that ends it."""
    while not isinstance(control.recv(), Drain):
        pass

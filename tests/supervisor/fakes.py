"""Small worker programs that speak the control channel and nothing else; each runs in a process of its own."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import time
from multiprocessing.connection import Connection, wait

from app.core.bundle import CPU, Bundle
from app.runtime.control import Beat, Died, Drain, Keys, Leaving, Loaded, Refused, Switch, Switched, Up


def die_at_once(**_: object) -> None:
    """End before anything is up."""
    sys.exit(7)


def serve_until_drained(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready, then load and switch as told until the order to drain."""
    become_ready(control, loads)
    obey(control, loads)


def wait_for_keys(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready only once keys were told."""
    load(control, loads)
    control.send(Up())
    heard: dict[type, object] = {}
    while not {Keys, Switch} <= heard.keys():
        message = control.recv()
        heard[type(message)] = message
    order = heard[Switch]
    assert isinstance(order, Switch)
    control.send(Switched(order.generation))
    obey(control, loads)


def ignore_drain(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready and never leave."""
    become_ready(control, loads)
    while True:
        time.sleep(60)


def lose_the_engine(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready, then tell of a dead engine and exit."""
    become_ready(control, loads)
    control.send(Died("the engine of tiny@1.0.0 stopped: out of memory"))
    sys.exit(70)


def ask_to_leave(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready, then leave as one does that somebody else has terminated."""
    become_ready(control, loads)
    control.send(Leaving())
    obey(control, loads)


def die_of_a_new_one(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready, and end like a process that is out of memory once another bundle comes."""
    become_ready(control, loads)
    wait([loads])
    os.abort()


def refuse_once_in_slot_1(control: Connection, loads: Connection, slot: int, **_: object) -> None:
    """Become ready, and load every other bundle, but in slot 1 refuse the first."""
    become_ready(control, loads)
    obey(control, loads, refusals=1 if slot == 1 else 0)


def switch_late_in_slot_1(control: Connection, loads: Connection, slot: int, **_: object) -> None:
    """Become ready, and in slot 1 take a while for each further switch."""
    become_ready(control, loads)
    obey(control, loads, pause_s=0.5 if slot == 1 else 0.0)


def die_at_the_next_switch(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready, load what comes, and end when told to switch, as one that was killed then."""
    become_ready(control, loads)
    load(control, loads)
    while not isinstance(control.recv(), Switch):
        pass
    os.abort()


def hang(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready, and show no life from then on."""
    become_ready(control, loads)
    while True:
        time.sleep(60)


def hang_in_a_batch(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready, and tell of a batch that does not end."""
    become_ready(control, loads)
    for beat in itertools.count(1):
        control.send(Beat(beat))
        time.sleep(0.05)


def leave_and_stay(control: Connection, loads: Connection, **_: object) -> None:
    """Become ready, ask to leave, and never go."""
    become_ready(control, loads)
    control.send(Leaving())
    while True:
        time.sleep(60)


def take_one(control: Connection, loads: Connection, deals: socket.socket, **_: object) -> None:
    """Become ready, take one of the connections dealt, and die."""
    become_ready(control, loads)
    socket.recv_fds(deals, 1, 1)
    time.sleep(0.5)  # others are dealt meanwhile
    os.kill(os.getpid(), signal.SIGKILL)


def become_ready(control: Connection, loads: Connection) -> None:
    """Load one bundle, come up, and switch to it."""
    load(control, loads)
    control.send(Up())
    while not isinstance(message := control.recv(), Switch):
        pass
    control.send(Switched(message.generation))


def load(control: Connection, loads: Connection, *, refuses: bool = False) -> None:
    """Take one bundle and say what has become of it."""
    bundle: Bundle = loads.recv()
    digest = bundle.manifest.manifest_digest
    control.send(Refused(digest, "not here") if refuses else Loaded(digest, CPU))


def obey(control: Connection, loads: Connection, *, refusals: int = 0, pause_s: float = 0.0) -> None:
    """Do what is asked until the order to drain."""
    while True:
        for end in wait([control, loads]):
            if end is loads:
                load(control, loads, refuses=refusals > 0)
                refusals -= 1
            else:
                message = control.recv()
                if isinstance(message, Drain):
                    return
                if isinstance(message, Switch):
                    time.sleep(pause_s)
                    control.send(Switched(message.generation))

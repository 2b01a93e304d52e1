"""Ports for what cannot choose one itself, or must have the same one twice."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path


def lasting_port() -> int:
    """A free port of the loopback that the system gives to nobody unasked, so that it is still free a moment later."""
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    for _ in range(100):
        port = random.randrange(max(1024, first // 2), first)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")

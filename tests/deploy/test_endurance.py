"""Restarts and idle connections behind a real nginx, long: a few as a test, all of them with TWINSERVE_LONG=1.

TWINSERVE_LONG=1 python -m pytest tests/deploy/test_endurance.py -s     (a hundred restarts; 10,000 requests: 15 minutes)
"""

from __future__ import annotations

import contextlib
import functools
import random
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import LONG
from tests.deploy.nginx import NGINX, running_nginx
from tests.load import PAIRS, Tally, kept_busy, known_scores
from tests.supervisor.live import DEADLINE_S, LiveService, live_service, wait_for

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="no nginx on this machine (Debian: apt-get install nginx-light)"),
    pytest.mark.timeout(3600 if LONG else 300),
]

RESTARTS = 100 if LONG else 4
REQUESTS, CALLERS = (10_000, 200) if LONG else (200, 40)
IDLE_S = (4.0, 6.0) if LONG else (1.5, 2.5)
POOL_S = 60 if LONG else 1
"""How long nginx keeps an idle connection, 60 s in the example; the service longer. In small, all in proportion."""
KEEP_ALIVE_S = 75 if LONG else 3


def lasting_port() -> int:
    """A free port that the system gives nobody by itself while its owner restarts."""
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    for _ in range(100):
        port = random.randrange(max(1024, first // 2), first)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")


def has_asked(tally: Tally, count: int) -> bool:
    return tally.asked >= count


def test_rolling_restarts_under_load_lose_no_request(uncalibrated_models: Path, tmp_path: Path) -> None:
    """Two replicas are told to stop in turn and started anew, the next as soon as the last is ready again."""
    ports = [lasting_port(), lasting_port()]
    with contextlib.ExitStack() as stack:
        services = {port: stack.enter_context(contextlib.ExitStack()) for port in ports}

        def start(port: int) -> None:
            running[port] = services[port].enter_context(live_service(uncalibrated_models, port=port))
            running[port].wait_ready(1)

        running = dict[int, LiveService]()
        for port in ports:
            start(port)
        gateway = stack.enter_context(running_nginx(tmp_path, ports))
        scores = known_scores(gateway.url)
        with kept_busy(gateway.url, scores, callers=3, timeout_s=DEADLINE_S) as tally:
            for number in range(RESTARTS):
                port = ports[number % 2]
                wait_for("requests", functools.partial(has_asked, tally, tally.asked + 20))
                running[port].process.send_signal(signal.SIGTERM)
                assert running[port].wait_exit() == 0
                services[port].close()
                start(port)
    again = sum(len(addresses) == 2 for _, addresses in gateway.requests())
    print(f"{RESTARTS} restarts, {tally}, sent again by nginx: {again}")
    assert tally.right == tally.asked, tally
    assert again, "nothing was ever sent again"

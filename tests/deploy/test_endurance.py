"""Restarts and idle connections behind a real nginx: a few as a test, all of them where TWINSERVE_LONG is set.

TWINSERVE_LONG=1 python -m pytest tests/deploy/test_endurance.py -s
makes a hundred restarts and sends 10,000 requests over connections that idle in between: ten to twenty minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import signal
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.conftest import LONG
from tests.deploy.nginx import NGINX, lasting_port, running_nginx
from tests.load import PAIRS, Tally, kept_busy, known_scores
from tests.supervisor.live import DEADLINE_S, LiveService, established_inodes, live_service, wait_for

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(NGINX is None, reason="no nginx on this machine (Debian: apt-get install nginx-light)"),
    pytest.mark.timeout(3600 if LONG else 300),
]

RESTARTS = 100 if LONG else 4
ROUNDS, CALLERS = (50, 200) if LONG else (3, 70)
IDLE_S = (4.0, 6.0)


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


async def test_connections_that_idle_between_requests_cost_none(uncalibrated_models: Path, tmp_path: Path) -> None:
    """All callers ask at once and then wait, so that every connection of nginx to the service idles as long."""
    statuses = Counter[int]()
    with live_service(uncalibrated_models, workers=2) as service:
        service.wait_ready(2)
        changes = {"keepalive 32;": f"keepalive {CALLERS};", "    server twinserve-2:8000 max_fails=0;": ""}
        limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS, keepalive_expiry=None)
        with running_nginx(tmp_path, [service.port], changes) as gateway:
            async with httpx.AsyncClient(base_url=gateway.url, timeout=DEADLINE_S, limits=limits) as client:
                for number in range(ROUNDS):
                    answers = await asyncio.gather(*(client.post("/compare", json=PAIRS[0]) for _ in range(CALLERS)))
                    statuses.update(answer.status_code for answer in answers)
                    if number == 0:
                        first = established_inodes(service.port)
                    await asyncio.sleep(random.uniform(*IDLE_S))
                    if number < 3:
                        assert first <= established_inodes(service.port), "the service closed what nginx keeps for 60 s"
            again = sum(len(addresses) > 1 for _, addresses in gateway.requests())
    print(f"{ROUNDS} times {CALLERS} requests, {IDLE_S[0]} to {IDLE_S[1]} s apart: {statuses}, sent again: {again}")
    assert statuses == {200: ROUNDS * CALLERS}
    assert again == 0

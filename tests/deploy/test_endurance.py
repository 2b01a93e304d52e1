"""Restarts and idle connections behind a real nginx: a few as a test, all of them where TWINSERVE_LONG is set.

TWINSERVE_LONG=1 python -m pytest tests/deploy/test_endurance.py -s
makes a hundred restarts and sends 10,000 requests over connections that idle in between: ten to twenty minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Self

import pytest

from tests.conftest import LONG
from tests.deploy.nginx import NGINX, Gateway, running_nginx
from tests.load import PAIRS, Tally, kept_busy, known_scores
from tests.ports import lasting_port
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


class Caller:
    """One keep-alive connection; plainer than a client that looks through hundreds of them for each request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connected(cls, gateway: Gateway) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2])))

    async def compare(self) -> int:
        """The status of one comparison."""
        body = json.dumps(PAIRS[0]).encode()
        head = "POST /compare HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._writer.write(head.encode() % len(body) + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
        assert length is not None, answer
        await self._reader.readexactly(int(length[1]))
        return int(answer.split()[1])

    async def leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def test_connections_that_idle_between_requests_cost_none(uncalibrated_models: Path, tmp_path: Path) -> None:
    """All callers ask at once and then wait, so that every connection of nginx to the service idles as long."""
    statuses = Counter[int]()
    with live_service(uncalibrated_models, workers=2) as service:
        service.wait_ready(2)
        changes = {"keepalive 32;": f"keepalive {CALLERS};", "    server twinserve-2:8000 max_fails=0;": ""}
        with running_nginx(tmp_path, [service.port], changes) as gateway:
            callers = [await Caller.connected(gateway) for _ in range(CALLERS)]
            for number in range(ROUNDS):
                statuses.update(await asyncio.gather(*(caller.compare() for caller in callers)))
                if number == 0:
                    first = established_inodes(service.port)
                await asyncio.sleep(random.uniform(*IDLE_S))
                if number < 3:
                    assert first <= established_inodes(service.port), "the service closed what nginx keeps for 60 s"
            for caller in callers:
                await caller.leave()
            again = sum(len(addresses) > 1 for _, addresses in gateway.requests())
    print(f"{ROUNDS} times {CALLERS} requests, {IDLE_S[0]} to {IDLE_S[1]} s apart: {statuses}, sent again: {again}")
    assert statuses == {200: ROUNDS * CALLERS}
    assert again == 0

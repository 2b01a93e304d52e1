"""Drift of a running service is that of both its workers' scores, whether a worker or the supervisor is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import picture
from tests.supervisor.live import DEADLINE_S, LiveService, live_service, wait_for
from tests.telemetry.test_metrics import value
from tests.tiny import VERIFIED_FROM

pytestmark = pytest.mark.timeout(300)

MODEL = '{model="tiny@1.0.0"}'
READY = 'twinserve_workers{state="ready"}'
MATCHES = [{"a": picture(VERIFIED_FROM + one, 0), "b": picture(VERIFIED_FROM + one, 1)} for one in range(80)]
OTHERS = [{"a": picture(VERIFIED_FROM + one, 0), "b": picture(VERIFIED_FROM + one + 1, 1)} for one in range(79)]


def scrape(service: LiveService, *, own_port: bool) -> bytes:
    """What metrics are now."""
    if not own_port:
        return service.get("/metrics").content
    address = wait_for("metrics line", lambda: service.said(r"metrics on (\S+)")).group(1)
    return httpx.get(address, timeout=DEADLINE_S).content


@pytest.mark.parametrize("own_port", [False, True], ids=["of a worker", "of the supervisor"])
def test_drift_is_of_all_workers_together_and_their_shares_of_matches_are_none(
    tiny_models: Path, own_port: bool
) -> None:
    """Identities that the calibration never saw, drawn as its own were: one connection sends matches, one none."""
    settings: dict[str, Any] = {"metrics_port": 0} if own_port else {}
    with live_service(tiny_models, workers=2, **settings) as service:
        wait_for("two workers", lambda: value(scrape(service, own_port=own_port), READY) == 2)
        with (
            httpx.Client(base_url=service.url, timeout=DEADLINE_S) as one,
            httpx.Client(base_url=service.url, timeout=DEADLINE_S) as other,
        ):
            for client, pairs, times in ((one, MATCHES, 2), (other, OTHERS, 6)):
                for _ in range(times):
                    assert client.post("/compare/batch", json={"pairs": pairs}).status_code == 200
            assert sorted(service.connections_by_worker().values()) == [1, 1]
        body = scrape(service, own_port=own_port)
    scores = 2 * len(MATCHES) + 6 * len(OTHERS)
    assert value(body, f"twinserve_score_window{MODEL}") == scores
    assert value(body, f"twinserve_score_match_share{MODEL}") == pytest.approx(2 * len(MATCHES) / scores, abs=0.05)
    assert 0 < value(body, f"twinserve_score_drift{MODEL}") < 0.25

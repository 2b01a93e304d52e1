"""A real Ray cluster of several nodes on this machine, for the tests of what runs on one. Needs the extra `ray`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import lasting_port

ROOT = Path(__file__).parents[1]
RAY = Path(sys.executable).parent


TRIES = 4
STORE_BYTES = 100 << 20
PATIENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_initial_delay_ms": "60000",
    "RAY_agent_register_timeout_ms": "300000",
}
"""A loaded machine is slow, and must not be taken for a dead one."""


@contextlib.contextmanager
def running_cluster(nodes: int) -> Iterator[Any]:
    """Start a head without CPUs and so many nodes of one CPU each; end all of them at the end."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415  (an extra)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)  # the nodes find `app` as those of a real cluster do: it is there
        cluster = Cluster()
        try:
            _patiently(lambda: cluster.add_node(include_dashboard=False, **_node(num_cpus=0)))
            for _ in range(nodes):
                add_node(cluster)
            yield cluster
        finally:
            cluster.shutdown()


def add_node(cluster: Any) -> Any:
    """One more node, with one CPU."""
    return _patiently(lambda: cluster.add_node(**_node(num_cpus=1)))


def _patiently(begin: Callable[[], Any]) -> Any:
    """Begin a node; Ray gives it half a minute, which a loaded machine may need more than once."""
    for _ in range(TRIES - 1):
        try:
            return begin()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return begin()


def _node(num_cpus: int) -> dict[str, int]:
    """What a node is. Its agent's ports are given: else it ends where the agent takes 15 s to choose them."""
    ports = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    return {"num_cpus": num_cpus, "object_store_memory": STORE_BYTES, **{name: lasting_port() for name in ports}}


def environment() -> dict[str, str]:
    """For programs that are to find `app`, and the application in deploy/ray, on every node."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    own["PATH"] = f"{RAY}:{own.get('PATH', '')}"
    own["PYTHONPATH"] = f"{ROOT}:{ROOT / 'deploy' / 'ray'}"
    return own | PATIENT

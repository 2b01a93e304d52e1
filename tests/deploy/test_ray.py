"""Under Ray Serve the same application answers, on several nodes, and outlives the loss of one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.settings import Settings
from tests.deploy.files import DEPLOY, document
from tests.ports import lasting_port
from tests.ray_cluster import RAY, environment, running_cluster
from tests.serving import client_of, load, make_app, picture, problem
from tests.supervisor.live import DEADLINE_S, wait_for
from tests.tiny import make_tiny

CONFIG = document("ray/serve.yaml")
[APPLICATION] = CONFIG["applications"]
[DEPLOYMENT] = APPLICATION["deployments"]
PAIR = {"a": picture(1, 0), "b": picture(1, 1)}

needs_ray = pytest.mark.skipif(not (RAY / "serve").exists(), reason="Ray Serve needs the extra `ray`")
pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


def test_configuration_agrees_with_the_service() -> None:
    defaults = Settings()
    assert CONFIG["http_options"]["request_timeout_s"] > defaults.request_timeout_ms / 1000
    assert CONFIG["http_options"]["keep_alive_timeout_s"] >= defaults.keep_alive_s
    assert DEPLOYMENT["max_ongoing_requests"] == defaults.max_requests
    assert set(APPLICATION["args"]) <= set(Settings.model_fields)
    module, _, builder = APPLICATION["import_path"].partition(":")
    assert f"def {builder}(" in (DEPLOY / "ray" / f"{module}.py").read_text()


@needs_ray
def test_configuration_is_one_that_ray_takes() -> None:
    schema = pytest.importorskip("ray.serve.schema")
    schema.ServeDeploySchema.model_validate(CONFIG)


class OnRay:
    """A deployment on a cluster."""

    def __init__(self, cluster: Any, process: subprocess.Popen[str], url: str) -> None:
        self.cluster, self.process, self.url = cluster, process, url

    def answers(self, path: str = "/health/ready") -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url + path, timeout=30).status_code == 200
        return False

    def running_replicas(self) -> int:
        """How many replicas Ray says are running."""
        code = (
            f"import ray; from ray import serve; ray.init({self.cluster.address!r}, logging_level='error');"
            "print(serve.status().applications['twinserve'].deployments['twinserve'].replica_states.get('RUNNING', 0))"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=300
        )
        return int(run.stdout.split()[-1])


@pytest.fixture(scope="module")
def deployed(uncalibrated_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """The deployment of serve.yaml with two replicas, on two nodes of one CPU each."""
    changed = {**CONFIG, "proxy_location": "HeadOnly"}
    scaling = {**DEPLOYMENT["autoscaling_config"], "min_replicas": 2, "max_replicas": 2}
    arguments = {"models": str(uncalibrated_models), "device": "cpu", "root_path": "/similarity"}
    deployment = {**DEPLOYMENT, "autoscaling_config": scaling}
    changed["applications"] = [{**APPLICATION, "args": arguments, "deployments": [deployment]}]
    folder = tmp_path_factory.mktemp("ray")
    with running_cluster(2) as cluster, (folder / "log").open("w+") as log:
        port = lasting_port()  # now, so that it is none of the cluster's own
        changed["http_options"] = {**CONFIG["http_options"], "host": "127.0.0.1", "port": port}
        (folder / "serve.yaml").write_text(yaml.safe_dump(changed))
        command = [str(RAY / "serve"), "run", str(folder / "serve.yaml"), "--address", cluster.address]
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment())
        found = OnRay(cluster, process, f"http://127.0.0.1:{port}")
        try:
            for _ in range(4):  # a loaded machine takes minutes
                with contextlib.suppress(AssertionError):
                    wait_for("deployment", lambda: process.poll() is not None or found.answers())
                    break
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert found.answers(), (folder / "log").read_text()[-3000:]
            yield found
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            process.wait()


@needs_ray
@pytest.mark.anyio
async def test_answers_are_those_of_a_worker(deployed: OnRay) -> None:
    async with client_of(make_app(load(make_tiny(calibrated=False)))) as client:
        direct = (await client.post("/compare", json=PAIR)).json()
    for path in ("/compare", "/v1/compare", "/similarity/compare"):
        there = httpx.post(deployed.url + path, json=PAIR, timeout=DEADLINE_S)
        assert there.status_code == 200, there.text
        assert there.json() == direct
    files = dict.fromkeys(("a", "b"), ("x.png", b"no picture", "image/png"))
    problem(httpx.post(f"{deployed.url}/compare", files=files, timeout=DEADLINE_S), 422, "unusable_input", "/a")
    problem(httpx.get(f"{deployed.url}/nope", timeout=DEADLINE_S), 404, "not_found")
    assert httpx.get(f"{deployed.url}/metrics", timeout=DEADLINE_S).status_code == 404
    given = httpx.get(f"{deployed.url}/health/ready", headers={"X-Request-ID": "mine"}, timeout=DEADLINE_S)
    assert given.headers["x-request-id"] == "mine"
    assert given.json()["models"] == {"tiny@1.0.0": {"ready": True, "reason": None}}
    servers = httpx.get(f"{deployed.url}/openapi.json", timeout=DEADLINE_S).json()["servers"]
    assert [server["url"] for server in servers] == ["/similarity", "/similarity/v1"]


@needs_ray
def test_replicas_are_on_several_nodes_and_one_that_is_lost_is_done_without(deployed: OnRay) -> None:
    """A node has one CPU and a replica needs one, so that two replicas are on two nodes."""
    wait_for("two replicas", lambda: deployed.running_replicas() == 2)
    [lost, *_] = deployed.cluster.worker_nodes
    deployed.cluster.remove_node(lost, allow_graceful=False)

    def answers_steadily() -> bool:
        return all(deployed.answers("/similarity/models") for _ in range(10))

    wait_for("answers", answers_steadily)
    assert httpx.post(f"{deployed.url}/compare", json=PAIR, timeout=DEADLINE_S).status_code == 200

"""The Kubernetes manifests are valid, and say of the service what is true of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.api.openapi import describe_api
from app.settings import PREFIX, Settings
from app.telemetry import Telemetry
from tests.deploy.files import MANIFESTS, OF_OTHERS, ROOT, container, container_settings, documents, of_kind, pod

OLDEST, NEWEST = "1.29.0", "1.37.0"
"""Of the schemas that kubernetes-validate carries; what lies between has the same objects."""


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_manifest_keeps_the_schema(file: Path, version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate carries the schemas")
    for found in documents(file):
        if found["apiVersion"].partition("/")[0] not in OF_OTHERS:
            validator.validate(found, version, strict=True)


def test_kustomization_has_every_file_but_the_optional_one() -> None:
    [kustomization] = of_kind("Kustomization")
    others = {file.name for file in MANIFESTS} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == others - {"keda.yaml"}
    assert {image["name"] for image in kustomization["images"]} == {container()["image"]}


def test_probes_ask_paths_that_exist_on_ports_that_are_open() -> None:
    paths, ports = describe_api()["paths"], {port["name"] for port in container()["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container()[probe]["httpGet"]
        assert "get" in paths[asked["path"]], probe
        assert asked["port"] in ports
    assert container()["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container()["livenessProbe"]["httpGet"]["path"] == "/health/live", "a slow load is no reason to start again"


def test_pod_is_not_root_and_may_change_nothing() -> None:
    inside, outside = container()["securityContext"], pod()["spec"]["securityContext"]
    [user, group] = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    assert outside["runAsNonRoot"]
    assert (outside["runAsUser"], outside["runAsGroup"]) == (int(user), int(group)) != (0, 0)
    assert outside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["spec"]["automountServiceAccountToken"] is False


def test_state_folder_lies_on_the_only_thing_that_may_be_written() -> None:
    [mount], [volume] = container()["volumeMounts"], pod()["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    assert "emptyDir" in volume
    assert Path(mount["mountPath"]) in Path(container_settings()["TWINSERVE_STATE_DIR"]).parents


def test_kubernetes_waits_longer_than_the_drain() -> None:
    delay_s = int(container_settings()["TWINSERVE_DRAIN_DELAY_MS"]) / 1000
    drain_s = int(container_settings()["TWINSERVE_DRAIN_MS"]) / 1000
    probe = container()["readinessProbe"]
    assert delay_s > probe["periodSeconds"] * probe["failureThreshold"]
    assert drain_s >= Settings().request_timeout_ms / 1000
    assert pod()["spec"]["terminationGracePeriodSeconds"] > delay_s + drain_s


def test_no_service_link_takes_the_place_of_a_setting() -> None:
    """A Service named twinserve makes Kubernetes set TWINSERVE_PORT, which stops the start."""
    assert PREFIX.rstrip("_").lower() in {service["metadata"]["name"] for service in of_kind("Service")}
    with pytest.raises(ValidationError):
        Settings.model_validate({"port": "tcp://10.0.0.1:8000"})
    assert pod()["spec"]["enableServiceLinks"] is False


def test_everything_means_the_pods_of_the_deployment() -> None:
    labels = pod()["metadata"]["labels"]
    [deployment], [policy], [budget] = of_kind("Deployment"), of_kind("NetworkPolicy"), of_kind("PodDisruptionBudget")
    [spread] = pod()["spec"]["topologySpreadConstraints"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert spread["labelSelector"]["matchLabels"] == labels
    assert [service["spec"]["selector"] for service in of_kind("Service")] == [labels, labels]
    for scaler in (*of_kind("HorizontalPodAutoscaler"), *of_kind("ScaledObject")):
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"], "the autoscaler owns it"


def test_ports_are_those_that_the_service_opens() -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"http": Settings().port, "metrics": int(container_settings()["TWINSERVE_METRICS_PORT"])}
    assert pod()["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])
    [policy] = of_kind("NetworkPolicy")
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert opened == set(ports)
    assert all(rule["from"] for rule in policy["spec"]["ingress"]), "a rule without `from` lets everyone in"
    assert policy["spec"]["egress"] == []
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}


def test_autoscaler_on_the_queue_asks_for_a_metric_that_is_counted() -> None:
    telemetry = Telemetry()
    telemetry.queued("tiny@1.0.0", 0.5)
    [scaled] = of_kind("ScaledObject")
    queries = [
        trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"] if trigger["type"] == "prometheus"
    ]
    asked = {name for query in queries for name in re.findall(r"twinserve_\w+", query)}
    counted = set(re.findall(r"^(twinserve_\w+)", telemetry.exposition()[0].decode(), re.MULTILINE))
    assert asked
    assert asked <= counted


def test_workers_have_a_limit_to_follow() -> None:
    resources = container()["resources"]
    assert resources["limits"] == resources["requests"]
    assert set(resources["limits"]) == {"cpu", "memory"}

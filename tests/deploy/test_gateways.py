"""Compose file and gateway examples agree with the service's own limits, and name nothing that it does not have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from app.api.openapi import describe_api
from app.settings import PREFIX, Settings
from tests.deploy.files import DEPLOY, ROOT, container_settings, directive, document, documents, in_image, seconds

DEFAULTS = Settings()
FILES = sorted(file for file in DEPLOY.rglob("*") if file.is_file())
COMPOSE = document("compose.yaml")
REPLICAS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "twinserve"}

ENVOY = document("envoy/envoy.yaml")["static_resources"]
[CLUSTER], [LISTENER] = ENVOY["clusters"], ENVOY["listeners"]
MANAGER: dict[str, Any] = LISTENER["filter_chains"][0]["filters"][0]["typed_config"]
ROUTE = MANAGER["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
BUFFER = MANAGER["http_filters"][0]["typed_config"]

TRAEFIK = document("traefik/twinserve.yaml")["http"]
FORWARDING = TRAEFIK["serversTransports"]["twinserve"]["forwardingTimeouts"]
WHOLE_BODY = TRAEFIK["middlewares"]["whole-body"]["buffering"]

KONG = document("kong/kong.yaml")
[KONG_SERVICE], [KONG_UPSTREAM] = KONG["services"], KONG["upstreams"]

OPTIONS = next(iter(CLUSTER["typed_extension_protocol_options"].values()))
IDLE = {
    "nginx": directive("nginx/twinserve.conf", "keepalive_timeout"),
    "envoy": OPTIONS["common_http_protocol_options"]["idle_timeout"],
    "traefik": FORWARDING["idleConnTimeout"],
    "kong": directive("kong/kong.conf", "upstream_keepalive_idle_timeout"),
}
ANSWER = {
    "nginx": directive("nginx/twinserve.conf", "proxy_read_timeout"),
    "envoy": ROUTE["timeout"],
    "traefik": FORWARDING["responseHeaderTimeout"],
    "kong": f"{KONG_SERVICE['read_timeout'] // 1000}s",
}
BODY = {
    "nginx": directive("nginx/twinserve.conf", "client_max_body_size"),
    "envoy": BUFFER["max_request_bytes"],
    "envoy, to send again": LISTENER["per_connection_buffer_limit_bytes"],
    "traefik": WHOLE_BODY["maxRequestBodyBytes"],
    "kong": directive("kong/kong.conf", "nginx_http_client_max_body_size"),
}
ASKED = {
    "nginx": set(re.findall(r"^ +server (\S+:\d+) ", (DEPLOY / "nginx/twinserve.conf").read_text(), re.MULTILINE)),
    "envoy": {
        "{address}:{port_value}".format(**one["endpoint"]["address"]["socket_address"])
        for one in CLUSTER["load_assignment"]["endpoints"][0]["lb_endpoints"]
    },
    "traefik": {
        server["url"].removeprefix("http://") for server in TRAEFIK["services"]["twinserve"]["loadBalancer"]["servers"]
    },
    "kong": {target["target"] for target in KONG_UPSTREAM["targets"]},
}


@pytest.mark.parametrize("gateway", IDLE)
def test_gateway_lets_go_of_an_idle_connection_before_the_service_does(gateway: str) -> None:
    """The other way round a request meets a connection that is just being closed, and its caller a 502."""
    kept = {DEFAULTS.keep_alive_s, int(container_settings()["TWINSERVE_KEEP_ALIVE_S"])}
    kept |= {int(replica["environment"]["TWINSERVE_KEEP_ALIVE_S"]) for replica in REPLICAS.values()}
    assert 0 < seconds(IDLE[gateway]) <= min(kept) - 10


@pytest.mark.parametrize("gateway", ANSWER)
def test_gateway_waits_until_the_service_has_said_that_the_time_is_up(gateway: str) -> None:
    assert seconds(ANSWER[gateway]) > DEFAULTS.request_timeout_ms / 1000


@pytest.mark.parametrize("gateway", BODY)
def test_gateway_takes_the_bodies_that_the_service_takes(gateway: str) -> None:
    mebibytes = re.fullmatch(r"(\d+)m", str(BODY[gateway]))
    limit = int(mebibytes.group(1)) * 1024 * 1024 if mebibytes else BODY[gateway]
    assert limit == DEFAULTS.max_body_bytes


@pytest.mark.parametrize("gateway", ASKED)
def test_gateway_asks_the_replicas_of_the_compose_file(gateway: str) -> None:
    port = in_image("TWINSERVE_PORT")
    assert ASKED[gateway] == {f"{name}:{port}" for name in REPLICAS}
    assert len(REPLICAS) == 2


def test_gateways_may_send_a_post_again_to_another_replica() -> None:
    for words in (
        directive("nginx/twinserve.conf", "proxy_next_upstream").split(),
        directive("kong/kong.conf", "nginx_proxy_proxy_next_upstream").split(),
    ):
        assert {"error", "http_503", "non_idempotent"} <= set(words)
        assert not {"http_429", "http_504"} & set(words), "what is full or out of time is not helped"
    assert directive("nginx/twinserve.conf", "proxy_request_buffering") == "on"
    assert KONG_SERVICE["retries"] > 0
    assert KONG_SERVICE["routes"][0]["request_buffering"]
    again = ROUTE["retry_policy"]
    assert {"connect-failure", "reset", "retriable-status-codes"} <= set(again["retry_on"].split(","))
    assert again["retriable_status_codes"] == [503]
    assert again["retry_host_predicate"][0]["name"].endswith("previous_hosts")
    assert {"502", "503"} == set(re.findall(r"ResponseCode\(\) == (\d+)", WHOLE_BODY["retryExpression"]))


def test_request_ids_of_callers_are_kept() -> None:
    assert "proxy_set_header X-Request-ID" in (DEPLOY / "nginx/twinserve.conf").read_text()
    assert MANAGER["preserve_external_request_id"]
    assert KONG["plugins"][0]["config"]["header_name"] == "X-Request-ID"
    assert "headers" not in TRAEFIK["middlewares"], "Traefik passes a header that nothing names"


def test_health_checks_ask_a_path_that_exists() -> None:
    paths = {
        CLUSTER["health_checks"][0]["http_health_check"]["path"],
        TRAEFIK["services"]["twinserve"]["loadBalancer"]["healthCheck"]["path"],
        KONG_UPSTREAM["healthchecks"]["active"]["http_path"],
    }
    assert paths == {"/health/ready"} <= set(describe_api()["paths"])


@pytest.mark.parametrize("file", [*FILES, ROOT / "docs" / "deploying.md"], ids=lambda file: file.name)
def test_every_variable_is_a_setting(file: Path) -> None:
    real = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]", file.read_text())) <= real


@pytest.mark.parametrize("given", [container_settings(), *(one["environment"] for one in REPLICAS.values())])
def test_every_value_of_a_setting_is_taken(given: dict[str, str]) -> None:
    settings = Settings.model_validate({name.removeprefix(PREFIX).lower(): value for name, value in given.items()})
    assert settings.drain_ms > settings.request_timeout_ms


@pytest.mark.parametrize("file", [file for file in FILES if file.suffix == ".yaml"], ids=lambda file: file.name)
def test_yaml_is_read(file: Path) -> None:
    assert all(isinstance(found, dict) for found in documents(file))


@pytest.mark.parametrize("name", REPLICAS)
def test_replica_of_the_compose_file_may_change_nothing_and_has_time_to_drain(name: str) -> None:
    replica = REPLICAS[name]
    assert replica["read_only"]
    assert replica["cap_drop"] == ["ALL"]
    assert "ports" not in replica, "callers come through the gateway"
    [scratch] = [entry.partition(":")[0] for entry in replica["tmpfs"]]
    assert Path(scratch) in Path(in_image("TWINSERVE_STATE_DIR")).parents
    assert seconds(replica["stop_grace_period"]) > int(replica["environment"]["TWINSERVE_DRAIN_MS"]) / 1000
    assert (DEPLOY / replica["build"]["context"] / "Dockerfile").is_file()


def test_gateway_of_the_compose_file_has_its_configuration() -> None:
    gateway = COMPOSE["services"]["gateway"]
    [mounted] = [volume.split(":")[0] for volume in gateway["volumes"]]
    assert (DEPLOY / mounted).is_file()
    listens = re.findall(r"listen (\d+);", (DEPLOY / mounted).read_text())
    assert [port.rpartition(":")[2] for port in gateway["ports"]] == listens
    assert set(gateway["depends_on"]) == set(REPLICAS)

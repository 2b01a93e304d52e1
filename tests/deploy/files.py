"""The files of deploy/, read for the tests that hold them against the service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))
OF_OTHERS = {"kustomize.config.k8s.io", "keda.sh"}
"""API groups whose schemas Kubernetes does not carry."""


def documents(file: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return list(yaml.safe_load_all(file.read_text()))


def document(name: str) -> dict[str, Any]:
    """The only document of a file in deploy/."""
    [only] = documents(DEPLOY / name)
    return only


def of_kind(kind: str) -> list[dict[str, Any]]:
    """All Kubernetes objects of a kind."""
    return [found for file in MANIFESTS for found in documents(file) if found["kind"] == kind]


def pod() -> dict[str, Any]:
    """What the deployment starts, as `metadata` and `spec`."""
    [deployment] = of_kind("Deployment")
    template: dict[str, Any] = deployment["spec"]["template"]
    return template


def container() -> dict[str, Any]:
    """The pod's only container."""
    [only] = pod()["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def container_settings() -> dict[str, str]:
    """The settings that the deployment gives the service."""
    return {variable["name"]: variable["value"] for variable in container()["env"]}


def directive(file: str, name: str) -> str:
    """The value of a directive of nginx, or of a line of kong.conf, that is there once."""
    [value] = re.findall(
        rf"^\s*{name}\s(?:=\s)?\s*([^;#\n]+?);?\s*(?:#.*)?$", (DEPLOY / file).read_text(), re.MULTILINE
    )
    return str(value)


def seconds(value: str) -> float:
    """A time as gateways write it, `60s` or `60`."""
    found = re.fullmatch(r"(\d+)s?", value)
    assert found, value
    return float(found.group(1))


def in_image(name: str) -> str:
    """A variable that the Dockerfile sets."""
    [value] = re.findall(rf"{name}=(\S+)", (ROOT / "Dockerfile").read_text())
    return str(value)

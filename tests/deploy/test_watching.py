"""Dashboard and alerts ask for nothing that a real service does not expose; each alert fires on its cause alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.files import DEPLOY, ROOT, document
from tests.serving import picture
from tests.supervisor.live import DEADLINE_S, live_service, wait_for

pytestmark = pytest.mark.timeout(300)

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Prometheus")
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
TESTED = Path(__file__).with_name("alerts_test.yaml")
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
[GROUP] = document("prometheus/alerts.yaml")["groups"]
RULES = {rule["alert"]: rule["expr"] for rule in GROUP["rules"]}
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
TARGETS = {
    f"{title} {target['refId']}": target["expr"] for title, panel in PANELS.items() for target in panel["targets"]
}
VARIABLES = {one["name"]: one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"}
OTHERS = {"job", "instance", "le"}
"""Labels that Prometheus adds, and that of every histogram's bounds."""
PAGE = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")

Exposed = dict[str, set[str]]


@pytest.fixture(scope="module")
def exposed(tiny_models: Path) -> Exposed:
    """What a real service exposes once every kind of event has happened: names of samples -> names of their labels."""
    with live_service(tiny_models, workers=1, max_body_bytes=100_000) as service:
        service.wait_ready(1)
        pairs = [{"a": picture(one, 0), "b": picture(one, 1)} for one in range(128)]
        with httpx.Client(base_url=service.url, timeout=DEADLINE_S) as client:
            for _ in range(4):
                assert client.post("/compare/batch", json={"pairs": pairs}).status_code == 200
            assert client.post("/compare", json={"a": {"base64": "AA"}, "b": picture(0, 0)}).status_code == 422
        text = wait_for("counts", lambda: found if 'code="422"' in (found := service.get("/metrics").text) else None)
    samples: Exposed = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
        samples.setdefault(family.name + ("_total" if family.type == "counter" else ""), set())
    return samples


def asked(expression: str) -> dict[str, set[str]]:
    """The metrics of an expression, each with the labels that it is selected by."""
    found = re.findall(r"(twinserve_\w+)(?:\{([^}]*)\})?", expression)
    return {name: set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors)) for name, selectors in found}


@pytest.mark.parametrize(
    "expression", [*RULES.values(), *TARGETS.values(), *VARIABLES.values()], ids=[*RULES, *TARGETS, *VARIABLES]
)
def test_every_metric_and_label_that_is_asked_for_is_exposed(expression: str, exposed: Exposed) -> None:
    metrics = asked(expression)
    assert metrics
    assert set(metrics) <= set(exposed)
    for name, selectors in metrics.items():
        assert selectors <= exposed[name] | OTHERS, name
    labels = set().union(*(exposed[name] for name in metrics)) | OTHERS
    grouped = {
        label for group in re.findall(r"(?:by|ignoring|on) \(([^)]*)\)", expression) for label in group.split(", ")
    }
    assert grouped <= labels


def test_every_metric_is_on_the_page_and_the_page_names_no_other(exposed: Exposed) -> None:
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in exposed if name.startswith("twinserve_")}
    rows = re.findall(r"^\| `(twinserve_\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(families)
    for name, labels in rows:
        own = exposed.get(f"{name}_bucket", set()) | exposed.get(name, set())
        assert set(re.findall(r"`(\w+)`", labels)) == own - OTHERS, name


def test_every_metric_is_watched(exposed: Exposed) -> None:
    """On the dashboard or by an alert: one that nobody looks at is only a cost."""
    watched = {name for one in (*RULES.values(), *TARGETS.values()) for name in asked(one)}
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in exposed if name.startswith("twinserve_")}
    assert families == {re.sub(r"_(bucket|count|sum)$", "", name) for name in watched}


def test_every_alert_is_on_the_page() -> None:
    assert set(re.findall(r"^\| `(Twinserve\w+)` \|", PAGE, re.MULTILINE)) == set(RULES)


def test_panels_lie_beside_each_other() -> None:
    places = {
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    area = sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in DASHBOARD["panels"])
    assert len(places) == area
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@needs_promtool
def test_each_alert_fires_on_its_cause_alone(tmp_path: Path) -> None:
    for file in (ALERTS, TESTED):
        shutil.copy(file, tmp_path)
    run = subprocess.run(
        [PROMTOOL or "", "test", "rules", TESTED.name], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    tested = set(re.findall(r"alertname: (\w+)", TESTED.read_text()))
    assert tested == set(RULES)


@needs_promtool
@pytest.mark.parametrize("title", TARGETS)
def test_every_panel_asks_in_valid_promql(title: str, tmp_path: Path) -> None:
    expression = TARGETS[title].replace("$__rate_interval", "5m").replace("$", "")
    rules = {"groups": [{"name": "panels", "rules": [{"record": "panel", "expr": expression}]}]}
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))
    run = subprocess.run(
        [PROMTOOL or "", "check", "rules", "rules.yaml"], capture_output=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stderr

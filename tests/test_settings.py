"""Settings are bounded, documented, and never silently ignored."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.api.openapi import describe_api
from app.settings import PREFIX, ROUTES, TUNED, Settings, explain, unknown_variables

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_documented_with_its_default_and_meaning(name: str) -> None:
    field = Settings.model_fields[name]
    shown = {"None": "not set", "False": "false"}.get(str(field.default), f"`{field.default}`")
    assert f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |" in DOCS.read_text(encoding="utf-8")


def test_documentation_names_no_setting_that_does_not_exist() -> None:
    rows = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{PREFIX}")]
    assert len(rows) == len(Settings.model_fields)


def test_arguments_come_before_the_environment_and_that_before_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_PORT", "9000")
    monkeypatch.setenv("TWINSERVE_HOST", "0.0.0.0")
    settings = Settings(port=9001)
    assert (settings.port, settings.host, settings.drain_ms) == (9001, "0.0.0.0", 26_000)


def test_what_was_tuned_comes_after_arguments_and_the_environment_and_before_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = ["# a note", "TWINSERVE_WORKERS=3", "TWINSERVE_THREADS=2", "TWINSERVE_BATCH_MS=17", "TWINSERVE_PORT=1"]
    (tmp_path / TUNED).write_text("\n".join(lines))
    monkeypatch.setenv("TWINSERVE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("TWINSERVE_BATCH_MS", "20")
    monkeypatch.setenv("TWINSERVE_THREADS", "")
    settings = Settings(workers=5)
    assert (settings.workers, settings.batch_ms, settings.threads, settings.port) == (5, 20, 2, 1)
    assert settings.tuned == tmp_path / TUNED
    assert Settings().workers == 3


def test_without_a_state_folder_or_a_file_in_it_nothing_was_tuned(tmp_path: Path) -> None:
    (tmp_path / TUNED).write_text("TWINSERVE_WORKERS=3")
    assert (Settings().tuned, Settings().workers) == (None, None)
    assert Settings(state_dir=tmp_path / "new").tuned is None


def test_unknown_name_in_the_tuned_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / TUNED).write_text("TWINSERVE_WORKER=3")
    with pytest.raises(ValidationError) as caught:
        Settings(state_dir=tmp_path)
    assert explain(caught.value).startswith("TWINSERVE_WORKER=3: ")


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_WORKERS", "")
    assert Settings().workers is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "http"),
        ("WORKERS", "0"),
        ("DEVICE", "gpu"),
        ("QUEUE_MS", "nan"),
        ("LOG_LEVEL", "loud"),
        ("URL_HOSTS", "files.example.org,127.0.0.1"),
        ("URL_HOSTS", "*.example.org"),
    ],
)
def test_value_out_of_bounds_is_refused_in_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    line = explain(caught.value)
    assert line.startswith(f"{PREFIX}{name}={value}: ")
    assert "\n" not in line


def test_all_wrong_settings_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_PORT", "-1")
    monkeypatch.setenv("TWINSERVE_QUEUE_ITEMS", "0")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "TWINSERVE_PORT" in explain(caught.value)
    assert "TWINSERVE_QUEUE_ITEMS" in explain(caught.value)


def test_misspelt_variables_are_found() -> None:
    environment = ["TWINSERVE_PORT", "TWINSERVE_PROT", "PATH", "twinserve_host", "TWINSERVE_"]
    assert unknown_variables(environment) == ["TWINSERVE_", "TWINSERVE_PROT"]


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROOT_PATH", "similarity"),
        ("ROOT_PATH", "/similarity/"),
        ("ROOT_PATH", "//similarity"),
        ("ROOT_PATH", "/models/similarity"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "gateway.example"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,"),
    ],
)
def test_what_a_gateway_adds_is_refused_in_one_line_where_it_cannot_be_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert explain(caught.value).startswith(f"{PREFIX}{name}=")
    assert explain(caught.value).count(PREFIX) == 1


def test_proxies_are_networks_or_single_addresses_with_commas_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert Settings().trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_no_root_path_begins_like_a_route() -> None:
    parts = {path.split("/")[1] for path in describe_api()["paths"]} | {"docs", "openapi.json"}
    assert parts == set(ROUTES), "app/settings.py names the first parts of all routes"

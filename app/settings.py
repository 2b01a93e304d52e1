"""Every setting of the service: its name, bounds, default and meaning. Read once, by the command line.

docs/settings.md lists them for people; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.fetch.urls import read_hosts

PREFIX = "TWINSERVE_"
TUNED = "tuned.env"
"""The file in the state folder that `twinserve tune` writes."""

Port = Annotated[int, Field(ge=0, le=65_535)]

ROUTES = ("compare", "match", "embed", "models", "health", "metrics", "docs", "openapi.json")
"""First parts of the service's own paths."""


def _no_route(path: str) -> str:
    """A root path that begins like a route could not be told from it once a gateway has taken the root path off."""
    if path.split("/")[1] in ROUTES:
        raise ValueError(f"begins like the service's own /{path.split('/')[1]}; publish it below another path")
    return path


def _split(text: object) -> object:
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else text


RootPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$"), AfterValidator(_no_route)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(ip_network)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split)]


def _checked_hosts(text: str) -> str:
    read_hosts(text)
    return text


class Settings(BaseSettings):
    """The settings of one service: arguments come first, then the environment, what was tuned, and the defaults."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    models: Path = Field(Path("models"), description="folder that holds the bundles, as <name>/<version>/")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 is every IPv4 address")
    port: Port = Field(8000, description="port to listen on; 0 lets the system choose one, printed at start")
    workers: int | None = Field(
        None, ge=1, le=1024, description="worker processes; default: one a usable CPU, or 1 where a GPU is used"
    )
    threads: int = Field(1, ge=1, le=1024, description="threads inside one inference on CPU")
    device: Literal["cpu", "cuda", "auto"] = Field(
        "auto",
        description="cpu, cuda (does not start where it is not obtained), or auto: cuda where it works, else cpu",
    )
    cuda_memory_mb: int | None = Field(
        None, ge=64, description="MiB of a GPU's memory that each model may take; default: no bound"
    )
    default_model: str | None = Field(
        None,
        min_length=1,
        description="model of a request that names none, as name or name@version; default: the only one",
    )
    strict_models: bool = Field(
        False,
        description="refuse to start when any bundle is refused, not only the default one; and a reload as a whole",
    )

    retire_s: float = Field(
        300.0, ge=0, description="seconds that a bundle gone from the folder answers to its name@version after a reload"
    )
    watch_models_s: float | None = Field(
        None, ge=0.1, le=86_400, description="seconds between two looks for changed bundles; default: only when told"
    )

    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="bytes of a request's body, and of an item in it"
    )
    max_items: int = Field(256, ge=1, le=65_536, description="items of one request; a pair has two")
    max_pixels: int = Field(50_000_000, ge=1, description="pixels of one picture, told from its header before decoding")
    max_seconds: float = Field(600.0, gt=0, description="seconds of one recording or series")
    max_tokens: int = Field(8192, ge=1, description="tokens of one text, before any truncation that a caller asks for")

    max_requests: int = Field(
        256, ge=1, le=65_536, description="requests that one worker handles at once; beyond it they get 429 at the door"
    )
    max_connections: int = Field(
        8192,
        ge=2,
        le=1_000_000,
        description="connections that one worker holds; beyond it the one that was idle for longest is closed",
    )
    memory_mb: int | None = Field(
        None,
        ge=128,
        description="mebibytes of data of one worker, beyond which an item is refused; default: what the system gives",
    )
    queue_items: int = Field(1024, ge=1, description="items that may wait, per model and worker; beyond it 429")
    queue_ms: float = Field(
        5000.0, gt=0, description="milliseconds that a new item may have to wait, per model and worker; beyond it 429"
    )
    batch_ms: float = Field(50.0, gt=0, description="milliseconds that one batch may take; it caps the size of a batch")
    request_timeout_ms: int = Field(
        25_000, ge=1, description="milliseconds for one request; X-Request-Timeout can only shorten it"
    )
    keep_alive_s: int = Field(75, ge=1, description="seconds that an idle connection is kept open")
    drain_delay_ms: int = Field(
        0, ge=0, description="milliseconds that a service told to stop (SIGTERM) goes on, while it says it is not ready"
    )
    drain_ms: int = Field(26_000, ge=0, description="milliseconds for requests under way to finish at a stop")
    watchdog_ms: int = Field(
        30_000,
        ge=0,
        description="milliseconds without a sign of life, or in one batch, before a worker is replaced; 0: never",
    )

    keys_file: Path | None = Field(
        None, description="TOML file of the keys that may call; default: none is asked for, and all may"
    )
    url_hosts: Annotated[str, AfterValidator(_checked_hosts)] | None = Field(
        None, description="hosts that items may be fetched from, separated by commas; default: no URL is fetched"
    )
    url_timeout_ms: int = Field(5000, ge=1, description="milliseconds for all URLs of one request together")
    url_max_bytes: int | None = Field(
        None, ge=1, description="bytes that all URLs of one request may bring; default: TWINSERVE_MAX_BODY_BYTES"
    )
    root_path: RootPath | None = Field(
        None, description="path that a gateway publishes the service below, such as /similarity; default: none"
    )
    trusted_proxies: Networks | None = Field(
        None,
        description="addresses or networks, with commas between them, whose X-Forwarded-For and -Proto are believed",
    )
    signing_key: Path | None = Field(
        None, description="PEM file of a public key; bundles without a signature by its private key are refused"
    )

    state_dir: Path | None = Field(
        None, description="folder for everything the service writes; default: a private temporary one, removed at exit"
    )
    audit: bool = Field(
        False, description="record every verdict, in files below TWINSERVE_STATE_DIR/audit, which it needs"
    )
    audit_file_bytes: int = Field(
        64 * 1024 * 1024, ge=65_536, description="bytes of one such file; a full one is set aside"
    )
    audit_files: int = Field(
        32, ge=0, description="files that each worker keeps; the oldest is removed beyond it; 0 keeps all"
    )
    audit_on_failure: Literal["refuse", "continue"] = Field(
        "refuse",
        description="a verdict that cannot be recorded, as on a full disk: refuse it with 503, or continue",
    )
    record_key_file: Path | None = Field(
        None, description="private Ed25519 key in PEM that signs every record; needs twinserve[records]"
    )
    metrics_port: Port | None = Field(None, description="own port for /metrics; /metrics on the main port is then 404")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged; one line a request is logged at info"
    )

    @field_validator("audit")
    @classmethod
    def _audit_is_kept(cls, audit: bool, told: ValidationInfo) -> bool:
        if audit and told.data.get("state_dir") is None:
            raise ValueError("needs TWINSERVE_STATE_DIR: a temporary folder would be removed at exit")
        return audit

    @property
    def tuned(self) -> Path | None:
        """The file of tuned settings that is in use, None where there is none."""
        file = None if self.state_dir is None else self.state_dir / TUNED
        return file if file is not None and file.is_file() else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the names are the library's)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what was tuned from the state folder, which arguments or the environment name."""
        folder = init_settings().get("state_dir") or env_settings().get("state_dir")
        tuned = [] if folder is None else [DotEnvSettingsSource(settings_cls, env_file=Path(folder) / TUNED)]
        return init_settings, env_settings, *tuned


def explain(error: ValidationError) -> str:
    """Say in one line which settings are wrong, as the environment names them, and why."""
    faults = []
    for fault in error.errors(include_url=False):
        name = "".join(str(part) for part in fault["loc"][:1]).upper().removeprefix(PREFIX)
        faults.append(f"{PREFIX}{name}={fault['input']}: {fault['msg']}")
    return "; ".join(faults)


def unknown_variables(environment: Mapping[str, str] | Iterable[str]) -> list[str]:
    """Return the variables with the service's prefix that name no setting: misspelt, or of another version.

    TWINSERVE_DATA belongs to the offline half.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {f"{PREFIX}DATA"}
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)

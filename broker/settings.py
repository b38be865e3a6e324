"""Every setting of the broker: one frozen object, read once from `BROKER_*`, validated at start."""

from __future__ import annotations

import ipaddress
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from broker.errors import Misconfigured

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
CommaList = Annotated[tuple[str, ...], NoDecode]
PREFIX = "BROKER_"
CLIENT_NAMES = frozenset({"BROKER_URL", "BROKER_TOKEN"})
"""What the commands that talk to a broker read."""
# Labels of letters, digits, hyphens and underscores, the last one no number. ASCII: other names are written xn--…
_NAME = re.compile(r"([a-z0-9_-]{1,63}\.)*(?!([0-9]+|0x[0-9a-f]*)\.?\Z)[a-z0-9_-]{1,63}\.?", re.ASCII | re.IGNORECASE)
MEGABYTE = 1024 * 1024
IPV4_LOOPBACK: Network = ipaddress.ip_network("127.0.0.0/8")
IPV6_LOOPBACK: Network = ipaddress.ip_network("::1/128")


class Settings(BaseSettings):
    """Read with `load()`; a process never changes it. A field's description is its line in `.env.example`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", allow_inf_nan=False)

    data_dir: Path = Field(Path("data"), description="Folder of the embedded database, blobs, key and token.")
    database_url: str = Field("", description="postgresql://… or sqlite:///file; empty = SQLite in DATA_DIR.")
    redis_url: str = Field("", description="redis://…, rediss://… or unix://…; empty = no Redis (`up` embeds one).")
    blobs_url: str = Field("", description="file:///folder, s3://bucket/prefix, gs://… or az://…; empty = DATA_DIR.")
    secret_key: SecretStr = Field(
        SecretStr(""), description="Keys that encrypt and sign, comma-separated; the first writes, all read."
    )

    host: str = Field("127.0.0.1", description="Address that web listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that web listens on; 0 = any free one.")
    public_url: str = Field("", description="Base of the links in answers; empty = the Host each client used.")
    trusted_proxies: CommaList = Field((), description="CIDRs of proxies whose X-Forwarded-* headers count.")

    allow_networks: CommaList = Field(
        (), description="CIDRs of private networks that downloads and webhooks may reach."
    )
    allow_hosts: CommaList = Field(
        (), description="Names that may lead to private addresses, on any port, but to no cloud's metadata."
    )
    allow_ports: CommaList = Field(
        ("80", "443", "8080", "8443"), description="Ports that downloads and webhooks may use elsewhere."
    )

    max_body_bytes: int = Field(32 * MEGABYTE, ge=1024, description="Largest body of a POST.")
    max_image_bytes: int = Field(64 * MEGABYTE, ge=1024, description="Largest image file, downloaded or sent.")
    max_image_pixels: int = Field(100_000_000, ge=1, description="Largest input picture, in pixels.")
    max_output_pixels: int = Field(200_000_000, ge=1, description="Largest picture that a handler makes, in pixels.")
    max_queued: int = Field(1_000_000, ge=1, description="Open batches a workspace may have.")
    min_free_bytes: int = Field(256 * MEGABYTE, ge=0, description="Free disk below which POSTs are answered 503.")

    lease_seconds: float = Field(30.0, ge=0.5, description="How long a worker's claim lasts without a beat.")
    max_crashes: int = Field(3, description="Workers that a record may take down before it is given up, at least 2.")
    max_tries: int = Field(3, ge=1, description="How often a record is tried when its handler asks for it.")
    worker_batches: int = Field(8, ge=1, le=1000, description="Batches a worker process runs at once.")
    worker_threads: int = Field(
        0, ge=0, description="Records a worker process works on at once; 0 = as many as it has cores."
    )
    grace_seconds: float = Field(25.0, ge=0, description="How long a stopping process waits for running work.")
    fetch_timeout: float = Field(
        20.0, gt=0, description="Seconds one try of an image download may take, redirects included."
    )
    fetch_pause: float = Field(0.5, ge=0, description="Seconds before a failed download's second try; then doubled.")

    webhook_schedule: CommaList = Field(
        ("0", "5", "300", "1800", "7200", "18000", "36000", "36000"),
        description="Seconds before each try of a webhook, +-20 %.",
    )
    webhook_timeout: float = Field(20.0, gt=0, description="Seconds one webhook try may take, body included.")
    operator_webhook: str = Field(
        "", description="URL that is told of failing, recovered and disabled endpoints and given up webhooks."
    )

    output_hours: float = Field(72.0, gt=0, description="How long output pictures, and the links to them, are kept.")
    input_hours: float = Field(
        72.0, gt=0, description="How long pictures sent along are kept once their batch is done."
    )
    retention_days: float = Field(30.0, ge=1, description="How long a batch is kept after it is done.")
    models_dir: Path = Field(Path("models"), description="Folder of model files.")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="json, pretty, or auto = by terminal.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity logged.")

    @field_validator(
        "trusted_proxies", "allow_networks", "allow_hosts", "allow_ports", "webhook_schedule", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies", "allow_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("allow_hosts")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a host name (addresses belong in BROKER_ALLOW_NETWORKS)")
        return value

    @field_validator("allow_ports")
    @classmethod
    def _are_ports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for port in value:
            if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f"{port!r} is not a port")
        return value

    @field_validator("max_crashes")
    @classmethod
    def _tells_the_guilty(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                "must be at least 2: a worker that dies takes down all that it runs, and only a "
                "record that ends one in which it was alone, too, is to blame"
            )
        return value

    @field_validator("webhook_schedule")
    @classmethod
    def _are_pauses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any(not 0 <= float(pause) <= 7 * 86400 for pause in value):
            raise ValueError("must be one or more numbers of seconds, each at most a week")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must be redis://…, rediss://… or unix://…")
        return value

    @field_validator("public_url")
    @classmethod
    def _is_base(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("must be http(s)://host[:port][/path]")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _outputs_outlive_webhooks(self) -> Self:
        schedule_hours = 1.2 * sum(self.webhook_pauses) / 3600
        if self.output_hours < schedule_hours + 24:
            raise ValueError(
                "BROKER_OUTPUT_HOURS must be at least the webhook schedule plus 24 h "
                f"({schedule_hours + 24:.1f} h), or a late webhook carries dead links"
            )
        return self

    @model_validator(mode="after")
    def _batches_outlive_outputs(self) -> Self:
        if self.retention_days * 24 < max(self.output_hours, self.input_hours):
            raise ValueError("BROKER_RETENTION_DAYS must not be shorter than BROKER_OUTPUT_HOURS or BROKER_INPUT_HOURS")
        return self

    @property
    def embedded_database(self) -> bool:
        """Whether the database is the one in DATA_DIR, whose key file may be made on first use."""
        return not self.database_url

    @property
    def threads(self) -> int:
        """Records that a worker process works on at once."""
        return self.worker_threads or os.cpu_count() or 1

    @cached_property
    def webhook_pauses(self) -> tuple[float, ...]:
        return tuple(float(pause) for pause in self.webhook_schedule)

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """The open networks. Whoever opens 127.0.0.0/8 means `localhost`, which is ::1 too."""
        networks = tuple(ipaddress.ip_network(network) for network in self.allow_networks)
        return (*networks, IPV6_LOOPBACK) if IPV4_LOOPBACK in networks else networks

    @cached_property
    def proxies(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(network) for network in self.trusted_proxies)

    @cached_property
    def ports(self) -> frozenset[int]:
        return frozenset(int(port) for port in self.allow_ports)

    @cached_property
    def hosts(self) -> frozenset[str]:
        return frozenset(name.lower().removesuffix(".") for name in self.allow_hosts)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The secret keys, the writing one first; empty when none is set."""
        return tuple(key.strip() for key in self.secret_key.get_secret_value().split(",") if key.strip())


def load(**overrides: Any) -> Settings:
    """Read the environment, with `overrides` (from the command line) on top. Raises Misconfigured, naming settings."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(_explain(problem["loc"], problem["msg"]) for problem in error.errors())
        raise Misconfigured(problems) from error


def unknown_names() -> list[str]:
    """Environment variables that look like settings and are none, e.g. because of a slip of the pen."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | CLIENT_NAMES
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _explain(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{PREFIX}{str(location[0]).upper()}: {message}" if location else message

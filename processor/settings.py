"""All settings, from the environment, checked at once. No other module reads the environment.

Names are ``VP_<GROUP>__<NAME>``, e.g. ``VP_KAFKA__BOOTSTRAP``. Secrets may come from a file (``..._FILE``) and are masked
wherever settings are printed. docs/configuration.md is generated from this file.
"""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from processor.setting_groups import (
    FollowSettings,
    Group,
    ImageSettings,
    LaneSettings,
    LogSettings,
    ObserveSettings,
    RetrySettings,
    Seconds,
    WebhookSettings,
)

__all__ = [
    "BudgetSettings",
    "ConfigurationError",
    "DiditSettings",
    "FollowSettings",
    "ImageSettings",
    "KafkaSettings",
    "LaneSettings",
    "LogSettings",
    "ObserveSettings",
    "RetrySettings",
    "ScopeLimit",
    "Settings",
    "WebhookSettings",
    "load_settings",
]


class ConfigurationError(Exception):
    """The start is refused. The text lists every fault, one a line, with the variable that holds it."""


class KafkaSettings(Group):
    """How to reach Kafka, and under which names."""

    bootstrap: str = Field("127.0.0.1:9092", min_length=1, description="comma-separated host:port of the brokers")
    group: str = Field("verification-processor", min_length=1, max_length=200, description="consumer group; begins the transactional ids")
    topic_prefix: str = Field("verification", pattern=r"^[a-zA-Z0-9._-]{1,100}$", description="all topic names begin with it")
    instance_id: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[a-zA-Z0-9._-]{1,200}$",
        description="group.instance.id: one of a kind and the same after a restart, e.g. the pod name; default the host name",
    )
    leave_on_stop: bool = Field(
        default=True,
        description="leave the group at SIGTERM, so that others take over at once. False where replicas come back under their name at "
        "once (a rolling restart): nothing moves, and their partitions wait for them, for VP_LANES__SESSION_TIMEOUT_S at most",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field("PLAINTEXT", description="as in Kafka's clients")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("SCRAM-SHA-512", description="used with SASL_*")
    sasl_username: str | None = Field(None, description="used with SASL_*")
    sasl_password: SecretStr | None = Field(None, description="used with SASL_*")
    sasl_password_file: Path | None = Field(None, description="file that holds the SASL password; instead of the variable")
    ssl_ca_file: Path | None = Field(None, description="PEM file of the certificate authorities; default the system's")
    ssl_certificate_file: Path | None = Field(None, description="PEM client certificate, for mTLS")
    ssl_key_file: Path | None = Field(None, description="PEM key of the client certificate")
    ssl_key_password: SecretStr | None = Field(None, description="password of that key")
    on_missing_offsets: Literal["stop", "earliest", "latest"] = Field(
        "stop",
        description="no offsets on a topic with history, or offsets that no longer exist: a decision for a person",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        faults = []
        if self.security_protocol.startswith("SASL") and (not self.sasl_username or not self.password()):
            faults.append("SASL needs VP_KAFKA__SASL_USERNAME and VP_KAFKA__SASL_PASSWORD (or _FILE)")
        if (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            faults.append("mTLS needs both VP_KAFKA__SSL_CERTIFICATE_FILE and VP_KAFKA__SSL_KEY_FILE")
        files = (self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file)
        faults += [f"{file} cannot be read" for file in files if file and not file.is_file()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def password(self) -> str | None:
        """The SASL password from the variable or the file."""
        return _secret(self.sasl_password, self.sasl_password_file)

    def client_options(self) -> dict[str, Any]:
        """Keyword arguments that every aiokafka client of ours gets."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security_protocol}
        if self.security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.sasl_mechanism
            options |= {"sasl_plain_username": self.sasl_username, "sasl_plain_password": self.password()}
        if self.security_protocol.endswith("SSL"):
            context = ssl.create_default_context(cafile=str(self.ssl_ca_file) if self.ssl_ca_file else None)
            if self.ssl_certificate_file:
                key_password = self.ssl_key_password.get_secret_value() if self.ssl_key_password else None
                context.load_cert_chain(self.ssl_certificate_file, self.ssl_key_file, key_password)
            options["ssl_context"] = context
        return options


class DiditSettings(Group):
    """How to reach Didit."""

    base_url: str = Field("https://verification.didit.me", description="https, or http on loopback only")
    api_version: Literal["v3", "v2"] = Field("v3", description="of session create and decision; everything else is v3")
    api_key: SecretStr | None = Field(None, description="x-api-key of the application")
    api_key_file: Path | None = Field(None, description="file that holds the key; read again when Didit refuses the key")
    timeout_s: Seconds = Field(
        120.0, description="a call ends after this, from connect to the last byte, or after its operation's own time"
    )
    calls_max: int = Field(100, ge=1, le=5000, description="calls in flight in this process")
    response_bytes_max: int = Field(8 * 1024 * 1024, ge=1024, description="a longer answer is cut off and counts as unreadable")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        url = urlsplit(self.base_url)
        loopback = url.hostname in {"127.0.0.1", "localhost", "::1"}
        faults = []
        if url.scheme != "https" and not (url.scheme == "http" and loopback):
            faults.append("VP_DIDIT__BASE_URL must be https (http only on loopback)")
        if not url.hostname or url.path.strip("/") or url.query or url.fragment or url.username:
            faults.append("VP_DIDIT__BASE_URL must be scheme://host[:port] and nothing else")
        if self.api_key_file and not self.api_key_file.is_file():
            faults.append("VP_DIDIT__API_KEY_FILE cannot be read")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def key(self) -> str | None:
        """The API key from the variable or the file (read anew at each call of this function)."""
        return _secret(self.api_key, self.api_key_file)


class ScopeLimit(Group):
    """One rate-limit scope of Didit: at most ``limit`` counted calls in any ``window_s`` seconds."""

    limit: int = Field(ge=1, description="calls a window, over all replicas that share the key")
    window_s: Seconds = Field(60.0, description="length of the window")


def _documented_limits() -> dict[str, ScopeLimit]:
    documented = {"session-create": 600, "session-decision": 100, "session-generate-pdf": 50, "generic-write": 300, "generic-get": 600}
    return {scope: ScopeLimit(limit=limit, window_s=60.0) for scope, limit in documented.items()}


class BudgetSettings(Group):
    """Didit's budgets, counted over all replicas that share the API key, and the memory of every call."""

    limits: dict[str, ScopeLimit] = Field(
        default_factory=_documented_limits, description="JSON object: scope -> {limit, window_s}; scopes left out have the documented limit"
    )
    topic: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,249}$",
        description="the budget log; default <prefix>.budget. Everything that shares the API key must name the same one",
    )
    ask_wait_s: Seconds = Field(30.0, description="a call starts within this time of its ask, or it is asked for again")
    call_margin_s: Seconds = Field(
        30.0, description="Didit counts a call at most so long after our own timeout has ended it: its own queues, a frozen process"
    )
    slack_s: Seconds = Field(0.1, description="drift between two machines' clocks over a few minutes")
    skew_s: Seconds = Field(
        10.0, description="largest step of a broker's clock, or difference between brokers; only a newcomer waits for it"
    )
    memory_s: Seconds = Field(
        3600.0, description="a second record with a request_id is recognised for so long after the first one's last call"
    )
    queue_max: int = Field(
        100,
        ge=1,
        le=10_000,
        description="requests of one operation that wait in this process before more go to a delay topic; below work_max",
    )
    pause_park_s: Seconds = Field(60.0, description="a scope paused for longer sends its requests to a delay topic instead of holding them")
    breaker_failures: int = Field(10, ge=1, le=10_000, description="5xx, resets and timeouts of an endpoint in a row that open its breaker")
    breaker_hold_s: Seconds = Field(15.0, description="then nothing but a probe after so long; failed probes double it, up to four times")
    account_probe_s: Seconds = Field(30.0, description="after an account fault (key, credits) one probe call each so many seconds")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if unknown := sorted(set(self.limits) - set(_documented_limits())):
            raise ValueError(f"VP_BUDGET__LIMITS names scopes that no operation counts in: {', '.join(unknown)}")
        if self.ask_wait_s <= self.skew_s:
            raise ValueError(
                "VP_BUDGET__ASK_WAIT_S must be longer than VP_BUDGET__SKEW_S, or a newcomer's asks end before their time comes"
            )
        return self

    @property
    def all_limits(self) -> dict[str, ScopeLimit]:
        """Of every scope: as configured, else as documented."""
        return _documented_limits() | self.limits


class Settings(BaseSettings):
    """Everything a processor is told."""

    model_config = SettingsConfigDict(env_prefix="VP_", env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    didit: DiditSettings = Field(default_factory=DiditSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    lanes: LaneSettings = Field(default_factory=LaneSettings)
    images: ImageSettings = Field(default_factory=ImageSettings)
    follow: FollowSettings = Field(default_factory=FollowSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    observe: ObserveSettings = Field(default_factory=ObserveSettings)
    log: LogSettings = Field(default_factory=LogSettings)


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment.

    Raises:
        ConfigurationError: with every fault, its variable, and no value.
    """
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        errors = exc.errors(include_input=False, include_url=False)
        faults = [f"  {_variable(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in errors]
        raise ConfigurationError("the configuration is not usable:\n" + "\n".join(faults)) from None
    except SettingsError as exc:
        raise ConfigurationError(f"the configuration is not usable:\n  {_unparsed(exc)}: must be JSON, with double quotes") from None


def _unparsed(error: SettingsError) -> str:
    """The variable whose text was no JSON: the error holds the text, and must not show it."""
    text = getattr(error.__cause__, "doc", None)
    return ", ".join(sorted(name for name, value in os.environ.items() if name.startswith("VP_") and value == text)) or "a VP_ variable"


def _variable(location: tuple[int | str, ...]) -> str:
    return "VP_" + "__".join(str(part).upper() for part in location)


def _secret(value: SecretStr | None, file: Path | None) -> str | None:
    if value is not None:
        return value.get_secret_value()
    return file.read_text().strip() if file is not None and file.is_file() else None

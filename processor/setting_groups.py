"""Groups of settings that stand by themselves: retries, lanes, files, following, webhooks, logs. ``settings`` puts all together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PREFIX = re.compile(r"(?!https?:|file:|data:|local:)[a-z][a-z0-9]{1,15}://[^/\s]+/(\S*/)?")
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Group(BaseModel):
    """Frozen, closed, and silent about values that are wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class RetrySettings(Group):
    """When a failed call is made again."""

    attempts_max: int = Field(6, ge=1, le=1000, description="counted attempts before a request is given up")
    backoff_base_s: Seconds = Field(5.0, description="the first backoff is drawn between a tenth of this and this; then it doubles")
    backoff_max_s: Seconds = Field(3600.0, description="the backoff stops growing here")
    retry_after_max_s: Seconds = Field(86_400.0, description="a longer Retry-After is cut to this, with an alarm in the log")
    delays_s: tuple[int, ...] = Field((10, 60, 600, 3600), description="the delay topics; JSON array, ascending")
    partitions: int = Field(4, ge=1, le=1000, description="partitions of each delay topic; each one owned costs a producer")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.delays_s or list(self.delays_s) != sorted(set(self.delays_s)) or self.delays_s[0] < 1:
            raise ValueError("VP_RETRY__DELAYS_S must be ascending whole seconds, at least one")
        return self


class LaneSettings(Group):
    """How a partition is worked on, and how long everything may take. The defaults are derived in docs/architecture.md."""

    work_max: int = Field(200, ge=1, le=10_000, description="requests of one partition that wait for a permit or call")
    ahead_max: int = Field(20_000, ge=1, le=24_000, description="offsets read beyond the oldest unfinished one")
    ahead_bytes_max: int = Field(8 * 1024 * 1024, ge=65_536, description="bytes of undue records that one partition may hold in memory")
    publish_pause_s: float = Field(0.05, ge=0, le=5, description="least time between two transactions of one partition")
    publish_max: int = Field(500, ge=1, le=5000, description="requests completed in one transaction")
    output_bytes_max: int = Field(
        2_000_000, ge=100_000, description="largest record we publish; at most max.message.bytes of our output topics"
    )
    session_timeout_s: Seconds = Field(10.0, description="Kafka gives our partitions away after this silence")
    heartbeat_s: Seconds = Field(2.0, description="interval of heartbeats")
    drain_s: Seconds = Field(10.0, description="a revoke or a stop waits this long for calls in flight")
    flush_s: Seconds = Field(5.0, description="and then this long for the last transactions")
    close_s: Seconds = Field(3.0, description="and this long for each client to close")
    transaction_s: Seconds = Field(25.0, description="deadline of one transaction; the broker's own is 15 s later")
    restore_s: Seconds = Field(25.0, description="deadline of fencing the former owner and reading its offset")
    start_s: Seconds = Field(60.0, description="deadline of joining the group")
    stall_s: Seconds = Field(120.0, description="no poll came back for so long: the clients are built anew")

    @property
    def rebalance_timeout_s(self) -> float:
        """How long the broker must wait for our revoke: its parts, and a margin."""
        return self.heartbeat_s + self.drain_s + self.flush_s + self.close_s + 10.0

    @property
    def shutdown_s(self) -> float:
        """Hard limit of a stop after SIGTERM: the process exits by then, whatever hangs."""
        return self.drain_s + self.flush_s + 3 * self.close_s + 7.0


class ImageSettings(Group):
    """Which files requests may name. Nothing is allowed by default."""

    roots: tuple[str, ...] = Field((), description="JSON array of absolute folders; file:// references must lie below one")
    hosts: tuple[str, ...] = Field((), description="JSON array of host names; https:// references and their redirects must stay on them")
    prefixes: tuple[str, ...] = Field(
        (), description="JSON array of store prefixes that end in a slash, e.g. s3://bucket/people/; needs the extra [s3] or [gs]"
    )
    fetch_s: Seconds = Field(15.0, description="deadline of reading one file")

    @model_validator(mode="after")
    def _plain(self) -> Self:
        faults = [f"VP_IMAGES__ROOTS: {root} is no absolute folder" for root in self.roots if not Path(root).is_absolute() or root == "/"]
        faults += [f"VP_IMAGES__HOSTS: {host} is no lower-case host name" for host in self.hosts if not _HOST.fullmatch(host)]
        faults += [
            f"VP_IMAGES__PREFIXES: {prefix} must be like s3://bucket/folder/"
            for prefix in self.prefixes
            if not _PREFIX.fullmatch(prefix) or ".." in prefix
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self


class FollowSettings(Group):
    """How a ``verification`` is followed until the person is done."""

    polls_s: tuple[int, ...] = Field(
        (15, 30, 60, 120, 300, 600, 1800, 3600),
        description="JSON array, ascending: waits before the first looks at a session; the last one goes on. Webhooks make them needless",
    )
    later_finals_s: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="go on for so long after the first final result, and publish another one when an operator changes the decision. "
        "0: the first one is the only one, and changes are seen in the events topic",
    )
    longest_s: Seconds = Field(2_592_000.0, description="a session that is not settled so long after its creation ends as expired")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.polls_s or list(self.polls_s) != sorted(self.polls_s) or self.polls_s[0] < 1:
            raise ValueError("VP_FOLLOW__POLLS_S must be ascending whole seconds, at least one")
        return self


class WebhookSettings(Group):
    """The receiver of Didit's webhooks (`processor webhooks`); docs/webhooks.md."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 in a container. TLS is the ingress's work")
    port: int = Field(8090, ge=0, le=65_535, description="port to listen on; 0 takes a free one, and the log says which")
    in_run: bool = Field(default=False, description="receive inside `processor run` too, so that a small set-up needs no second service")
    path: str = Field("/webhooks/didit", pattern=r"^/[A-Za-z0-9._~/-]{0,200}$", description="path of the destination's URL")
    secrets: tuple[SecretStr, ...] = Field((), max_length=10, description="JSON array of the destination's secrets, the newest first")
    secrets_file: Path | None = Field(
        None, description="file with one secret a line, the newest first; read again when it changes. Instead of the variable"
    )
    body_bytes_max: int = Field(1024 * 1024, ge=4096, le=64 * 1024 * 1024, description="a longer delivery is refused")
    tolerance_s: Seconds = Field(300.0, description="how far the signed time of a delivery may be from ours, both ways (Didit: 300)")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        faults = []
        if self.secrets and self.secrets_file:
            faults.append("set VP_WEBHOOKS__SECRETS or VP_WEBHOOKS__SECRETS_FILE, not both: it must be clear which secret is the newest")
        if any(not secret.get_secret_value().strip() for secret in self.secrets):
            faults.append("VP_WEBHOOKS__SECRETS holds an empty secret: with it anybody could sign")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def event_bytes_max(self) -> int:
        """The largest record of the events topic: a body and its envelope."""
        return self.body_bytes_max + 65_536


class ObserveSettings(Group):
    """The port for those who watch: `/metrics`, `/livez`, `/readyz`, `/startupz` and the operators' page (docs/operations.md)."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 in a container")
    port: int = Field(8070, ge=0, le=65_535, description="port to listen on; 0 takes a free one, and the log says which")
    page: bool = Field(
        default=True,
        description="serve the operators' page: without a token on loopback only, elsewhere only with one (docs/operations.md)",
    )
    token: SecretStr | None = Field(None, min_length=16, description="operators' token; needed for the page where it is not on loopback")
    token_file: Path | None = Field(None, description="file that holds the token; instead of the variable")
    survey_s: Seconds = Field(15.0, description="how often the group's lag and the time to drain are looked at")
    stall_s: Seconds = Field(30.0, description="`/livez` fails after the event loop, or the watch over it, has stood still for so long")
    traces: bool = Field(
        default=False,
        description="send traces to OTEL_EXPORTER_OTLP_ENDPOINT and the like (OpenTelemetry's variables); needs the extra [otel]",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.token and self.token_file:
            raise ValueError("set VP_OBSERVE__TOKEN or VP_OBSERVE__TOKEN_FILE, not both")
        return self


class LogSettings(Group):
    """Logs: JSON lines on stderr, without personal data."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is written")
    format: Literal["json", "text"] = Field("json", description="text is for eyes at a terminal")

"""The monitoring port."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from processor.settings.base import Group, Seconds

_URL = r"^https?://[!-;=?-~]*[!-.0-;=?-~]$"  # visible ASCII without < and >
_TRACE_URL = r"^https?://[!-;=?-~]*\{trace_id\}[!-;=?-~]*$"


class ObserveSettings(Group):
    """The monitoring port: `/metrics`, `/livez`, `/readyz`, `/startupz` and the operators' page (docs/operations.md)."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 in a container")
    port: int = Field(8070, ge=0, le=65_535, description="port to listen on; 0 takes a free one, and the log says which")
    page: bool = Field(
        default=True,
        description="serve the operators' page: without a token on loopback only, elsewhere only with one (docs/operations.md)",
    )
    token: SecretStr | None = Field(None, min_length=16, description="operators' token; needed for the page where it is not on loopback")
    token_file: Path | None = Field(None, description="file that holds the token; instead of the variable")
    runbooks_url: str | None = Field(
        None,
        pattern=_URL,
        description="URL of your copy of docs/runbooks, without a trailing slash: the page links its findings to it",
    )
    dashboard_url: str | None = Field(None, pattern=_URL, description="URL of your Grafana dashboard, for a link on the page")
    trace_url: str | None = Field(
        None,
        pattern=_TRACE_URL,
        description="URL of a trace in your tracing UI, with {trace_id} as placeholder: the page links dead letters and results to it",
    )
    survey_s: Seconds = Field(15.0, description="how often the group's lag and the time to drain are measured")
    stall_s: Seconds = Field(
        30.0, description="`/livez` fails after the event loop, or the thread that watches it, has not run for this long"
    )
    traces: bool = Field(
        default=False,
        description="send traces by OTLP, configured by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT ...); "
        "needs the extra [otel]",
    )
    otlp_metrics: bool = Field(
        default=False,
        description="send the metrics by OTLP too, under the names of `/metrics`, every OTEL_METRIC_EXPORT_INTERVAL ms; needs"
        " the extra [otel]",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.token and self.token_file:
            raise ValueError("set VP_OBSERVE__TOKEN or VP_OBSERVE__TOKEN_FILE, not both")
        return self

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
        description="where your copy of docs/runbooks is, without a slash at the end: the page links what it finds to it",
    )
    dashboard_url: str | None = Field(None, pattern=_URL, description="your Grafana dashboard, for a link on the page")
    trace_url: str | None = Field(
        None,
        pattern=_TRACE_URL,
        description="where your tracing UI shows a trace, with {trace_id} in its place: dead letters and results on the page lead there",
    )
    survey_s: Seconds = Field(15.0, description="how often the group's lag and the time to drain are looked at")
    stall_s: Seconds = Field(30.0, description="`/livez` fails after the event loop, or the watch over it, has stood still for so long")
    traces: bool = Field(
        default=False,
        description="send traces to OTEL_EXPORTER_OTLP_ENDPOINT and the like (OpenTelemetry's variables); needs the extra [otel]",
    )
    otlp_metrics: bool = Field(
        default=False,
        description="send the metrics there too, as `/metrics` names them, each OTEL_METRIC_EXPORT_INTERVAL ms; needs the extra [otel]",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.token and self.token_file:
            raise ValueError("set VP_OBSERVE__TOKEN or VP_OBSERVE__TOKEN_FILE, not both")
        return self

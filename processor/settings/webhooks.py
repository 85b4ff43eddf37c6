"""The receiver of Didit's webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from processor.settings.base import Group, Seconds, header_fault, refuse

ENVELOPE_BYTES_MAX = 65_536  # of everything in an event but the payload: six bounded texts, each character escaped


class WebhookSettings(Group):
    """The receiver of Didit's webhooks (`processor webhooks`); docs/webhooks.md."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 in a container. TLS is terminated by the ingress"
    )
    port: int = Field(8090, ge=0, le=65_535, description="port to listen on; 0 takes a free one, and the log says which")
    in_run: bool = Field(
        default=False, description="receive webhooks inside `processor run` too, so that a small set-up needs no second service"
    )
    path: str = Field("/webhooks/didit", pattern=r"^/[A-Za-z0-9._~/-]{0,200}$", description="path of the destination's URL")
    secrets: tuple[SecretStr, ...] = Field((), max_length=10, description="JSON array of the destination's secrets, the newest first")
    secrets_file: Path | None = Field(
        None, description="file with one secret a line, the newest first; read again when it changes. Instead of the variable"
    )
    body_bytes_max: int = Field(256 * 1024, ge=4096, le=64 * 1024 * 1024, description="a larger delivery is refused")
    tolerance_s: Seconds = Field(
        300.0, description="largest difference between the signed time of a delivery and our clock, in both directions (Didit: 300)"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        faults = []
        if self.secrets and self.secrets_file:
            faults.append("set VP_WEBHOOKS__SECRETS or VP_WEBHOOKS__SECRETS_FILE, not both: it must be clear which secret is the newest")
        if any(not secret.get_secret_value().strip() for secret in self.secrets):
            faults.append("VP_WEBHOOKS__SECRETS holds an empty secret: with it anybody could sign")
        elif any(header_fault(secret.get_secret_value().strip()) for secret in self.secrets):
            faults.append("VP_WEBHOOKS__SECRETS holds a secret with a blank, a line break or another character that none of Didit's has")
        refuse(faults)
        return self

    @property
    def event_bytes_max(self) -> int:
        """The largest record of the events topic: a body and its envelope."""
        return self.body_bytes_max + ENVELOPE_BYTES_MAX

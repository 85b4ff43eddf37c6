"""How to reach Didit."""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from processor.settings.base import Group, Seconds, header_fault, secret
from processor.settings.budget import ApiVersion

Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


def _uuid_text(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("is no UUID") from None


class DiditSettings(Group):
    """How to reach Didit."""

    base_url: str = Field("https://verification.didit.me", description="https, or http on loopback only")
    api_version: ApiVersion = Field("v3", description="of session create and decision; everything else is v3")
    api_key: SecretStr | None = Field(None, description="x-api-key of the application")
    api_key_file: Path | None = Field(None, description="file that holds the key; read again when Didit refuses the key")
    workflows: tuple[Annotated[str, AfterValidator(_uuid_text)], ...] = Field(
        (),
        description="JSON array of the workflows that requests name; `processor check` looks for them. Requests may name others",
    )
    prices: dict[str, Price] = Field(
        default_factory=dict,
        description='JSON object: operation -> price of one by your contract with Didit, e.g. `{"aml": "0.20"}`; for `--dry-run`',
    )
    timeout_s: Seconds = Field(
        120.0, description="a call ends after this, from connect to the last byte, or after its operation's own time"
    )
    read_lag_s: Seconds = Field(
        60.0,
        description="so long a session or check that was just made may be missing in what Didit shows; Didit documents no time, so this "
        "is assumed",
    )
    calls_max: int = Field(100, ge=1, le=5000, description="calls in flight in this process")
    balance_s: float = Field(
        300.0, ge=0, le=86_400, description="how often each replica reads the account's credits for `vp_balance_usd`; 0: never"
    )
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
        name = "VP_DIDIT__API_KEY" if self.api_key is not None else "VP_DIDIT__API_KEY_FILE"
        if self.api_key_file and not self.api_key_file.is_file():
            faults.append("VP_DIDIT__API_KEY_FILE cannot be read")
        elif (key := self.key()) is not None and (fault := header_fault(key)):
            faults.append(f"{name} {fault}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def key(self) -> str | None:
        """The API key from the variable or the file (read again at each call of this function)."""
        return secret(self.api_key, self.api_key_file)

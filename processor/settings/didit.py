"""How to reach Didit."""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import AfterValidator, Field, SecretStr, model_validator

from processor.settings.base import Group, Seconds, file_fault, given_twice, header_fault, refuse, secret
from processor.settings.budget import ApiVersion

Price = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


def _split(url: str) -> SplitResult:
    """The parts of a URL; of one that cannot be used none, so that nothing of it reaches a text."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port > 0 else urlsplit("")
    except ValueError:  # a port that is none
        return urlsplit("")


def _uuid_text(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("is no UUID") from None


OF_ENVIRONMENT = "environment"  # the proxy that HTTPS_PROXY names, but for what NO_PROXY names
WorkflowId = Annotated[str, AfterValidator(_uuid_text)]


class DiditSettings(Group):
    """How to reach Didit."""

    base_url: str = Field("https://verification.didit.me", description="https, or http on loopback only")
    api_version: ApiVersion = Field("v3", description="API version of session create and decision; everything else is v3")
    api_key: SecretStr | None = Field(None, description="API key (x-api-key) of the application")
    api_key_file: Path | None = Field(None, description="file that holds the key; read again when Didit refuses the key")
    workflows: tuple[WorkflowId, ...] = Field(
        (),
        description="JSON array of the workflows that requests name; `processor check` looks for them. Requests may name others, unless "
        "VP_DIDIT__WORKFLOWS_ONLY is set",
    )
    workflows_only: bool = Field(default=False, description="a request that names another workflow than VP_DIDIT__WORKFLOWS is rejected")
    prices: dict[str, Price] = Field(
        default_factory=dict,
        description='JSON object: operation -> price of one call by your contract with Didit, e.g. `{"aml": "0.20"}`; for `--dry-run`',
    )
    timeout_s: Seconds = Field(
        120.0, description="deadline of a call, from connect to the last byte; some operations have a deadline of their own"
    )
    read_lag_s: Seconds = Field(
        60.0,
        description="how long a session or check that was just made may be missing from Didit's lists; Didit documents no "
        "time, so this is an assumption",
    )
    calls_max: int = Field(100, ge=1, le=5000, description="most calls in flight in this process")
    balance_s: float = Field(
        300.0, ge=0, le=86_400, description="how often each replica reads the account's credits for `vp_balance_usd`; 0: never"
    )
    response_bytes_max: int = Field(8 * 1024 * 1024, ge=1024, description="a longer response is cut off and counts as unreadable")
    proxy: str | None = Field(
        None,
        description="egress proxy for calls to Didit, tunnelled with CONNECT: `http://host:port`, or `environment` to use "
        "HTTPS_PROXY and NO_PROXY, which are ignored otherwise",
    )
    proxy_username: str | None = Field(None, description="user name at the proxy (Basic authentication)")
    proxy_password: SecretStr | None = Field(None, description="password at the proxy")
    proxy_password_file: Path | None = Field(None, description="file that holds the proxy password; instead of the variable")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        url = _split(self.base_url)
        loopback = url.hostname in {"127.0.0.1", "localhost", "::1"}
        faults = []
        if url.scheme and url.scheme != "https" and not (url.scheme == "http" and loopback):
            faults.append("VP_DIDIT__BASE_URL must be https (http only on loopback)")
        if not url.hostname or url.path.strip("/") or url.query or url.fragment or url.username:
            faults.append("VP_DIDIT__BASE_URL must be scheme://host[:port] and nothing else")
        faults += given_twice(self, "VP_DIDIT__", "api_key", "proxy_password")
        name = "VP_DIDIT__API_KEY" if self.api_key is not None else "VP_DIDIT__API_KEY_FILE"
        if self.workflows_only and not self.workflows:
            faults.append("VP_DIDIT__WORKFLOWS_ONLY needs VP_DIDIT__WORKFLOWS, or no session could be made")
        if self.api_key_file and (fault := file_fault(self.api_key_file)):
            faults.append(f"VP_DIDIT__API_KEY_FILE: {fault}")
        elif (key := self.key()) is not None and (fault := header_fault(key)):
            faults.append(f"{name}: {self.api_key_file} {fault}" if self.api_key is None else f"{name} {fault}")
        faults += self._proxy_faults()
        refuse(faults)
        return self

    def _proxy_faults(self) -> list[str]:
        name = "HTTPS_PROXY" if self.proxy == OF_ENVIRONMENT else "VP_DIDIT__PROXY"
        faults = []
        if (found := self.proxy_parts()) is not None:
            if found.scheme != "http" or not found.hostname or found.path.strip("/") or found.query or found.fragment:
                faults.append(f"{name} must be http://host:port and nothing else")
            if name == "VP_DIDIT__PROXY" and found.username:
                faults.append("VP_DIDIT__PROXY must hold no login: it is in VP_DIDIT__PROXY_USERNAME and VP_DIDIT__PROXY_PASSWORD_FILE")
            if _split(self.base_url).scheme != "https":
                faults.append(f"{name} needs an https VP_DIDIT__BASE_URL: calls are tunnelled")
        if self.proxy_password_file and (fault := file_fault(self.proxy_password_file)):
            faults.append(f"VP_DIDIT__PROXY_PASSWORD_FILE: {fault}")
        if (self.proxy_username is None) != (self.proxy_password is None and self.proxy_password_file is None):
            faults.append("a login at the proxy needs both VP_DIDIT__PROXY_USERNAME and VP_DIDIT__PROXY_PASSWORD (or _FILE)")
        if self.proxy_username is not None and self.proxy is None:
            faults.append("VP_DIDIT__PROXY_USERNAME is of no use without VP_DIDIT__PROXY")
        return faults

    def proxy_parts(self) -> SplitResult | None:
        """The proxy through which Didit is reached; None if directly. Its port or login may be missing."""
        if self.proxy != OF_ENVIRONMENT:
            return None if self.proxy is None else _split(self.proxy)
        base = _split(self.base_url)
        named = getproxies().get("https") if base.scheme == "https" and not proxy_bypass(base.hostname or "") else None
        return None if named is None else _split(named)

    def proxy_login(self) -> tuple[str, str] | None:
        """Name and password at the proxy; the file is read at each call of this function."""
        password = secret(self.proxy_password, self.proxy_password_file)
        return None if self.proxy_username is None else (self.proxy_username, password or "")

    def key(self) -> str | None:
        """The API key from the variable or the file (read again at each call of this function)."""
        return secret(self.api_key, self.api_key_file)

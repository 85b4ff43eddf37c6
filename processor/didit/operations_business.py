"""Company registries, wallets, and AML monitoring (Didit, "KYB registry", "Screen a wallet address", "AML ongoing monitoring")."""

from __future__ import annotations

from types import MappingProxyType

from processor.didit.operation import CheckTrace, Idempotency, Operation

_WRITE = ("generic-write",)
_PROVIDER_DOWN = frozenset({502})  # nothing was billed
_OK_OR_PENDING = frozenset({200, 202})


def _registry(name: str) -> Operation:
    """A company of a registry, billed and kept as a business session. 202: Didit completes the report later; its session tells."""
    return Operation(
        f"kyb.{name}",
        "POST",
        f"/v3/kyb/{name}/",
        _WRITE,
        Idempotency.RECONCILABLE,  # "every new POST creates a separate request", whose metadata are ours
        timeout_s=60.0,  # Didit polls the registry meanwhile
        success_statuses=_OK_OR_PENDING,
        required_output=MappingProxyType({"request_id": str, "kyb_registry": dict}),
        carries_id=True,
        trace=CheckTrace("KYB_REGISTRY", "registry_checks", of_company=True),
    )


def _monitoring(whose: str) -> Operation:
    """On or off; 202: a job goes on."""
    return Operation(
        f"aml_monitoring.{whose}",
        "POST",
        f"/v3/{whose}/aml-monitoring/",
        _WRITE,
        Idempotency.SAFE,  # who is monitored already is "already_enabled", and nothing is billed
        timeout_s=60.0,  # it screens up to 20 meanwhile
        success_statuses=_OK_OR_PENDING,
    )


BUSINESS = (
    Operation(
        "kyb.search",
        "POST",
        "/v3/kyb/search/",
        _WRITE,
        Idempotency.SINGLE,  # a search that found something is billed, and not kept
        timeout_s=60.0,
        required_output=MappingProxyType({"request_id": str, "kyb_registry": dict}),
        carries_id=True,
        unbilled=_PROVIDER_DOWN,
    ),
    _registry("select"),
    _registry("shareholders"),
    _registry("ubo"),
    Operation(
        "wallet_screening",
        "POST",
        "/v3/wallet-screening/",
        _WRITE,
        Idempotency.SINGLE,  # billed, and kept nowhere
        timeout_s=60.0,
        required_output=MappingProxyType({"status": str, "risk_score": int, "severity": str}),
        unbilled=_PROVIDER_DOWN,
    ),
    _monitoring("users"),
    _monitoring("businesses"),
    Operation("aml_monitoring.job", "GET", "/v3/aml-monitoring/jobs/{job_id}/", ("generic-get",), Idempotency.SAFE),
)

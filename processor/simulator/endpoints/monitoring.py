"""Wallets, and AML monitoring of users and businesses. Pure but for the state given.

Source: Didit's OpenAPI 3.0.0 ("Screen a wallet address", "AML Ongoing Monitoring"), which shows no texts of their errors; its newer page
"On-demand wallet screening" for the networks.
"""

from __future__ import annotations

import random
import re
from typing import Any

from processor.simulator.billing import bill, unpayable
from processor.simulator.ledger import Ledger
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.random_ids import random_uuid
from processor.simulator.sessions import Sessions
from processor.simulator.timestamps import iso
from processor.simulator.validation import REQUIRED, is_uuid

_EVM = ("ETH", "BNB", "MATIC", "BASE", "ARB", "OP", "AVAX")
_CHAINS = frozenset(
    {*_EVM, "BTC", "LIGHTNING", "LTC", "XRP", "BCH", "DOGE", "TRX", "SOL", "USDT", "USDC", "ADA", "XLM", "HBAR", "CELO", "MODE", "PLUME"}
)
_OF_A_CONNECTED_PROVIDER = frozenset({"LIGHTNING", "CELO", "MODE", "PLUME"})  # there is none
_CHAIN_BY_START = {"bc1": "BTC", "1": "BTC", "3": "BTC", "T": "TRX"}  # of an address
_EVM_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ADDRESS = re.compile(r"[0-9A-Za-z]{20,128}")
_DIRECTIONS = frozenset({None, "inbound", "outbound", "deposit", "withdrawal"})
_INLINE_MAX, _IDS_MAX = 20, 1000
_OUTCOMES = (
    *("enabled", "screened_and_enabled", "already_enabled", "disabled", "skipped_no_identity_data", "skipped_blocked"),
    *("skipped_sandbox", "failed_provider", "failed_insufficient_balance"),
)


class MonitoringEndpoints:
    """The routes of wallets and of AML monitoring."""

    def __init__(self, sessions: Sessions, ledger: Ledger, rng: random.Random) -> None:
        self._sessions, self._ledger, self._rng = sessions, ledger, rng
        self._monitored: set[tuple[str, str, str]] = set()  # application, kind, vendor_data
        self._screened: set[tuple[str, str, str]] = set()
        self._jobs: dict[tuple[str, str], dict[str, Any]] = {}  # application and job

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "wallet_screening": self._screen,
            "aml_monitoring.users": lambda request: self._toggle(request, "user"),
            "aml_monitoring.businesses": lambda request: self._toggle(request, "business"),
            "aml_monitoring.job": self._job,
        }

    def _screen(self, request: ApiRequest) -> ApiResponse:
        """An address that ends with ``bad`` is on a sanctions list, for one that ends with ``502`` the provider is down."""
        body, caller = request.json_body, request.caller
        if (error := _wallet_error(body)) is not None:
            return ApiResponse(400, error)
        if "wallet_screening" in caller.organization.not_in_contract:
            return ApiResponse(409, {"detail": "No AML provider is configured. Configure transaction monitoring first."})
        address = body["wallet_address"]
        chain = body.get("blockchain") or next((chain for start, chain in _CHAIN_BY_START.items() if address.startswith(start)), None)
        if chain is None:
            return ApiResponse(422, {"detail": "The address belongs to several blockchains.", "candidate_chains": [*_EVM]})
        if address.endswith("502"):
            return ApiResponse(502, {"detail": "The AML provider could not complete the screening. Retry later."})
        if (rejection := unpayable(request)) is not None:
            return rejection
        bad = address.lower().endswith("bad") and not caller.sandbox
        bill(self._ledger, request, "wallet_screening", random_uuid(self._rng))
        document = {
            "provider": "simulated",
            "screening_type": "WALLET_SCREENING",
            "risk_score": 95 if bad else 5,
            "severity": "CRITICAL" if bad else "LOW",
            "status": "SCREENED",
            "summary": "Simulated screening",
            "wallet_address": address,
            "blockchain": chain,
            "sanctions_hit": bad,
            "dominant_risk_category": "sanctions" if bad else None,
            **{name: [] for name in ("risk_factors", "source_of_funds", "destination_of_funds", "counterparty_connections")},
            "report_signature": f"{self._rng.getrandbits(256):064x}",
        }
        return ApiResponse(200, document, acted=True)

    def _toggle(self, request: ApiRequest, kind: str) -> ApiResponse:
        """Who has a session is known. Who was never screened is screened first, and billed."""
        body, caller = request.json_body, request.caller
        if (error := _toggle_error(body)) is not None:
            return ApiResponse(400, error)
        names = dict.fromkeys(body.get("vendor_data_list", []))
        known = [name for name in names if self._is_known(request, kind, name)]
        unmatched = [name for name in names if name not in known] + body.get("didit_internal_id_list", [])
        estimate = self._estimate(request, kind, known, unmatched)
        if body.get("estimate_only") is True:
            return ApiResponse(200, estimate)
        if body["is_enabled"] and not estimate["balance_sufficient"]:
            return ApiResponse(403, {"detail": "Insufficient balance to enable monitoring for this selection.", "estimate": estimate})
        results = [
            {
                "didit_internal_id": random_uuid(self._rng),
                "vendor_data": name,
                "outcome": self._switch(request, kind, name, on=body["is_enabled"]),
            }
            for name in known
        ]
        job = {
            "job_id": random_uuid(self._rng),
            "status": "COMPLETED",
            "is_enabled": body["is_enabled"],
            "target_type": kind,
            "total": len(known),
            "processed": len(known),
            "outcomes": {outcome: sum(1 for result in results if result["outcome"] == outcome) for outcome in _OUTCOMES},
            "results": results,
            "error": None,
            "created_at": iso(request.now),
            "completed_at": iso(request.now),
        }
        self._jobs[caller.uuid, job["job_id"]] = job
        told = {**job, "estimate": {name: value for name, value in estimate.items() if name != "unmatched"}, "unmatched": unmatched}
        if len(known) <= _INLINE_MAX:
            return ApiResponse(200, told, acted=bool(known))
        return ApiResponse(202, told | {"status": "PENDING", "processed": 0, "results": [], "completed_at": None}, acted=True)

    def _estimate(self, request: ApiRequest, kind: str, known: list[str], unmatched: list[str]) -> dict[str, Any]:
        keys = [(request.caller.uuid, kind, name) for name in known]
        on = sum(1 for key in keys if key in self._monitored)
        fresh = sum(1 for key in keys if key not in self._screened)
        blocked = self._sessions.blocked_users(request.caller)
        return {
            "users_total": len(known),
            "already_enabled": on,
            "with_existing_aml": len(known) - on - fresh,
            "needing_screening": fresh,
            "skipped_no_identity_data": 0,
            "skipped_blocked": sum(1 for name in known if kind == "user" and name in blocked),
            "estimated_screening_cost_usd": 0.2 * fresh,
            "estimated_annual_monitoring_cost_usd": 0.07 * (len(known) - on),
            "balance_sufficient": request.caller.sandbox or request.caller.organization.credits >= fresh,
            "unmatched": unmatched,
        }

    def _switch(self, request: ApiRequest, kind: str, name: str, *, on: bool) -> str:
        key = (request.caller.uuid, kind, name)
        if not on:
            self._monitored.discard(key)
            return "disabled"
        if request.caller.sandbox:
            return "skipped_sandbox"
        if kind == "user" and name in self._sessions.blocked_users(request.caller):
            return "skipped_blocked"
        if key in self._monitored:
            return "already_enabled"
        self._monitored.add(key)
        if key in self._screened:
            return "enabled"
        self._screened.add(key)
        bill(self._ledger, request, f"aml_monitoring.{'users' if kind == 'user' else 'businesses'}", random_uuid(self._rng))
        return "screened_and_enabled"

    def _is_known(self, request: ApiRequest, kind: str, name: str) -> bool:
        found = self._sessions.by_application(request.caller, name)
        return any(session.kind == kind for session in found)

    def _job(self, request: ApiRequest) -> ApiResponse:
        job = self._jobs.get((request.caller.uuid, request.match["name"]))
        return NOT_FOUND if job is None else ApiResponse(200, job)


def _wallet_error(body: dict[str, Any]) -> Any:
    address, chain = body.get("wallet_address"), body.get("blockchain")
    if not address:
        return {"wallet_address": REQUIRED}
    if chain in _OF_A_CONNECTED_PROVIDER:
        return {"blockchain": ["This blockchain needs a connected provider."]}
    if chain not in {None, *_CHAINS} or body.get("direction") not in _DIRECTIONS:
        name = "blockchain" if chain not in {None, *_CHAINS} else "direction"
        return {name: [f'"{body[name]}" is not a valid choice.']}
    form = _EVM_ADDRESS if chain in _EVM else _ADDRESS
    return None if isinstance(address, str) and form.fullmatch(address) else {"wallet_address": ["Enter a valid wallet address."]}


def _toggle_error(body: dict[str, Any]) -> Any:
    if not isinstance(body.get("is_enabled"), bool):
        return {"is_enabled": REQUIRED}
    lists = [body.get("vendor_data_list", []), body.get("didit_internal_id_list", [])]
    if not all(isinstance(each, list) for each in lists) or not 1 <= sum(map(len, lists)) <= _IDS_MAX:
        return {"non_field_errors": [f"Provide 1 to {_IDS_MAX} ids in vendor_data_list and didit_internal_id_list."]}
    return None if all(is_uuid(one) for one in lists[1]) else {"didit_internal_id_list": ["Must be a valid UUID."]}

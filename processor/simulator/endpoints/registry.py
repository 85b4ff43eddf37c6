"""Company registries: search, and what is bought of one company. Pure but for the state given.

Source: Didit's OpenAPI 3.0.0 ("KYB registry"). Words in the name of the company choose the result (docs/simulator.md). What Didit answers
to a ``kyb_response_id`` that it does not know is not documented.
"""

from __future__ import annotations

import random
import re
from typing import Any

from processor.simulator.billing import bill
from processor.simulator.companies import profile, registry_check
from processor.simulator.ledger import Ledger
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.random_ids import random_uuid
from processor.simulator.session import KYB_SERVICE, StoredCheck
from processor.simulator.sessions import Sessions
from processor.simulator.timestamps import iso
from processor.simulator.validation import NO_CREDITS, REQUIRED, SUSPENDED

_COUNTRY = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,7})?")
_URL = re.compile(r"https?://[^\s/]+\S*")
_DOWN = {
    "detail": "The KYB registry provider is temporarily unavailable. Please try again shortly.",
    "code": "kyb_registry_provider_unavailable",
}
_UNRESOLVED: dict[str, Any] = {
    "status": "Not Finished",
    "registry_status": None,
    "data_resolved": False,
    "fetch_status": "pending",
    "officers": [],
    "beneficial_owners": [],
    "registry_data": {},
}
_UNDELIVERED = {"registry_ownership_status": "pending", "registry_tier_delivered": None}


class RegistryEndpoints:
    """The routes of company registries."""

    def __init__(self, sessions: Sessions, ledger: Ledger, rng: random.Random) -> None:
        self._sessions, self._ledger, self._rng = sessions, ledger, rng
        self._candidates: dict[tuple[str, str], dict[str, Any]] = {}  # by application and kyb_response_id

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        tiers = {"select": "basic", "shareholders": "shareholders", "ubo": "ubo"}
        return {"kyb.search": self._search, **{f"kyb.{name}": self._buying(name, tier) for name, tier in tiers.items()}}

    def _search(self, request: ApiRequest) -> ApiResponse:
        """Billed if it finds something; with a ``webhook_url`` it stays pending, for no callback is sent."""
        body = request.json_body
        if (rejection := _unpayable(request)) is not None:
            return rejection
        if (error := _search_error(body)) is not None:
            return ApiResponse(400, error)
        words = f"{body.get('name', '')} {body.get('registration_number', '')}"
        if "ProviderDown" in words:
            return ApiResponse(502, _DOWN)
        pending = "webhook_url" in body
        companies = [] if pending or "NoMatch" in words else self._find(request, body)
        request_id = random_uuid(self._rng)
        if companies:
            bill(self._ledger, request, "kyb.search", request_id)
        return ApiResponse(
            200,
            {
                "request_id": request_id,
                "kyb_registry": {
                    "companies": companies,
                    "pagination": {"total": len(companies), "page": 1, "per_page": 25},
                    "search_status": "pending" if pending else "resolved",
                    "search_resolved": not pending,
                },
                "vendor_data": body.get("vendor_data"),
                "metadata": body.get("metadata"),
                "created_at": iso(request.now),
            },
            acted=bool(companies),
        )

    def _find(self, request: ApiRequest, body: dict[str, Any]) -> list[dict[str, Any]]:
        name = body.get("name") or f"Company {body['registration_number']}"
        number = body.get("registration_number") or f"{self._rng.randrange(10**8):08d}"
        handle = f"{self._rng.getrandbits(96):024x}"
        company = {"name": name, "registration_number": number, "country_code": body["country_code"].upper()}
        self._candidates[request.caller.uuid, handle] = company
        known = {"name": name, "registration_number": number, "status": "active", "type": "Private Limited Company"}
        return [{"kyb_response_id": handle, **known, "risk_level": None, "fetch_status": "pending"}]

    def _buying(self, name: str, tier: str) -> EndpointHandler:
        def handle(request: ApiRequest) -> ApiResponse:
            return self._buy(request, f"kyb.{name}", tier)

        return handle

    def _buy(self, request: ApiRequest, operation: str, tier: str) -> ApiResponse:
        """One company, kept as a business session under its ``request_id``. ``Pending`` in its name: the report comes with the session."""
        body = request.json_body
        if not body.get("kyb_response_id"):
            return ApiResponse(400, {"kyb_response_id": REQUIRED})
        if body.get("save_api_request", True) is not True:
            return ApiResponse(400, {"save_api_request": ["KYB registry select must be saved so billing and retrieval can be tracked."]})
        if (rejection := _unpayable(request)) is not None:
            return rejection
        company = self._candidates.get((request.caller.uuid, str(body["kyb_response_id"])))
        if company is None:
            return ApiResponse(400, {"kyb_response_id": ["Unknown or expired kyb_response_id."]})
        pending = "Pending" in company["name"]
        delivered = "basic" if "NoOwners" in company["name"] else tier
        full = profile(company, delivered, asked=tier, new_id=lambda: random_uuid(self._rng))
        later = pending and tier != "basic"
        shown = full | (_UNRESOLVED if pending else {}) | (_UNDELIVERED if later else {})
        request_id = random_uuid(self._rng)
        document = {
            "request_id": request_id,
            "registry_tier_requested": tier,
            "registry_tier_delivered": None if later else delivered,
            "kyb_registry": shown,
            "vendor_data": body.get("vendor_data"),
            "metadata": body.get("metadata"),
            "created_at": iso(request.now),
        }
        bill(self._ledger, request, operation, request_id)
        if not request.caller.sandbox:
            stored = StoredCheck(KYB_SERVICE, full["status"], {"registry_checks": [registry_check(full)]})
            self._sessions.store_check(request.caller, stored, document, request.now)
        return ApiResponse(202 if later else 200, document, request_id, acted=True)


def _unpayable(request: ApiRequest) -> ApiResponse | None:
    if request.caller.is_suspended:
        return ApiResponse(403, SUSPENDED)
    return None if request.caller.can_pay else ApiResponse(403, {"error": NO_CREDITS, "code": "insufficient_credits"})


def _search_error(body: dict[str, Any]) -> Any:
    country = body.get("country_code")
    if not country:
        return {"country_code": REQUIRED}
    if not isinstance(country, str) or not _COUNTRY.fullmatch(country.upper()) or country.upper() == "US":
        return {"country_code": ["country_code must be a 2-letter ISO code."]}
    if not body.get("name") and not body.get("registration_number"):
        return {"non_field_errors": ["Either 'name' or 'registration_number' is required."]}
    if body.get("search_type", "contains") not in {"contains", "start_with", "fuzzy"}:
        return {"search_type": [f'"{body["search_type"]}" is not a valid choice.']}
    if "webhook_url" in body and not _URL.fullmatch(str(body["webhook_url"])):
        return {"webhook_url": ["Enter a valid URL."]}
    return None

"""Transactions that an app submits from a device, with a token of its user. Pure but for its own state (OpenAPI 3.0.0, "Transactions")."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.endpoints.transactions import TransactionEndpoints
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.timestamps import iso
from processor.simulator.validation import REQUIRED

_TTL_S, _TTL_S_MAX = 900, 86_400
_PARTY = {
    "type": "entity_type",
    "externalUserId": "vendor_data",
    "fullName": "full_name",
    "firstName": "first_name",
    "lastName": "last_name",
    "dob": "date_of_birth",
    "institutionInfo": "institution_details",
    "paymentMethod": "payment_method",
}
_METHOD = {"type": "method_type", "accountId": "account_id", "issuingCountry": "issuing_country"}
_DETAILS = {
    "currencyType": "currency_kind",
    "amountInDefaultCurrency": "amount_in_default_currency",
    "defaultCurrencyCode": "default_currency",
    "paymentDetails": "payment_details",
    "paymentTxnId": "payment_reference_id",
    "type": "action_type",
}
_RULE = {"obligationsCount": "obligations_count", "originatorData": "originator_data", "beneficiaryData": "beneficiary_data"}
_WIRE = {  # a member as SDKs write it: its name on the server, and the names in it
    "txnId": ("transaction_id", {}),
    "txnDate": ("transaction_at", {}),
    "zoneId": ("time_zone", {}),
    "type": ("transaction_category", {}),
    "info": ("transaction_details", _DETAILS),
    "subject": ("subject", _PARTY),
    "counterparty": ("counterparty", _PARTY),
    "props": ("custom_properties", {}),
    "travelRule": ("travel_rule_details", _RULE),
    "includeCryptoScreening": ("include_crypto_screening", {}),
}


@dataclass(slots=True, eq=False)
class _Token:
    application: Application
    vendor_data: str
    expires_at: float  # epoch seconds
    uses_left: int | None  # None: without end


class DeviceTransactionEndpoints:
    """The routes of tokens, and those that take one."""

    def __init__(self, transactions: TransactionEndpoints, rng: random.Random) -> None:
        self._transactions, self._rng = transactions, rng
        self._tokens: dict[str, _Token] = {}

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {"transaction.token": self._make_token, "transaction.submit": self._submit, "transaction.submitted": self._submitted}

    def _make_token(self, request: ApiRequest) -> ApiResponse:
        body = request.json_body
        vendor_data = body.get("vendor_data", body.get("vendorData"))
        ttl_s, uses = body.get("ttl_seconds", body.get("ttlSeconds", _TTL_S)), body.get("max_uses", body.get("maxUses"))
        if not isinstance(vendor_data, str) or not vendor_data:
            return ApiResponse(400, {"vendor_data": REQUIRED})
        if not isinstance(ttl_s, int) or isinstance(ttl_s, bool) or not 1 <= ttl_s <= _TTL_S_MAX:
            return ApiResponse(400, {"ttl_seconds": [f"Ensure this value is between 1 and {_TTL_S_MAX}."]})
        token = f"{self._rng.getrandbits(192):048x}"
        self._tokens[token] = _Token(request.caller, vendor_data, request.now + ttl_s, uses if isinstance(uses, int) else None)
        return ApiResponse(201, {"sdk_token": token, "expires_at": iso(request.now + ttl_s)}, acted=True)

    def _submit(self, request: ApiRequest) -> ApiResponse:
        """Whose transaction it is comes from the token, whatever the app writes."""
        token = self._tokens.get(request.transaction_token)
        if (rejection := _rejection(token, request.now)) is not None or token is None:
            return rejection or NOT_FOUND
        if token.uses_left == 0:
            return _INVALID
        body = from_wire(request.json_body)
        body["subject"] = {**body["subject"], "vendor_data": token.vendor_data} if isinstance(body.get("subject"), dict) else None
        found = self._transactions.create(replace(request, body=body, application=token.application))
        if found.acted and token.uses_left is not None:
            token.uses_left -= 1
        return found

    def _submitted(self, request: ApiRequest) -> ApiResponse:
        token = self._tokens.get(request.transaction_token)
        if (rejection := _rejection(token, request.now)) is not None or token is None:
            return rejection or NOT_FOUND
        return self._transactions.get(replace(request, application=token.application))


_INVALID = ApiResponse(401, {"detail": "Invalid transaction token."})


def _rejection(token: _Token | None, now: float) -> ApiResponse | None:
    if token is None:
        return _INVALID
    return ApiResponse(401, {"detail": "Transaction token expired."}) if token.expires_at <= now else None


def from_wire(body: dict[str, Any]) -> dict[str, Any]:
    """A transaction under the names of the server."""
    found: dict[str, Any] = {}
    for name, value in body.items():
        known, names = _WIRE.get(name, (name, {}))
        found[known] = _renamed(value, names)
    return found


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if not isinstance(value, dict) or not names:
        return value
    renamed = {names.get(name, name): child for name, child in value.items()}
    if isinstance(renamed.get("payment_method"), dict):
        renamed["payment_method"] = {_METHOD.get(name, name): child for name, child in renamed["payment_method"].items()}
    return renamed

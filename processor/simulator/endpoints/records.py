"""Transactions, users and billing. Pure but for the state given.

Sources: Didit, "Transactions", "Users", "Billing".
"""

from __future__ import annotations

import random
import uuid
from typing import Any

from processor.simulator.config import Switches
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.sessions import Sessions
from processor.simulator.timestamps import iso

_CATEGORIES = (
    "finance",
    "kyc",
    "travel_rule",
    "user_event",
    "audit_trail_event",
    "gambling_deposit",
    "gambling_withdrawal",
    "gambling_bet",
)
_TRANSACTION_ID_CHARS_MAX = 128
_TOP_UP_MIN = 50
_USER_STATUSES = ("ACTIVE", "FLAGGED", "BLOCKED")
_REQUIRED = ["This field is required."]
_CHECKOUTS_MAX = 10_000


class RecordEndpoints:
    """The routes of transactions, users and billing."""

    def __init__(self, sessions: Sessions, switches: Switches, rng: random.Random) -> None:
        self._sessions = sessions
        self._switches = switches
        self._rng = rng
        self._transactions: dict[tuple[str, str], dict[str, Any]] = {}  # by application and the caller's id
        self._flagged: set[str] = set()
        self.checkouts: dict[str, tuple[Any, int]] = {}  # checkout id -> organization and dollars; a control route pays it

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "transaction.create": self._create_transaction,
            "transaction.list": self._list_transactions,
            "transaction.get": self._transaction,
            "user.get": self._user,
            "user.update_status": self._update_user,
            "billing.balance": self._balance,
            "billing.top_up": self._top_up,
        }

    def _create_transaction(self, request: ApiRequest) -> ApiResponse:
        """A duplicate is a 400, or by a switch the existing one. Amounts from 10 000 are reviewed."""
        error = _transaction_error(request.body)
        if error is not None:
            return ApiResponse(400, error)
        caller, body = request.caller, request.json_body
        key = (caller.uuid, body["transaction_id"])
        existing = self._transactions.get(key)
        if existing is not None:
            if self._switches.transaction_duplicate == 400:  # noqa: PLR2004 - a switch
                return ApiResponse(400, {"transaction_id": ["A transaction with this transaction_id already exists."]})
            return ApiResponse(201, existing)
        large = not caller.sandbox and _amount(body) >= 10_000  # noqa: PLR2004 - docs/simulator.md
        document = {
            "uuid": self._uuid(),
            "environment": caller.environment,
            "transaction_number": len(self._transactions) + 1,
            "txn_id": body["transaction_id"],
            "status": "IN_REVIEW" if large else "APPROVED",
            "score": 60 if large else 0,
            "severity": "MEDIUM" if large else "LOW",
            "decision_reason_code": "AMOUNT_ABOVE_LIMIT" if large else None,
            "rule_runs": [],
            "provider_results": [],
            "created_at": iso(request.now),
        }
        self._transactions[key] = document
        return ApiResponse(201, document, acted=True)

    def _list_transactions(self, request: ApiRequest) -> ApiResponse:
        rows = [row for (application, _), row in self._transactions.items() if application == request.caller.uuid]
        return ApiResponse(200, {"count": len(rows), "next": None, "previous": None, "results": rows[::-1]})

    def _transaction(self, request: ApiRequest) -> ApiResponse:
        for (application, _), row in self._transactions.items():
            if application == request.caller.uuid and row["uuid"] == request.match["name"]:
                return ApiResponse(200, row)
        return ApiResponse(404, {"detail": "Not found."})

    def _user(self, request: ApiRequest) -> ApiResponse:
        vendor_data = request.match["name"]
        sessions = list(self._sessions.by_application(request.caller, vendor_data))
        if not sessions and vendor_data not in self._sessions.blocked_users | self._flagged:
            return ApiResponse(404, {"detail": "Not found."})
        return ApiResponse(200, {"vendor_data": vendor_data, "status": self._user_status(vendor_data), "session_count": len(sessions)})

    def _update_user(self, request: ApiRequest) -> ApiResponse:
        """Blocked users cannot get new sessions."""
        vendor_data, status = request.match["name"], request.json_body.get("status")
        if status not in _USER_STATUSES:
            return ApiResponse(400, {"status": [f'"{status}" is not a valid choice.'] if status is not None else _REQUIRED})
        for name, users in (("BLOCKED", self._sessions.blocked_users), ("FLAGGED", self._flagged)):
            (users.add if status == name else users.discard)(vendor_data)
        return ApiResponse(200, {"vendor_data": vendor_data, "status": status}, acted=True)

    def _user_status(self, vendor_data: str) -> str:
        if vendor_data in self._sessions.blocked_users:
            return "BLOCKED"
        return "FLAGGED" if vendor_data in self._flagged else "ACTIVE"

    def _balance(self, request: ApiRequest) -> ApiResponse:
        document = {
            "balance": f"{request.caller.organization.credits:.4f}",
            "auto_refill_enabled": False,
            "auto_refill_amount": None,
            "auto_refill_threshold": None,
        }
        return ApiResponse(200, document)

    def _top_up(self, request: ApiRequest) -> ApiResponse:
        """Make a checkout; the credits arrive when a control route pays it."""
        amount = request.json_body.get("amount_in_dollars")
        if not isinstance(amount, int | float) or isinstance(amount, bool):
            return ApiResponse(400, ["amount_in_dollars is required and must be a number."])
        if amount < _TOP_UP_MIN:
            return ApiResponse(400, [f"The minimum top up amount is ${_TOP_UP_MIN}."])
        if len(self.checkouts) >= _CHECKOUTS_MAX:
            return ApiResponse(500, {"detail": "The simulator holds as many checkouts as it may."})
        checkout = f"cs_sim_{self._uuid()}"
        self.checkouts[checkout] = (request.caller.organization, int(amount))
        document = {"checkout_session_id": checkout, "checkout_session_url": f"https://checkout.stripe.com/c/pay/{checkout}"}
        return ApiResponse(200, document, acted=True)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _transaction_error(body: Any) -> Any:
    if not isinstance(body, dict):
        return {"detail": "JSON parse error"}
    missing = {
        name: _REQUIRED
        for name in ("transaction_id", "transaction_category", "transaction_details", "subject")
        if body.get(name) in (None, "")
    }
    if missing:
        return missing
    if not isinstance(body["transaction_id"], str) or len(body["transaction_id"]) > _TRANSACTION_ID_CHARS_MAX:
        return {"transaction_id": [f"Ensure this field has no more than {_TRANSACTION_ID_CHARS_MAX} characters."]}
    if body["transaction_category"] not in _CATEGORIES:
        return {"transaction_category": [f'"{body["transaction_category"]}" is not a valid choice.']}
    if not isinstance(body["transaction_details"], dict) or _amount(body) < 0:
        return {"transaction_details": {"amount": ["A valid number is required."]}}
    return None


def _amount(body: dict[str, Any]) -> float:
    """The amount of a transaction; -1 if it is not a number."""
    try:
        return float(body["transaction_details"].get("amount", 0))
    except (TypeError, ValueError):
        return -1.0

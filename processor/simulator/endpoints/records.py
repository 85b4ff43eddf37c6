"""Beside sessions: transactions, users, money. Pure but for the state it is given.

Sources: Didit, "Transactions", "Users", "Billing".
"""

from __future__ import annotations

import random
import uuid
from typing import Any

from processor.simulator.config import Switches
from processor.simulator.messages import Asked, Handler, Told
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
    """The routes over transactions, users and money."""

    def __init__(self, sessions: Sessions, switches: Switches, rng: random.Random) -> None:
        self._sessions, self._switches, self._rng = sessions, switches, rng
        self._transactions: dict[tuple[str, str], dict[str, Any]] = {}  # by application and the caller's id
        self._flagged: set[str] = set()
        self.checkouts: dict[str, tuple[Any, int]] = {}  # organization and dollars, by checkout; paid by a control route

    def handlers(self) -> dict[str, Handler]:
        """By route."""
        return {
            "transaction.create": self._transact,
            "transaction.list": self._transactions_of,
            "transaction.get": self._transaction,
            "user.get": self._user,
            "user.update_status": self._update_user,
            "billing.balance": self._balance,
            "billing.top_up": self._top_up,
        }

    def _transact(self, asked: Asked) -> Told:
        """A duplicate is a 400, or the first one, as the switch says. An amount of 10 000 and more is reviewed."""
        fault = _transaction_fault(asked.body)
        if fault is not None:
            return Told(400, fault)
        caller, body = asked.caller, asked.document
        key = (caller.uuid, body["transaction_id"])
        known = self._transactions.get(key)
        if known is not None:
            if self._switches.transaction_duplicate == 400:  # noqa: PLR2004 - a switch
                return Told(400, {"transaction_id": ["A transaction with this transaction_id already exists."]})
            return Told(201, known)
        large = not caller.sandbox and _amount(body) >= 10_000  # noqa: PLR2004 - docs/simulator.md
        answer = {
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
            "created_at": iso(asked.now),
        }
        self._transactions[key] = answer
        return Told(201, answer, acted=True)

    def _transactions_of(self, asked: Asked) -> Told:
        rows = [row for (application, _), row in self._transactions.items() if application == asked.caller.uuid]
        return Told(200, {"count": len(rows), "next": None, "previous": None, "results": rows[::-1]})

    def _transaction(self, asked: Asked) -> Told:
        for (application, _), row in self._transactions.items():
            if application == asked.caller.uuid and row["uuid"] == asked.match["name"]:
                return Told(200, row)
        return Told(404, {"detail": "Not found."})

    def _user(self, asked: Asked) -> Told:
        vendor_data = asked.match["name"]
        sessions = list(self._sessions.of(asked.caller, vendor_data))
        if not sessions and vendor_data not in self._sessions.blocked | self._flagged:
            return Told(404, {"detail": "Not found."})
        return Told(200, {"vendor_data": vendor_data, "status": self._status_of(vendor_data), "session_count": len(sessions)})

    def _update_user(self, asked: Asked) -> Told:
        """Who is blocked gets no session any more."""
        vendor_data, status = asked.match["name"], asked.document.get("status")
        if status not in _USER_STATUSES:
            return Told(400, {"status": [f'"{status}" is not a valid choice.'] if status is not None else _REQUIRED})
        for named, kept in (("BLOCKED", self._sessions.blocked), ("FLAGGED", self._flagged)):
            (kept.add if status == named else kept.discard)(vendor_data)
        return Told(200, {"vendor_data": vendor_data, "status": status}, acted=True)

    def _status_of(self, vendor_data: str) -> str:
        if vendor_data in self._sessions.blocked:
            return "BLOCKED"
        return "FLAGGED" if vendor_data in self._flagged else "ACTIVE"

    def _balance(self, asked: Asked) -> Told:
        answer = {
            "balance": f"{asked.caller.organization.credits:.4f}",
            "auto_refill_enabled": False,
            "auto_refill_amount": None,
            "auto_refill_threshold": None,
        }
        return Told(200, answer)

    def _top_up(self, asked: Asked) -> Told:
        """A place to pay; the money arrives when a control route pays."""
        amount = asked.document.get("amount_in_dollars")
        if not isinstance(amount, int | float) or isinstance(amount, bool):
            return Told(400, ["amount_in_dollars is required and must be a number."])
        if amount < _TOP_UP_MIN:
            return Told(400, [f"The minimum top up amount is ${_TOP_UP_MIN}."])
        if len(self.checkouts) >= _CHECKOUTS_MAX:
            return Told(500, {"detail": "The simulator holds as many checkouts as it may."})
        checkout = f"cs_sim_{self._uuid()}"
        self.checkouts[checkout] = (asked.caller.organization, int(amount))
        answer = {"checkout_session_id": checkout, "checkout_session_url": f"https://checkout.stripe.com/c/pay/{checkout}"}
        return Told(200, answer, acted=True)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _transaction_fault(body: Any) -> Any:
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
    """Of the transaction; -1 if it is no number."""
    try:
        return float(body["transaction_details"].get("amount", 0))
    except (TypeError, ValueError):
        return -1.0

"""Users and billing. Pure but for the state given.

Sources: Didit, "Users", "Billing".
"""

from __future__ import annotations

import random
import uuid
from typing import Any

from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.sessions import Sessions

_TOP_UP_MIN = 50
_USER_STATUSES = ("ACTIVE", "FLAGGED", "BLOCKED")
_REQUIRED = ["This field is required."]
_CHECKOUTS_MAX = 10_000


class RecordEndpoints:
    """The routes of users and billing."""

    def __init__(self, sessions: Sessions, rng: random.Random) -> None:
        self._sessions = sessions
        self._rng = rng
        self._flagged: set[str] = set()
        self.checkouts: dict[str, tuple[Any, int]] = {}  # checkout id -> organization and dollars; a control route pays it

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "user.get": self._user,
            "user.update_status": self._update_user,
            "billing.balance": self._balance,
            "billing.top_up": self._top_up,
        }

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

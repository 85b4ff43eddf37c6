"""Billing. Pure but for the state given (Didit, "Billing")."""

from __future__ import annotations

import random
from typing import Any

from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.random_ids import random_uuid

_TOP_UP_MIN = 50
_CHECKOUTS_MAX = 10_000


class RecordEndpoints:
    """The routes of billing."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.checkouts: dict[str, tuple[Any, int]] = {}  # checkout id -> organization and dollars; a control route pays it

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "billing.balance": self._balance,
            "billing.top_up": self._top_up,
        }

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
        checkout = f"cs_sim_{random_uuid(self._rng)}"
        self.checkouts[checkout] = (request.caller.organization, int(amount))
        document = {"checkout_session_id": checkout, "checkout_session_url": f"https://checkout.stripe.com/c/pay/{checkout}"}
        return ApiResponse(200, document, acted=True)

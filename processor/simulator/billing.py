"""What an operation costs: the caller pays, and the ledger has an entry. Pure but for the state given (Didit, "Sandbox testing")."""

from __future__ import annotations

from processor.simulator.ledger import Ledger
from processor.simulator.messages import ApiRequest, ApiResponse
from processor.simulator.validation import NO_CREDITS, SUSPENDED


def unpayable(request: ApiRequest) -> ApiResponse | None:
    """The refusal of a call that would be billed, and that the caller's organization cannot pay; None if it can.

    The pages "API errors" and "API keys" say so of every call; those of transactions and wallet screening say only that they are billed.
    A suspended contract is documented for new sessions, as "paid services are paused": strictly read, for these too.
    """
    if request.caller.is_suspended:
        return ApiResponse(403, SUSPENDED)
    return None if request.caller.can_pay else ApiResponse(403, {"error": NO_CREDITS})


def bill(ledger: Ledger, request: ApiRequest, operation: str, request_id: str, *, credit_count: int = 1) -> None:
    """Charge the caller for an operation that ran, and enter it in the ledger with what was paid: nothing by a sandbox."""
    ledger.add_check(
        {
            "operation": operation,
            "at": request.now,
            "reference": request.reference,
            "key": request.key,
            "request_id": request_id,
            "credits": request.caller.charge(credit_count),
            "environment": request.caller.environment,
        }
    )

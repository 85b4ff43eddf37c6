"""What an operation costs: the caller pays, and the ledger has an entry. Pure but for the state given (Didit, "Sandbox testing")."""

from __future__ import annotations

from processor.simulator.ledger import Ledger
from processor.simulator.messages import ApiRequest


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

"""After a check of unknown fate: has it been made, and with which result? Pure.

Didit keeps a check as a session of type API, or a business session, whose decision has our request id in its metadata (OpenAPI 3.0.0,
"List sessions", "Get decision", and ``save_api_request`` of each check). How soon the list shows it is not documented:
``VP_DIDIT__READ_LAG_S``.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from processor.contract.records import Hop, Request
from processor.didit.calls import HttpCall, check_detail_call, check_list_call, check_proof_call
from processor.didit.catalog import CheckTrace, Idempotency, Operation
from processor.didit.reconcile import is_of, made_since, names_person, session_rows

ADOPTED_KEY = "vp_adopted"  # our member of the result of a check that was looked up
_INSPECT_MAX = 10
_NOT_DONE = "Not Finished"  # no service answered, nothing is billed (OpenAPI, "Database validation")


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """The lookup does not tell the result. ``took_place``: but that the check was made."""

    took_place: bool


def idempotency_of(operation: Operation, request: Request) -> Idempotency:
    """What may be done about a call of unknown fate: a check that Didit was asked not to keep leaves no trace."""
    kept = operation.trace is None or request.input.get("save_api_request") is not False
    return operation.idempotency if kept else Idempotency.SINGLE


def check_lookup(operation: Operation, trace: CheckTrace, request: Request, hop: Hop) -> Generator[HttpCall, Any, Any]:
    """Look for the check of a request.

    That there is no trace is believed only if the list shows any check of this kind at all: a key that may not see them sees none.

    Yields:
        Calls that read; the answer to each is sent in, None if the session is not shown.

    Returns:
        What the check answered, as far as its decision tells; None if it was not made; or ``Inconclusive``.
    """
    listed = yield check_list_call(trace, request, hop)
    rows = [row for row in session_rows(listed) if made_since(row, hop)]
    wanted = request.input.get("vendor_data")
    ours = [row["session_id"] for row in rows if names_person(row, wanted) and row.get("status") != _NOT_DONE]
    cut = isinstance(listed, dict) and listed.get("next") is not None and len(rows) == len(session_rows(listed))
    if cut or len(ours) > _INSPECT_MAX:
        return Inconclusive(took_place=False)
    found = hidden = False
    for session_id in reversed(ours):  # the list is newest first
        detail = yield check_detail_call(session_id, request, hop)
        hidden = hidden or detail is None
        if is_of(detail, request):
            found = True
            if (output := _as_answered(detail, operation, trace)) is not None:
                return output
    if found or hidden:  # what was deleted since, or is listed before it is shown, may have been ours
        return Inconclusive(took_place=found)
    if not session_rows(listed) and not session_rows((yield check_proof_call(trace, request, hop))):
        return Inconclusive(took_place=False)
    return None


def _as_answered(detail: dict[str, Any], operation: Operation, trace: CheckTrace) -> dict[str, Any] | None:
    """A decision in the shape of the check's own answer; None if it has no result (yet)."""
    result = _result(detail, trace)
    return result and {
        "request_id": detail.get("session_id"),
        operation.answer: result,
        "vendor_data": detail.get("vendor_data"),
        "metadata": detail.get("metadata"),
        "created_at": detail.get("created_at"),
        ADOPTED_KEY: True,
    }


def _result(detail: dict[str, Any], trace: CheckTrace) -> dict[str, Any] | None:
    reports = detail.get(trace.reports)
    report = reports[0] if isinstance(reports, list) and reports else None
    if not isinstance(report, dict):
        return None
    if trace.of_company:
        company = report.get("company")
        return company if isinstance(company, dict) and isinstance(company.get("status"), str) else None
    if not isinstance(report.get("status"), str) or report["status"] == _NOT_DONE:
        return None
    return {name: value for name, value in report.items() if name != "node_id"}

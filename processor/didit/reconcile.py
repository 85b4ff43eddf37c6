"""After a create of unknown fate: has it left a session? Pure.

Didit offers no idempotency key for session creation and advises to list by ``vendor_data`` first (Didit, "API errors").
If nothing is found, creating again is harmless while a first session is unfinished: Didit then returns that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from processor.contract.records import Hop, Request
from processor.didit.calls import REQUEST_ID_KEY, vendor_data

# What is done with a session that the lookup finds, by its status. Sources: Didit, "Verification statuses" (what may follow a status)
# and "Create session" (an unfinished session of the same person is handed out again, every other one is not). A session in a status
# that is not here is adopted: to make a second one might be billed.
_USABLE: Mapping[str, bool] = MappingProxyType(
    {
        "Not Started": True,  # the link works
        "In Progress": True,
        "Awaiting User": True,
        "Resubmitted": True,
        "In Review": True,  # the person has done their part, and the decision is this request's
        "Approved": True,
        "Declined": True,
        "Kyc Expired": False,  # an approval that is too old
        "Expired": False,  # never opened in time: nothing follows
        "Abandoned": False,  # opened, not finished in time: the link is dead, only an operator can decide
    }
)
_CLOCKS_MS = 60_000  # Didit's clock may be behind ours by so much
_INSPECT_MAX = 5


@dataclass(frozen=True, slots=True)
class Adopt:
    """The session is there; ``output`` has the shape of a create's answer."""

    output: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Inspect:
    """These sessions may be it; their metadata says."""

    session_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CreateAgain:
    """No trace of a session."""


def review_list(listed: Any, request: Request, hop: Hop) -> Adopt | Inspect | CreateAgain:
    """Judge the answer of ``list_call``: only usable sessions made since the doubt began, of this person, can be ours."""
    rows = listed.get("results") if isinstance(listed, dict) else None
    since_ms = (hop.doubt_ms if hop.doubt_ms is not None else hop.first_ms) - _CLOCKS_MS
    wanted = vendor_data(request)
    candidates = [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
        and row.get("vendor_data") == wanted
        and isinstance(row.get("session_id"), str)
        and _epoch_ms(row.get("created_at")) >= since_ms
        and is_usable(row.get("status"))
    ]
    if not candidates:
        return CreateAgain()
    if wanted == request.request_id:  # nobody else uses it
        return Adopt(_as_created(candidates[-1], request))  # the list is newest first; ours was the first
    return Inspect(tuple(row["session_id"] for row in candidates[:_INSPECT_MAX]))


def adopt_inspected(detail: Any, request: Request) -> Adopt | None:
    """The session if its metadata names this request, and it can still be used."""
    metadata = detail.get("metadata") if isinstance(detail, dict) else None
    if isinstance(metadata, dict) and metadata.get(REQUEST_ID_KEY) == request.request_id and is_usable(detail.get("status")):
        return Adopt(_as_created(detail, request))
    return None


def is_usable(status: Any) -> bool:
    """Whether a session in this status can lead to a decision for whoever gets its link, or has one."""
    return not isinstance(status, str) or _USABLE.get(status, True)


def _as_created(session: dict[str, Any], request: Request) -> dict[str, Any]:
    url = session.get("session_url") or session.get("url") or ""
    token = str(url).rstrip("/").rsplit("/", 1)[-1] or None
    return {
        "session_id": session["session_id"],
        "session_number": session.get("session_number"),
        "session_token": token,
        "url": url,
        "vendor_data": session.get("vendor_data"),
        "metadata": session.get("metadata"),
        "status": session.get("status"),
        "workflow_id": session.get("workflow_id") or request.input["workflow_id"],
        "callback": session.get("callback"),
    }


def _epoch_ms(text: Any) -> int:
    """Epoch ms of an ISO 8601 time; far in the future if it cannot be read, so that the candidate is looked at."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return 2**62
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)

"""After a create of unknown fate: has it left a session? Pure.

Didit offers no idempotency key for session creation and advises to list by ``vendor_data`` first (Didit, "API errors").
If nothing is found, creating again is harmless while a first session is unfinished: Didit then returns that one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from processor.contract.records import Hop, Request
from processor.contract.times import moment_of
from processor.didit.calls import REQUEST_ID_KEY, HttpCall, detail_call, list_call, vendor_data

# Sessions that are over, from Didit, "Verification statuses" and "Create session" (an unfinished session of the same person is handed out
# again, every other one is not). What is not here is adopted: a second session might be billed.
_NEVER_OPENED = frozenset({"Expired"})  # nobody has used the link and nothing follows: a new one costs nothing twice
_OPENED_AND_OVER = frozenset({"Kyc Expired", "Abandoned"})  # checks may have run: only a redrive, somebody's wish, pays for another one
CLOCKS_MS = 60_000  # Didit's clock may be behind ours by so much
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


def session_lookup(request: Request, hop: Hop) -> Generator[HttpCall, Any, dict[str, Any] | None]:
    """The session that a create of this request has made; see ``lookups.Lookup``."""
    finding = review_list((yield list_call(request, hop)), request, hop)
    for session_id in finding.session_ids if isinstance(finding, Inspect) else ():
        detail = yield detail_call(session_id, request, hop)  # None if it was deleted since it was listed
        if (adopted := adopt_inspected(detail, request, hop)) is not None:
            return adopted.output
    return finding.output if isinstance(finding, Adopt) else None


def session_rows(listed: Any) -> list[dict[str, Any]]:
    """The sessions of a list, as answered by ``session.list``."""
    rows = listed.get("results") if isinstance(listed, dict) else None
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("session_id"), str)] if isinstance(rows, list) else []


def is_of(detail: Any, request: Request) -> bool:
    """Whether the metadata of a session names this request."""
    metadata = detail.get("metadata") if isinstance(detail, dict) else None
    return isinstance(metadata, dict) and metadata.get(REQUEST_ID_KEY) == request.request_id


def made_since(row: dict[str, Any], hop: Hop) -> bool:
    """Whether a row of a list was made since the doubt began."""
    return _epoch_ms(row.get("created_at")) >= hop.called_since_ms - CLOCKS_MS


def names_person(row: dict[str, Any], wanted: str | None) -> bool:
    """Whether a row of a list is of this person, or of nobody if none is wanted.

    White space around an id says nothing: Didit does not document whether it keeps it, and its framework trims what it is sent.
    """
    named = row.get("vendor_data")
    return (named.strip() if isinstance(named, str) else "") == (wanted or "").strip()


def review_list(listed: Any, request: Request, hop: Hop) -> Adopt | Inspect | CreateAgain:
    """Judge the answer of ``list_call``: only sessions made since the doubt began, of this person, that are of use can be ours."""
    wanted = vendor_data(request)
    candidates = [
        row for row in session_rows(listed) if names_person(row, wanted) and made_since(row, hop) and is_adopted(row.get("status"), hop)
    ]
    if not candidates:
        return CreateAgain()
    candidates.reverse()  # the list is newest first; ours was the first
    if wanted == request.request_id == candidates[0].get("vendor_data"):  # nobody else uses it
        return Adopt(_as_created(candidates[0], request))
    return Inspect(tuple(row["session_id"] for row in candidates[:_INSPECT_MAX]))


def adopt_inspected(detail: Any, request: Request, hop: Hop) -> Adopt | None:
    """The session if its metadata names this request, and it is of use."""
    if is_of(detail, request) and is_adopted(detail.get("status"), hop):
        return Adopt(_as_created(detail, request))
    return None


def is_adopted(status: Any, hop: Hop) -> bool:
    """Whether a session in this status is taken as the one of the request; else another one is made."""
    return not isinstance(status, str) or not (status in _NEVER_OPENED or (hop.replay and status in _OPENED_AND_OVER))


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
    moment = moment_of(text)
    return 2**62 if moment is None else int(moment.timestamp() * 1000)

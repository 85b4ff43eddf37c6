"""What each route does once it is admitted: status, body, and the session it touched. Pure but for the state it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from processor.simulator.checks import Checked, Checks
from processor.simulator.config import Switches
from processor.simulator.decisions import decision, list_row
from processor.simulator.ledger import Ledger
from processor.simulator.sessions import UPDATABLE, Session, Sessions
from processor.simulator.validation import create_fault, list_fault, update_fault

_PAGE = 50
_PAGE_MAX = 200


@dataclass(slots=True)
class Asked:
    """One admitted call."""

    match: re.Match[str]
    query: Mapping[str, str]
    body: Any
    now: float
    base_url: str
    key: str
    session: Session | None
    reference: str | None
    idempotency_key: str | None  # None where the route takes none


@dataclass(slots=True)
class Told:
    """The answer; ``body`` None has none."""

    status: int
    body: Any
    session_id: str | None = None
    acted: bool = False
    headers: dict[str, str] | None = None


class Endpoints:
    """All routes over one application's state."""

    def __init__(self, sessions: Sessions, checks: Checks, ledger: Ledger, switches: Switches, sessions_max: int) -> None:
        self.sessions, self.checks, self._ledger, self._switches, self._sessions_max = sessions, checks, ledger, switches, sessions_max

    def begin(self, asked: Asked) -> Told | None:
        """An admitted call begins; an answer if it is not to be made."""
        found = self.checks.begin_keyed(asked.key, asked.idempotency_key, asked.body)
        return _told(found) if found is not None else None

    def end(self, asked: Asked) -> None:
        """A call that has begun is over, whatever became of it."""
        self.checks.end_keyed(asked.key, asked.idempotency_key)

    def answer(self, name: str, asked: Asked) -> Told:
        """Dispatch by the route's name."""
        handlers = {
            "session.create": self._create,
            "session.decision": self._decision,
            "session.list": self._list,
            "session.update_status": self._update_status,
            "session.delete": self._delete,
            "aml": self._aml,
            "email.send": self._email_send,
        }
        return handlers[name](asked)

    def _create(self, asked: Asked) -> Told:
        fault = create_fault(asked.body, self.sessions.blocked, self.sessions.credits)
        if fault is not None:
            return Told(400, fault)
        if len(self.sessions) >= self._sessions_max:
            return Told(500, {"detail": "The simulator holds as many sessions as it may."})
        session, new = self.sessions.create(asked.body, asked.now)
        metadata = session.metadata if isinstance(session.metadata, dict) else {}
        entry = {
            "session_id": session.session_id,
            "created_at": asked.now,
            "vendor_data": session.vendor_data,
            "workflow_id": session.workflow_id,
            "request_id": metadata.get("vp_request_id"),
            "key": asked.key,
        }
        (self._ledger.created if new else self._ledger.returned)(entry)
        return Told(201, session.created_body(), session.session_id, acted=True)

    def _aml(self, asked: Asked) -> Told:
        return self._checked("aml", asked, self.checks.aml(asked.key, asked.idempotency_key, asked.body, self.sessions.credits, asked.now))

    def _email_send(self, asked: Asked) -> Told:
        return self._checked("email.send", asked, self.checks.email_send(asked.body, self.sessions.credits, asked.now))

    def _checked(self, operation: str, asked: Asked, found: Checked) -> Told:
        if found.billed is not None:
            self.sessions.credits -= 1
            self._ledger.checked({"operation": operation, "at": asked.now, "reference": asked.reference, "key": asked.key, **found.billed})
        return _told(found)

    def _decision(self, asked: Asked) -> Told:
        session = _known(asked)
        events = "events" in asked.query.get("include", "").split(",")
        return Told(200, decision(session, asked.match["version"], events=events), session.session_id)

    def _list(self, asked: Asked) -> Told:
        fault = list_fault(asked.query)
        if fault is not None:
            return Told(400, fault)
        rows = self.sessions.listed(lambda s: _matches(s, asked.query), asked.now) if asked.query.get("session_kind") != "business" else []
        limit = _number(asked.query.get("limit"), _PAGE, _PAGE_MAX)
        offset = _number(asked.query.get("offset"), 0, 10**9)
        page = rows[offset : offset + limit]
        body = {
            "count": len(rows),
            "next": _page(asked, limit, offset + limit) if offset + limit < len(rows) else None,
            "previous": _page(asked, limit, max(0, offset - limit)) if offset > 0 else None,
            "results": [list_row(session) for session in page],
        }
        return Told(200, body)

    def _update_status(self, asked: Asked) -> Told:
        session = _known(asked)
        if session.status not in UPDATABLE:
            allowed = "Approved, Declined, In Review, Kyc Expired, Abandoned or Resubmitted"
            return Told(400, {"detail": f"Only sessions with status {allowed} can be updated. Current status: {session.status}"})
        fault = update_fault(asked.body)
        if fault is not None:
            return Told(400, fault)
        if asked.body["new_status"] == session.status:
            if self._switches.same_status_update == 400:  # noqa: PLR2004 - a switch
                return Told(400, ["The new status is the same as the current status."])
            return Told(200, {"session_id": session.session_id}, session.session_id)
        session.status, session.changed_at = asked.body["new_status"], asked.now
        review = {"user": "api", "new_status": session.status, "comment": asked.body.get("comment"), "created_at": asked.now}
        session.reviews.append(review)
        return Told(200, {"session_id": session.session_id}, session.session_id, acted=True)

    def _delete(self, asked: Asked) -> Told:
        session = _known(asked)
        self.sessions.delete(session)
        body = {
            "session_id": session.session_id,
            "session_number": session.session_number,
            "face_retention_outcome": "none",
            "biometric_template_uuid": None,
        }
        status = self._switches.delete_status
        return Told(status, body if status == 200 else None, session.session_id, acted=True)  # noqa: PLR2004 - a switch


def _told(found: Checked) -> Told:
    headers = {"Retry-After": str(found.retry_after_s)} if found.retry_after_s is not None else None
    return Told(found.status, found.body, acted=found.billed is not None, headers=headers)


def _known(asked: Asked) -> Session:
    if asked.session is None:
        raise LookupError("the application looks sessions up before it admits a call")
    return asked.session


def _matches(session: Session, query: Mapping[str, str]) -> bool:
    created = datetime.fromtimestamp(session.created_at, UTC).date().isoformat()
    return (
        ("vendor_data" not in query or session.vendor_data == query["vendor_data"])
        and ("workflow_id" not in query or session.workflow_id in query["workflow_id"].split(","))
        and ("status" not in query or session.status in query["status"].split(","))
        and ("date_from" not in query or created >= query["date_from"])
        and ("date_to" not in query or created <= query["date_to"])
    )


def _number(text: str | None, default: int, most: int) -> int:
    return min(int(text), most) if text is not None and text.isdigit() else default


def _page(asked: Asked, limit: int, offset: int) -> str:
    return f"{asked.base_url}/v3/sessions/?{urlencode({**asked.query, 'limit': str(limit), 'offset': str(offset)})}"

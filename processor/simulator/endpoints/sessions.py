"""Sessions: create, read, list, delete, report. Pure but for the state it is given (Didit, the pages of "Sessions API")."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from processor.simulator.config import Config
from processor.simulator.decisions import country_of, decision, list_row, session_type
from processor.simulator.ledger import Ledger
from processor.simulator.messages import Asked, Handler, Told
from processor.simulator.report import pdf
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.validation import SUSPENDED, create_fault, list_fault

_PAGE = 50
_PAGE_MAX = 200
_DAY_S = 86_400.0
_SANDBOX_CREATES_MAX = 500  # in any 24 hours
_REPORTED = frozenset({"Approved", "Declined", "In Review", "Kyc Expired"})


class SessionEndpoints:
    """The routes over sessions."""

    def __init__(self, sessions: Sessions, ledger: Ledger, config: Config) -> None:
        self._sessions, self._ledger, self._config = sessions, ledger, config
        self._sandbox_creates: dict[str, deque[float]] = {}
        self.workflows = config.workflows

    def handlers(self) -> dict[str, Handler]:
        """By route."""
        return {
            "session.create": self._create,
            "session.decision": self._decision,
            "session.list": self._list,
            "session.delete": self._delete,
            "sessions.delete": self._delete_many,
            "session.pdf": self._pdf,
        }

    def _create(self, asked: Asked) -> Told:
        caller = asked.caller
        if caller.sandbox and (refused := self._over_quota(caller.uuid, asked.now)) is not None:
            return refused
        if caller.organization.suspended:
            return Told(403, SUSPENDED)
        fault = create_fault(asked.body, caller, self._sessions.blocked, self.workflows)
        if fault is not None:
            return Told(400, fault)
        if len(self._sessions) >= self._config.sessions_max:
            return Told(500, {"detail": "The simulator holds as many sessions as it may."})
        session, new = self._sessions.create(caller, asked.body, asked.now)
        metadata = session.metadata if isinstance(session.metadata, dict) else {}
        entry = {
            "session_id": session.session_id,
            "created_at": asked.now,
            "vendor_data": session.vendor_data,
            "workflow_id": session.workflow_id,
            "request_id": metadata.get("vp_request_id"),
            "key": asked.key,
            "environment": caller.environment,
        }
        (self._ledger.created if new else self._ledger.returned)(entry)
        return Told(201, session.created_body(), session.session_id, acted=True)

    def _over_quota(self, application: str, now: float) -> Told | None:
        """The refusal of a sandbox that has had its creates; else this call is one of them."""
        creates = self._sandbox_creates.setdefault(application, deque())
        while creates and creates[0] <= now - _DAY_S:
            creates.popleft()
        if len(creates) < _SANDBOX_CREATES_MAX:
            creates.append(now)
            return None
        wait_s = max(1, round(creates[0] + _DAY_S - now))
        text = "Sandbox session quota exceeded (500 sessions per 24h). Wait for the window to reset."
        return Told(429, {"detail": f"{text} Expected available in {wait_s} seconds."}, headers={"Retry-After": str(wait_s)})

    def _decision(self, asked: Asked) -> Told:
        events = "events" in asked.query.get("include", "").split(",")
        empty = self._config.switches.absent_features == "empty"
        return Told(200, decision(asked.known, asked.match["version"], events=events, empty=empty), asked.known.session_id)

    def _list(self, asked: Asked) -> Told:
        fault = list_fault(asked.query)
        if fault is not None:
            return Told(400, fault)
        rows: list[Session] = []
        if asked.query.get("session_kind") != "business":
            rows = self._sessions.listed(asked.caller, asked.query.get("vendor_data"), lambda s: _matches(s, asked.query), asked.now)
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

    def _delete(self, asked: Asked) -> Told:
        session = asked.known
        if session.held:
            return Told(503, {"detail": "The session could not be deleted. Nothing was deleted; please retry."}, session.session_id)
        self._sessions.delete(session)
        status = self._config.switches.delete_status
        body = _deleted(session) if status == 200 else None  # noqa: PLR2004 - a switch
        return Told(status, body, session.session_id, acted=True)

    def _delete_many(self, asked: Asked) -> Told:
        """Unknown numbers are skipped; what cannot be deleted now is named."""
        body = asked.document
        numbers = body.get("session_numbers")
        if body.get("delete_all") is True:
            chosen = list(self._sessions.of(asked.caller))
        elif not isinstance(numbers, list):
            return Told(400, {"session_numbers": ["This field is required unless delete_all is true."]})
        else:
            wanted = {str(number) for number in numbers}
            chosen = [session for session in self._sessions.of(asked.caller) if str(session.session_number) in wanted]
        results = []
        for session in chosen:
            if not session.held:
                self._sessions.delete(session)
            results.append({**_deleted(session), "status": "failed_retryable" if session.held else "deleted"})
        status = self._config.switches.delete_status
        return Told(status, {"results": results} if status == 200 else None, acted=bool(results))  # noqa: PLR2004 - a switch

    def _pdf(self, asked: Asked) -> Told:
        session = asked.known
        if session.status not in _REPORTED:
            return Told(403, {"detail": "You can only generate a PDF for sessions in review, declined, approved or kyc expired"})
        lines = [f"Session {session.session_id}", f"Number {session.session_number}", f"Status {session.status}"]
        headers = {"Content-Disposition": f'attachment; filename="session_{session.session_id}.pdf"'}
        return Told(200, pdf(lines), session.session_id, headers=headers, content_type="application/pdf")


def _deleted(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "session_number": session.session_number,
        "face_retention_outcome": "none" if session.vendor_data is not None else "ineligible_no_vendor_user",
        "biometric_template_uuid": None,
    }


def _matches(session: Session, query: Mapping[str, str]) -> bool:
    created = datetime.fromtimestamp(session.created_at, UTC).date().isoformat()
    return (
        ("workflow_id" not in query or session.workflow_id in query["workflow_id"].split(","))
        and ("status" not in query or session.status in query["status"].split(","))
        and ("country" not in query or country_of(session) in query["country"].split(","))
        and ("session_type" not in query or session_type(session) in query["session_type"].split(","))
        and ("date_from" not in query or created >= query["date_from"])
        and ("date_to" not in query or created <= query["date_to"])
    )


def _number(text: str | None, default: int, most: int) -> int:
    return min(int(text), most) if text is not None and text.isdigit() else default


def _page(asked: Asked, limit: int, offset: int) -> str:
    return f"{asked.base_url}/v3/sessions/?{urlencode({**asked.query, 'limit': str(limit), 'offset': str(offset)})}"

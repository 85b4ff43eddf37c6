"""Sessions: create, read, list, delete, report. Pure but for the state given (Didit, the pages of "Sessions API")."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from processor.simulator.config import Config
from processor.simulator.decisions import country_of, decision, list_row, session_type
from processor.simulator.features import V1_DEFAULT, V1_FEATURES
from processor.simulator.ledger import Ledger
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.pages import page_response
from processor.simulator.report import pdf
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.statuses import SETTLED
from processor.simulator.validation import NO_CREDITS, NO_PERMISSION, SUSPENDED, create_error, delete_error, delete_many_error, list_error
from processor.simulator.workflows import Workflows

_DAY_S = 86_400.0
_SANDBOX_CREATES_MAX = 500  # in any 24 hours


class SessionEndpoints:
    """The routes of sessions."""

    def __init__(self, sessions: Sessions, workflows: Workflows, ledger: Ledger, config: Config) -> None:
        self._sessions = sessions
        self._workflows = workflows
        self._ledger = ledger
        self._config = config
        self._sandbox_creates: dict[str, deque[float]] = {}

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "session.create": self._create,
            "session.create_v1": self._create_v1,
            "session.decision": self._decision,
            "session.list": self._list,
            "session.delete": self._delete,
            "session.delete_many": self._delete_many,
            "session.pdf": self._pdf,
        }

    def _create(self, request: ApiRequest) -> ApiResponse:
        caller = request.caller
        if caller.sandbox and (rejection := self._over_quota(caller.uuid, request.now)) is not None:
            return rejection
        if caller.is_suspended:
            return ApiResponse(403, SUSPENDED)
        error = create_error(request.body, caller, self._sessions.blocked_users(caller), self._workflows)
        if error is not None:
            return ApiResponse(400, error)
        if request.body["workflow_id"] in caller.forbidden_workflows:
            return ApiResponse(403, NO_PERMISSION)
        if len(self._sessions) >= self._config.sessions_max:
            return ApiResponse(500, {"detail": "The simulator holds as many sessions as it may."})
        session, new = self._sessions.create(caller, request.body, request.now)
        self._enter(request, session, new=new)
        return ApiResponse(201, session.create_body(), session.session_id, acted=True)

    def _create_v1(self, request: ApiRequest) -> ApiResponse:
        """By features instead of a workflow; nothing is reused (Didit, "Create Session" of January 2025)."""
        caller, body = request.caller, request.json_body
        if caller.sandbox and (rejection := self._over_quota(caller.uuid, request.now)) is not None:
            return rejection
        if caller.is_suspended:
            return ApiResponse(403, SUSPENDED)
        chosen = str(body.get("features", V1_DEFAULT))
        if chosen not in V1_FEATURES:
            return ApiResponse(400, {"features": [f'"{chosen}" is not a valid choice.']})
        if not caller.can_pay:
            return ApiResponse(400, {"detail": NO_CREDITS})
        session = self._sessions.create_v1(caller, V1_FEATURES[chosen], body, request.now)
        self._enter(request, session, new=True)
        document = {"session_id": session.session_id, "session_token": session.token, "url": session.url}
        return ApiResponse(201, document, session.session_id, acted=True)

    def _enter(self, request: ApiRequest, session: Session, *, new: bool) -> None:
        """In the ledger; a new one of a sandbox counts in its quota, which is one of sessions (OpenAPI), not of calls."""
        if new and request.caller.sandbox:
            self._sandbox_creates[request.caller.uuid].append(request.now)
        metadata = session.metadata if isinstance(session.metadata, dict) else {}
        entry = {
            "session_id": session.session_id,
            "created_at": request.now,
            "vendor_data": session.vendor_data,
            "workflow_id": session.workflow_id,
            "request_id": metadata.get("vp_request_id"),
            "key": request.key,
            "environment": request.caller.environment,
        }
        (self._ledger.add_session if new else self._ledger.add_reused_session)(entry)

    def _over_quota(self, application: str, now: float) -> ApiResponse | None:
        """The 429 of a sandbox that has made as many sessions in the past 24 hours as it may; None if it has not."""
        creates = self._sandbox_creates.setdefault(application, deque())
        while creates and creates[0] <= now - _DAY_S:
            creates.popleft()
        if len(creates) < _SANDBOX_CREATES_MAX:
            return None
        wait_s = max(1, round(creates[0] + _DAY_S - now))
        text = "Sandbox session quota exceeded (500 sessions per 24h). Wait for the window to reset."
        return ApiResponse(429, {"detail": f"{text} Expected available in {wait_s} seconds."}, headers={"Retry-After": str(wait_s)})

    def _decision(self, request: ApiRequest) -> ApiResponse:
        events = "events" in request.query.get("include", "").split(",")
        empty = self._config.switches.absent_features == "empty"
        session = request.target_session
        return ApiResponse(200, decision(session, request.match["version"], events=events, empty=empty), session.session_id)

    def _list(self, request: ApiRequest) -> ApiResponse:
        error = list_error(request.query)
        if error is not None:
            return ApiResponse(400, error)
        kind = request.query.get("session_kind", "user").lower()
        rows = self._sessions.search(
            request.caller,
            request.query.get("vendor_data"),
            lambda s: kind in {"all", s.kind} and _matches(s, request.query),
            request.now,
        )
        return page_response(request, rows, list_row, limit_min=0)

    def _delete(self, request: ApiRequest) -> ApiResponse:
        session = request.target_session
        if (error := delete_error(request.body)) is not None:
            return ApiResponse(400, error, session.session_id)
        if session.held:
            return ApiResponse(503, {"detail": "The session could not be deleted. Nothing was deleted; please retry."}, session.session_id)
        self._sessions.delete(session)
        status = self._config.switches.delete_status
        body = _deletion(session, request.json_body) if status == 200 else None  # noqa: PLR2004 - a switch
        return ApiResponse(status, body, session.session_id, acted=True)

    def _delete_many(self, request: ApiRequest) -> ApiResponse:
        """Unknown numbers are skipped; sessions that cannot be deleted now are in the results as failed."""
        body = request.json_body
        if (error := delete_many_error(body)) is not None:
            return ApiResponse(400, error)
        sessions = self._sessions.by_application(request.caller)
        numbers = set(map(str, body.get("session_numbers") or ()))
        chosen = [one for one in sessions if body.get("delete_all") is True or str(one.session_number) in numbers]
        results = []
        for session in chosen:
            if not session.held:
                self._sessions.delete(session)
            outcome = {"face_retention_outcome": "failed_retryable"} if session.held else {}
            results.append(_deletion(session, body) | outcome)
        status = self._config.switches.delete_status
        return ApiResponse(status, {"results": results} if status == 200 else None, acted=bool(results))  # noqa: PLR2004 - a switch

    def _pdf(self, request: ApiRequest) -> ApiResponse:
        session = request.target_session
        if session.status not in SETTLED:
            return ApiResponse(403, {"detail": "You can only generate a PDF for sessions in review, declined, approved or kyc expired"})
        lines = [f"Session {session.session_id}", f"Number {session.session_number}", f"Status {session.status}"]
        headers = {"Content-Disposition": f'attachment; filename="session_{session.session_id}.pdf"'}
        return ApiResponse(200, pdf(lines), session.session_id, headers=headers, content_type="application/pdf")


def _deletion(session: Session, body: dict[str, Any]) -> dict[str, Any]:
    retained = body.get("retain_face_embeddings") is True
    return {
        "session_id": session.session_id,
        "session_number": session.session_number,
        "face_retention_outcome": _retention(session, retain=retained),
        "biometric_template_uuid": session.session_id if retained and session.vendor_data is not None else None,
    }


def _retention(session: Session, *, retain: bool) -> str:
    """What becomes of the face: there is one once a session is settled."""
    if session.status not in SETTLED:
        return "none"
    if not retain:
        return "deleted"
    return "retained_with_user" if session.vendor_data is not None else "ineligible_no_vendor_user"


def _matches(session: Session, query: Mapping[str, str]) -> bool:
    created = datetime.fromtimestamp(session.created_at, UTC).date().isoformat()
    return (
        ("workflow_id" not in query or session.workflow_id in query["workflow_id"].split(","))
        and ("status" not in query or session.status in query["status"].split(","))
        and ("country" not in query or country_of(session) in query["country"].split(","))
        and ("api_service" not in query or session.service == query["api_service"])
        and ("session_type" not in query or session_type(session) in query["session_type"].split(","))
        and ("date_from" not in query or created >= query["date_from"])
        and ("date_to" not in query or created <= query["date_to"])
    )

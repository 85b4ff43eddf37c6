"""Sharing sessions between applications. Pure but for the state given (Didit, "Share session", "Import shared session")."""

from __future__ import annotations

from typing import Any

from processor.simulator.applications import ApplicationDirectory
from processor.simulator.decisions import decision
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.tokens import sign, verified_claims
from processor.simulator.validation import REQUIRED, is_uuid
from processor.simulator.workflows import Workflows

_FINISHED = frozenset({"Approved", "Declined", "In Review"})
_TTL_S, _TTL_S_MIN, _TTL_S_MAX = 3600, 60, 86_400


class SharingEndpoints:
    """The routes of sharing and importing."""

    def __init__(self, sessions: Sessions, directory: ApplicationDirectory, secret: str, workflows: Workflows) -> None:
        self._sessions = sessions
        self._directory = directory
        self._secret = secret
        self._workflows = workflows
        self._imported: set[tuple[str, str]] = set()  # session id and the application that imported it

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {"session.share": self._share, "session.import_shared": self._import}

    def _share(self, request: ApiRequest) -> ApiResponse:
        session, body = request.target_session, request.json_body
        if session.status not in _FINISHED:
            return ApiResponse(400, {"detail": ['Only finished sessions ("Approved", "Declined", "In Review") can be shared.']})
        target, ttl_s = body.get("for_application_id"), body.get("ttl_in_seconds", _TTL_S)
        error = self._share_error(request.caller.uuid, target, ttl_s)
        if error is not None:
            return ApiResponse(400, error)
        claims = {
            "session_id": session.session_id,
            "from_application_id": request.caller.uuid,
            "for_application_id": target,
            "iat": int(request.now),
            "exp": int(request.now) + ttl_s,
        }
        document = {"share_token": sign(claims, self._secret), "for_application_id": target, "session_kind": "user"}
        return ApiResponse(200, document, session.session_id, acted=True)

    def _share_error(self, own: str, target: Any, ttl_s: Any) -> Any:
        if target is None:
            return {"for_application_id": REQUIRED}
        if target == own:
            return {"for_application_id": ["Cannot share a session with the same application."]}
        if not isinstance(target, str) or self._directory.get(target) is None:
            return {"for_application_id": ["Target application does not exist."]}
        if not isinstance(ttl_s, int) or isinstance(ttl_s, bool):
            return {"ttl_in_seconds": ["A valid integer is required."]}
        if ttl_s < _TTL_S_MIN:
            return {"ttl_in_seconds": [f"Ensure this value is greater than or equal to {_TTL_S_MIN}."]}
        return {"ttl_in_seconds": [f"Ensure this value is less than or equal to {_TTL_S_MAX}."]} if ttl_s > _TTL_S_MAX else None

    def _import(self, request: ApiRequest) -> ApiResponse:
        body, caller = request.json_body, request.caller
        error = self._import_error(body, caller.uuid, request.now)
        if error is not None:
            return ApiResponse(400, error)
        original = self._original(body["share_token"], request.now)
        if original is None:
            return ApiResponse(400, {"share_token": ["Original session does not exist."]})
        if not is_uuid(body["workflow_id"]) or not self._workflows.may_use(body["workflow_id"], caller):
            return ApiResponse(404, {"detail": "Workflow does not exist for this application."})
        pair = (original.session_id, caller.uuid)
        if pair in self._imported:
            return ApiResponse(403, {"detail": "This session has already been shared with your application."})
        self._imported.add(pair)
        session = self._sessions.store_import(caller, original, body, request.now)
        document = {**decision(session, "v3"), "shared_from_session": original.session_id}
        return ApiResponse(201, document, session.session_id, acted=True)

    def _import_error(self, body: dict[str, Any], own: str, now: float) -> Any:
        missing = {name: REQUIRED for name in ("share_token", "trust_review", "workflow_id") if name not in body}
        if missing:
            return missing
        if not isinstance(body["trust_review"], bool):
            return {"trust_review": ["Must be a valid boolean."]}
        error = _token_error(verified_claims(body["share_token"], self._secret), own, now)
        return {"share_token": [error]} if error is not None else None

    def _original(self, token: str, now: float) -> Session | None:
        claims = verified_claims(token, self._secret)
        return self._sessions.get(claims["session_id"], now) if claims is not None else None


def _token_error(claims: dict[str, Any] | None, own: str, now: float) -> str | None:
    if claims is None or not isinstance(claims.get("session_id"), str):
        return "Invalid share token."
    if claims.get("exp", 0) <= now:
        return "Share token has expired."
    return "This token is not valid for this application." if claims.get("for_application_id") != own else None

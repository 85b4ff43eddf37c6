"""Sessions handed from one application to another. Pure but for the state it is given (Didit, "Share session", "Import shared session")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from processor.simulator.applications import Directory
from processor.simulator.decisions import decision
from processor.simulator.messages import Asked, Handler, Told
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.tokens import claims_of, signed
from processor.simulator.validation import is_uuid

_FINISHED = frozenset({"Approved", "Declined", "In Review"})
_TTL_S, _TTL_S_MIN, _TTL_S_MAX = 3600, 60, 86_400
_REQUIRED = ["This field is required."]


class SharingEndpoints:
    """Both ends of sharing."""

    def __init__(self, sessions: Sessions, directory: Directory, secret: str, workflows: Callable[[], frozenset[str] | None]) -> None:
        self._sessions, self._directory, self._secret, self._workflows = sessions, directory, secret, workflows
        self._imported: set[tuple[str, str]] = set()  # session and application it was shared with

    def handlers(self) -> dict[str, Handler]:
        """By route."""
        return {"session.share": self._share, "session.import_shared": self._import}

    def _share(self, asked: Asked) -> Told:
        session, body = asked.known, asked.document
        if session.status not in _FINISHED:
            return Told(400, {"detail": ['Only finished sessions ("Approved", "Declined", "In Review") can be shared.']})
        target, ttl_s = body.get("for_application_id"), body.get("ttl_in_seconds", _TTL_S)
        fault = self._share_fault(asked.caller.uuid, target, ttl_s)
        if fault is not None:
            return Told(400, fault)
        claims = {
            "session_id": session.session_id,
            "from_application_id": asked.caller.uuid,
            "for_application_id": target,
            "iat": int(asked.now),
            "exp": int(asked.now) + ttl_s,
        }
        answer = {"share_token": signed(claims, self._secret), "for_application_id": target, "session_kind": "user"}
        return Told(200, answer, session.session_id, acted=True)

    def _share_fault(self, own: str, target: Any, ttl_s: Any) -> Any:
        if target is None:
            return {"for_application_id": _REQUIRED}
        if target == own:
            return {"for_application_id": ["Cannot share a session with the same application."]}
        if not isinstance(target, str) or self._directory.get(target) is None:
            return {"for_application_id": ["Target application does not exist."]}
        if not isinstance(ttl_s, int) or isinstance(ttl_s, bool):
            return {"ttl_in_seconds": ["A valid integer is required."]}
        if ttl_s < _TTL_S_MIN:
            return {"ttl_in_seconds": [f"Ensure this value is greater than or equal to {_TTL_S_MIN}."]}
        return {"ttl_in_seconds": [f"Ensure this value is less than or equal to {_TTL_S_MAX}."]} if ttl_s > _TTL_S_MAX else None

    def _import(self, asked: Asked) -> Told:
        body, caller = asked.document, asked.caller
        fault = self._import_fault(body, caller.uuid, asked.now)
        if fault is not None:
            return Told(400, fault)
        original = self._original(body["share_token"], asked.now)
        if original is None:
            return Told(400, {"share_token": ["Original session does not exist."]})
        known = self._workflows()
        if not is_uuid(body["workflow_id"]) or (known is not None and body["workflow_id"] not in known):
            return Told(404, {"detail": "Workflow does not exist for this application."})
        pair = (original.session_id, caller.uuid)
        if pair in self._imported:
            return Told(403, {"detail": "This session has already been shared with your application."})
        self._imported.add(pair)
        session = self._sessions.store_import(caller, original, body, asked.now)
        answer = {**decision(session, "v3"), "shared_from_session": original.session_id}
        return Told(201, answer, session.session_id, acted=True)

    def _import_fault(self, body: dict[str, Any], own: str, now: float) -> Any:
        missing = {name: _REQUIRED for name in ("share_token", "trust_review", "workflow_id") if name not in body}
        if missing:
            return missing
        if not isinstance(body["trust_review"], bool):
            return {"trust_review": ["Must be a valid boolean."]}
        fault = _token_fault(claims_of(body["share_token"], self._secret), own, now)
        return {"share_token": [fault]} if fault is not None else None

    def _original(self, token: str, now: float) -> Session | None:
        claims = claims_of(token, self._secret)
        return self._sessions.get(claims["session_id"], now) if claims is not None else None


def _token_fault(claims: dict[str, Any] | None, own: str, now: float) -> str | None:
    if claims is None or not isinstance(claims.get("session_id"), str):
        return "Invalid share token."
    if claims.get("exp", 0) <= now:
        return "Share token has expired."
    return "This token is not valid for this application." if claims.get("for_application_id") != own else None

"""Users: those of sessions with ``vendor_data``, and those that were created. Pure but for the state given (Didit, "Users")."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.pages import page_response
from processor.simulator.random_ids import random_uuid
from processor.simulator.session import Session
from processor.simulator.sessions import Sessions
from processor.simulator.timestamps import iso
from processor.simulator.validation import REQUIRED, date_error, is_uuid

_STATUSES = ("ACTIVE", "FLAGGED", "BLOCKED")
_BAD_STATUS = {"status": ["Invalid status. Valid options are: ACTIVE, FLAGGED, BLOCKED"]}
_LENGTHS = {"full_name": 512, "display_name": 255}
_STORED = ("full_name", "display_name", "date_of_birth", "metadata", "approved_emails", "approved_phones", "issuing_states")
_USERS_MAX = 1_000_000


@dataclass(slots=True, eq=False)
class _User:
    internal_id: str
    vendor_data: str
    created_at: float
    changed_at: float
    status: str = "ACTIVE"
    stored: dict[str, Any] = field(default_factory=dict)  # as the caller gave it
    comments: list[dict[str, Any]] = field(default_factory=list)


class UserEndpoints:
    """The routes of users."""

    def __init__(self, sessions: Sessions, rng: random.Random) -> None:
        self._sessions = sessions
        self._rng = rng
        self._users: dict[tuple[str, str], _User] = {}  # by application and vendor_data
        self._deleted: dict[tuple[str, str], float] = {}  # when; older sessions bring the user back no more

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "user.list": self._list,
            "user.create": self._create,
            "user.get": self._get,
            "user.update": self._update,
            "user.update_status": self._update_status,
            "user.delete": self._delete,
        }

    def _list(self, request: ApiRequest) -> ApiResponse:
        """Newest session first; those without one come last."""
        caller = request.caller
        for session in self._sessions.by_application(caller):
            if session.vendor_data is not None:
                self._find(caller, session.vendor_data)
        rows = [(user, self._of(caller, user)) for (app, _), user in self._users.items() if app == caller.uuid]
        rows.sort(key=lambda row: -max((session.created_at for session in row[1]), default=0.0))
        return page_response(request, rows, lambda row: self._row(row[0], row[1]))

    def _create(self, request: ApiRequest) -> ApiResponse:
        body, caller = request.json_body, request.caller
        vendor_data = body.get("vendor_data")
        if not isinstance(vendor_data, str) or not vendor_data:
            return ApiResponse(400, {"vendor_data": REQUIRED})
        if (fault := _fault(body, _BAD_STATUS)) is not None:
            return ApiResponse(400, fault)
        if self._find(caller, vendor_data) is not None:
            return ApiResponse(400, {"vendor_data": ["A user with this vendor_data already exists."]})
        if len(self._users) >= _USERS_MAX:
            return ApiResponse(500, {"detail": "The simulator holds as many users as it may."})
        user = self._add(caller, vendor_data, request.now)
        user.stored = {name: body[name] for name in _STORED if name in body}
        self._set_status(caller, user, body.get("status", "ACTIVE"), request.now)
        return ApiResponse(201, self._detail(caller, user), acted=True)

    def _get(self, request: ApiRequest) -> ApiResponse:
        user = self._find(request.caller, request.match["name"])
        return ApiResponse(200, self._detail(request.caller, user)) if user is not None else NOT_FOUND

    def _update(self, request: ApiRequest) -> ApiResponse:
        """Neither the blocklist nor the history hears of a status that is set here."""
        user, body = self._find(request.caller, request.match["name"]), request.json_body
        if user is None:
            return NOT_FOUND
        if (fault := _fault(body, {"status": [f'"{body.get("status")}" is not a valid choice.']})) is not None:
            return ApiResponse(400, fault)
        user.stored |= {name: body[name] for name in _STORED if name in body}
        user.status, user.changed_at = body.get("status", user.status), request.now
        return ApiResponse(200, self._detail(request.caller, user), acted=True)

    def _update_status(self, request: ApiRequest) -> ApiResponse:
        """Blocked users cannot get new sessions."""
        user, status = self._find(request.caller, request.match["name"]), request.json_body.get("status")
        if user is None:
            return NOT_FOUND
        if status not in _STATUSES:
            return ApiResponse(400, _BAD_STATUS if status is not None else {"status": REQUIRED})
        changed = status != user.status
        if changed:
            user.comments.insert(0, self._change(user.status, status, request.now))
        self._set_status(request.caller, user, status, request.now)
        return ApiResponse(200, self._detail(request.caller, user), acted=changed)

    def _delete(self, request: ApiRequest) -> ApiResponse:
        body, caller = request.json_body, request.caller
        if any(name.startswith("filter_") for name in body):
            return ApiResponse(400, ["Filters are not supported here. Provide vendor_data_list or set delete_all=true."])
        vendors, ids = body.get("vendor_data_list") or [], body.get("didit_internal_id_list") or []
        if not isinstance(vendors, list) or not isinstance(ids, list):
            return ApiResponse(400, ["vendor_data_list and didit_internal_id_list must be lists."])
        if not all(map(is_uuid, ids)):
            return ApiResponse(400, {"didit_internal_id_list": ["Must be a valid UUID."]})
        if body.get("delete_all") is not True and not vendors and not ids:
            return ApiResponse(400, ["Provide vendor_data_list or set delete_all=true."])
        for vendor_data in vendors:
            self._find(caller, str(vendor_data))
        chosen = [
            key
            for key, user in self._users.items()
            if key[0] == caller.uuid and (body.get("delete_all") is True or user.vendor_data in vendors or user.internal_id in ids)
        ]
        for key in chosen:
            del self._users[key]
            self._deleted[key] = request.now
        return ApiResponse(200, {"deleted": len(chosen)}, acted=bool(chosen))

    def _find(self, caller: Application, vendor_data: str) -> _User | None:
        """A user that is known, or that a session makes known."""
        user = self._users.get((caller.uuid, vendor_data))
        if user is not None:
            return user
        deleted_at = self._deleted.get((caller.uuid, vendor_data), 0.0)
        created = [session.created_at for session in self._sessions.by_application(caller, vendor_data)]
        first = min((at for at in created if at > deleted_at), default=None)
        return self._add(caller, vendor_data, first) if first is not None else None

    def _add(self, caller: Application, vendor_data: str, now: float) -> _User:
        user = _User(random_uuid(self._rng), vendor_data, now, now)
        user.status = "BLOCKED" if vendor_data in self._sessions.blocked_users(caller) else "ACTIVE"
        self._users[caller.uuid, vendor_data] = user
        return user

    def _set_status(self, caller: Application, user: _User, status: str, now: float) -> None:
        user.status, user.changed_at = status, now
        blocked = self._sessions.blocked_users(caller)
        (blocked.add if status == "BLOCKED" else blocked.discard)(user.vendor_data)

    def _change(self, before: str, after: str, now: float) -> dict[str, Any]:
        return {
            "uuid": random_uuid(self._rng),
            "comment_type": "STATUS_CHANGED",
            "comment": None,
            "actor_email": None,
            "actor_name": "API Client",
            "previous_status": before,
            "new_status": after,
            "previous_value": {"status": before},
            "new_value": {"status": after},
            "changed_fields": ["status"],
            "metadata": None,
            "mentioned_emails": [],
            "created_at": iso(now),
        }

    def _of(self, caller: Application, user: _User) -> list[Session]:
        return self._sessions.by_application(caller, user.vendor_data)

    def _detail(self, caller: Application, user: _User) -> dict[str, Any]:
        more = {"metadata": user.stored.get("metadata") or {}, "comments": user.comments, "updated_at": iso(user.changed_at)}
        return self._row(user, self._of(caller, user)) | more

    def _row(self, user: _User, sessions: list[Session]) -> dict[str, Any]:
        created = [session.created_at for session in sessions]
        stored = user.stored
        return {
            "didit_internal_id": user.internal_id,
            "vendor_data": user.vendor_data,
            "display_name": stored.get("display_name"),
            "full_name": stored.get("full_name"),
            "date_of_birth": stored.get("date_of_birth"),
            "effective_name": stored.get("display_name") or stored.get("full_name"),
            "status": user.status,
            "portrait_image_url": None,
            "session_count": len(sessions),
            **{
                f"{word}_count": sum(session.status == status for session in sessions)
                for word, status in (("approved", "Approved"), ("declined", "Declined"), ("in_review", "In Review"))
            },
            **{name: stored.get(name, []) for name in ("issuing_states", "approved_emails", "approved_phones")},
            "features": {},
            "features_list": [],
            "last_session_at": iso(max(created)) if created else None,
            "first_session_at": iso(min(created)) if created else None,
            "last_activity_at": iso(max(user.changed_at, *created, 0.0)),
            "tags": [],
            "created_at": iso(user.created_at),
        }


def _fault(body: dict[str, Any], bad_status: dict[str, Any]) -> dict[str, Any] | None:
    """What the page documents against the members of a user; None if nothing."""
    if body.get("status", "ACTIVE") not in _STATUSES:
        return bad_status
    if body.get("metadata") is not None and not isinstance(body["metadata"], dict):
        return {"metadata": ["Metadata must be a JSON object."]}
    if body.get("date_of_birth") is not None and (wrong := date_error(body["date_of_birth"])) is not None:
        return {"date_of_birth": wrong}
    for name, most in _LENGTHS.items():
        if len(str(body.get(name) or "")) > most:
            return {name: [f"Ensure this field has no more than {most} characters."]}
    for name in ("approved_emails", "approved_phones", "issuing_states"):
        if not isinstance(body.get(name, []), list):
            return {name: ['Expected a list of items but got type "str".']}
    return None

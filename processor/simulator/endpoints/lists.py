"""Blocklists, allowlists and their entries. Pure but for the state given (Didit, "Lists API").

Its pages give no texts of errors, and do not say what becomes of a value that a list has already: here it is refused.
"""

from __future__ import annotations

import ipaddress
import random
import re
from dataclasses import dataclass, field
from typing import Any

from processor.simulator.decisions import decision
from processor.simulator.member_rules import EMAIL
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.pages import page_response
from processor.simulator.random_ids import random_uuid
from processor.simulator.sessions import Sessions
from processor.simulator.timestamps import iso
from processor.simulator.validation import REQUIRED, is_uuid

_BLOCKED = ("face", "document", "phone", "email", "ip_address", "device_fingerprint", "wallet_address", "bank_account", "user", "business")
_ENTRY_TYPES = (*_BLOCKED, "country", "key")
_PAGE = 25
_ENTRIES_MAX = 1_000_000
_LISTS_MAX = 1000
_ORDERINGS = ("created_at", "entry_count", "last_entry_added_at")
_FORMS = {
    "email": EMAIL,
    "phone": re.compile(r"\+[1-9][0-9]{6,14}"),
    "device_fingerprint": re.compile(r"[A-Za-z0-9_:.-]{8,}"),
    "country": re.compile(r"[A-Za-z]{3}"),
}
_CASED = frozenset({"user", "business", "face"})  # others are stored in one case


@dataclass(slots=True, eq=False)
class _List:
    uuid: str
    name: str
    list_type: str
    entry_type: str
    created_at: float
    description: str = ""
    is_system: bool = False
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)  # by uuid

    def row(self) -> dict[str, Any]:
        """As lists and creates show it."""
        added = max((entry["created_at"] for entry in self.entries.values()), default=None)
        return {
            **{name: getattr(self, name) for name in ("uuid", "name", "description", "list_type", "entry_type", "is_system")},
            "entry_count": len(self.entries),
            "last_entry_added_at": added,
            "created_at": iso(self.created_at),
            "updated_at": added or iso(self.created_at),
        }


class ListEndpoints:
    """The routes of lists and their entries; each application has a blocklist of each kind from the start."""

    def __init__(self, sessions: Sessions, rng: random.Random) -> None:
        self._sessions = sessions
        self._rng = rng
        self._lists: dict[str, dict[str, _List]] = {}  # by application and uuid

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "list.list": self._list,
            "list.create": self._create,
            "list.entries": self._entries,
            "list.add_entry": self._add_entry,
            "list.delete_entry": self._delete_entry,
        }

    def _list(self, request: ApiRequest) -> ApiResponse:
        kinds = {name: request.query[name] for name in ("list_type", "entry_type") if name in request.query}
        rows = [one.row() for one in self._of(request).values()]
        chosen = [row for row in rows if all(row[name] == kind for name, kind in kinds.items())]
        ordering = request.query.get("ordering", "")
        if (name := ordering.removeprefix("-")) in _ORDERINGS:
            chosen.sort(key=lambda row: row[name] or "" if name != "entry_count" else row[name], reverse=ordering.startswith("-"))
        return page_response(request, chosen, lambda row: row, size=_PAGE)

    def _create(self, request: ApiRequest) -> ApiResponse:
        body, lists = request.json_body, self._of(request)
        if missing := {name: REQUIRED for name in ("name", "list_type", "entry_type") if not body.get(name)}:
            return ApiResponse(400, missing)
        for name, known in (("list_type", ("allowlist", "custom")), ("entry_type", _ENTRY_TYPES)):
            if body[name] not in known:
                return ApiResponse(400, {name: [f'"{body[name]}" is not a valid choice.']})
        if any(one.name == body["name"] for one in lists.values()):
            return ApiResponse(400, {"name": ["A list with this name already exists."]})
        if len(lists) >= _LISTS_MAX:
            return ApiResponse(500, {"detail": "The simulator holds as many lists as it may."})
        made = _List(
            random_uuid(self._rng), str(body["name"]), body["list_type"], body["entry_type"], request.now, str(body.get("description", ""))
        )
        lists[made.uuid] = made
        return ApiResponse(201, made.row(), acted=True)

    def _entries(self, request: ApiRequest) -> ApiResponse:
        found = self._named(request)
        if found is None:
            return NOT_FOUND
        words = request.query.get("search", "").lower()
        rows = [entry for entry in found.entries.values() if words in f"{entry['value']} {entry['display_label']}".lower()]
        return page_response(request, rows[::-1], lambda row: row, size=_PAGE)

    def _add_entry(self, request: ApiRequest) -> ApiResponse:
        """By value, or from a session; a user on the blocklist cannot get new sessions."""
        found, body = self._named(request), request.json_body
        if found is None:
            return NOT_FOUND
        value, error = self._value(request, found.entry_type)
        if error is None and any(entry["value"] == value for entry in found.entries.values()):
            error = {"value": ["This value already exists in the list."]}
        if error is not None:
            return ApiResponse(400, error)
        if len(found.entries) >= _ENTRIES_MAX:
            return ApiResponse(500, {"detail": "The simulator holds as many entries as it may."})
        entry = self._entry(value, "api", request.now) | {
            name: body[name]
            for name in ("display_label", "comment", "reference_session_id", "reference_object_uuid", "metadata")
            if name in body
        }
        found.entries[entry["uuid"]] = entry
        if found.is_system and found.entry_type == "user":
            self._sessions.blocked_users(request.caller).add(value)
        return ApiResponse(201, entry, acted=True)

    def _delete_entry(self, request: ApiRequest) -> ApiResponse:
        found = self._named(request)
        entry = found.entries.pop(request.match["entry"], None) if found is not None else None
        if found is None or entry is None:
            return NOT_FOUND
        if found.is_system and found.entry_type == "user":
            self._sessions.blocked_users(request.caller).discard(entry["value"])
        return ApiResponse(204, None, acted=True)

    def _value(self, request: ApiRequest, kind: str) -> tuple[str, dict[str, Any] | None]:
        """The value to add, and what is wrong with it."""
        body = request.json_body
        value = body.get("value")
        if body.get("reference_session_id") is not None:
            return self._of_session(request, kind)
        if not isinstance(value, str) or not value.strip():
            return "", {"value": ["This field is required unless reference_session_id is provided."]}
        if not _has_form(kind, value):
            return "", {"value": [f"Enter a valid {kind}."]}
        if kind in _CASED:
            return value, None
        return value.upper() if kind == "country" else value.lower(), None

    def _of_session(self, request: ApiRequest, kind: str) -> tuple[str, dict[str, Any] | None]:
        reference = request.json_body["reference_session_id"]
        session = self._sessions.get(reference, request.now) if is_uuid(reference) else None
        if session is None or session.application is not request.caller:
            return "", {"reference_session_id": ["Session not found."]}
        document = (decision(session, "v3")["id_verifications"] or [{}])[0]
        value = document.get("document_number") if kind == "document" else session.session_id if kind == "face" and document else None
        if value is None:
            return "", {"reference_session_id": [f"The session has no data of type {kind}."]}
        return str(value).lower(), None

    def _named(self, request: ApiRequest) -> _List | None:
        return self._of(request).get(request.match["name"])

    def _of(self, request: ApiRequest) -> dict[str, _List]:
        """The lists of the caller; the blocklist of users follows who is blocked."""
        lists = self._lists.setdefault(request.caller.uuid, {})
        for kind in () if lists else _BLOCKED:
            name = f"{kind.replace('_', ' ').capitalize()} Blocklist"
            made = _List(random_uuid(self._rng), name, "blocklist", kind, request.now, is_system=True)
            lists[made.uuid] = made
        users = next(one for one in lists.values() if one.is_system and one.entry_type == "user")
        blocked = self._sessions.blocked_users(request.caller)
        users.entries = {key: entry for key, entry in users.entries.items() if entry["value"] in blocked}
        for vendor_data in sorted(blocked - {entry["value"] for entry in users.entries.values()}):
            entry = self._entry(vendor_data, "system", request.now)
            users.entries[entry["uuid"]] = entry
        return lists

    def _entry(self, value: str, added_by: str, now: float) -> dict[str, Any]:
        return {
            "uuid": random_uuid(self._rng),
            "value": value,
            "display_label": "",
            "comment": "",
            "added_by": added_by,
            "reference_session_id": None,
            "reference_session_number": None,
            "reference_object_uuid": None,
            "metadata": None,
            "created_at": iso(now),
        }


def _has_form(kind: str, value: str) -> bool:
    if kind == "ip_address":
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            return False
        return True
    return kind not in _FORMS or _FORMS[kind].fullmatch(value) is not None

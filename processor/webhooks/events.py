"""A verified webhook to a record of the events topic; ``schemas/event.v1.json`` describes its value. Pure.

The envelope says what every reader needs; the payload is the signed text itself. Unknown statuses and types pass as they are:
Didit adds some now and then, and only a reader knows what they mean to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from processor.contract.strict_json import dumps
from processor.webhooks.signatures import Verified

_TEXT_CHARS_MAX = 1024
_REQUEST_ID_CHARS_MAX = 128
_SESSION_TYPES = frozenset({"status.updated", "data.updated"})
_STATUS_TYPE = "status.updated"
_PER_ATTEMPT = frozenset({"event_id", "timestamp"})  # Didit may send these again with each attempt
_TYPES = _SESSION_TYPES | {
    "user.status.updated", "user.data.updated", "business.status.updated", "business.data.updated", "activity.created",
    "transaction.created", "transaction.status.updated", "travel_rule.status.updated",
}  # fmt: skip
_STATUSES = frozenset({
    "Not Started", "In Progress", "Awaiting User", "In Review", "Approved", "Declined", "Resubmitted", "Expired", "Abandoned",
    "Kyc Expired",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the events topic.

    Attributes:
        key: the session_id; None for an event that is about no session.
        value: the envelope.
        identities: names of what happened; another delivery that shares one of them is a repetition.
        session: a short digest of the session_id, for logs.
        unfamiliar: which of ``status`` and ``webhook_type`` are in none of Didit's tables.
    """

    key: bytes | None
    value: bytes
    identities: tuple[str, ...]
    session: str
    unfamiliar: tuple[str, ...]


def build_event(verified: Verified) -> Event:
    """The record of a delivery."""
    members = verified.members
    session_id, event_id = _text(members.get("session_id")), _text(members.get("event_id"))
    meaning = semantic_key(verified)
    envelope = {
        "schema_version": 1,
        "event_id": event_id,
        "semantic_key": meaning,
        "webhook_type": _text(members.get("webhook_type")),
        "session_id": session_id,
        "status": _text(members.get("status")),
        "created_at": _time(members.get("created_at")),
        "timestamp": verified.timestamp_s,
        "vendor_data": _text(members.get("vendor_data")),
        "request_id": _request_id(members.get("metadata")),
        "verified_by": verified.variant,
        "payload": orjson.Fragment(verified.text) if verified.text is not None else None,
    }
    identities = (f"meaning {meaning}", *([f"event {event_id}"] if event_id else []))
    session = hashlib.sha256((session_id or "").encode()).hexdigest()[:8]
    return Event(session_id.encode() if session_id else None, orjson.dumps(envelope), identities, session, _unfamiliar(members))


def semantic_key(verified: Verified) -> str:
    """A digest that is the same for every delivery of the same happening, also under another ``event_id`` (Didit: it may change).

    A session's ``status.updated`` is named by session, type, status and ``created_at`` (the signed time if that is not there or not
    signed). Any other event is its content, so there the content counts too: two changes of data in one second are two events.
    """
    members = verified.members
    named = [members.get("session_id"), members.get("webhook_type"), members.get("status"), members.get("created_at")]
    if named[3] is None:
        named[3] = [verified.timestamp_s]
    if named[0] is None or named[1] != _STATUS_TYPE:
        named.append({name: content for name, content in members.items() if name not in _PER_ATTEMPT})
    return hashlib.sha256(dumps(named, ordered=True)).hexdigest()[:32]


def _unfamiliar(members: Mapping[str, Any]) -> tuple[str, ...]:
    kind, status = _text(members.get("webhook_type")), _text(members.get("status"))
    found = [] if kind in _TYPES else ["webhook_type"]
    return (*found, "status") if kind in _SESSION_TYPES and status not in _STATUSES else tuple(found)


def _text(content: object) -> str | None:
    return content if isinstance(content, str) and len(content) <= _TEXT_CHARS_MAX else None


def _time(content: object) -> int | str | None:
    """As Didit sent it, where it is text or whole seconds."""
    if isinstance(content, int) and not isinstance(content, bool):
        return content if abs(content) < 2**53 else None
    return _text(content)


def _request_id(metadata: object) -> str | None:
    found = metadata.get("vp_request_id") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= _REQUEST_ID_CHARS_MAX else None

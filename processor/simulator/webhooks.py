"""Webhooks: body, signatures and retries. Pure (Didit, "Webhooks"; signing as in Didit's WordPress plug-in).

The wire body is compact, key-sorted, ASCII-escaped JSON. ``X-Signature`` is the HMAC of these bytes. ``X-Signature-V2`` is that of
the same document with Unicode unescaped and whole floats as integers at every depth. ``X-Signature-Simple`` is that of
``timestamp:session_id:status:webhook_type``, all from the body; it protects nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, Literal

from processor.simulator.decisions import decision
from processor.simulator.session import Session

DeliveryOutcome = int | Literal["timeout", "connection_error"]  # HTTP status, or why there was no response
WITH_DECISION = frozenset({"Approved", "Declined", "In Review", "Abandoned"})
USER_AGENT = "DiditWebhook/2.0 +https://didit.me"
_RETRIED = frozenset({404, *range(500, 600)})


def envelope(session: Session, webhook_type: str, at: float, version: str, *, empty: bool = False) -> dict[str, Any]:
    """The body of an event of a session, without what differs between attempts (``with_attempt``).

    ``at`` is when it happened, epoch seconds; ``version`` and ``empty`` as in ``decision``.
    """
    body = {
        "webhook_type": webhook_type,
        "created_at": int(at),
        "application_id": session.application.uuid,
        "environment": session.application.environment,
        "session_id": session.session_id,
        "status": session.status,
        "workflow_id": session.workflow_id,
        "workflow_version": session.workflow_version,
        "vendor_data": session.vendor_data,
        "metadata": session.metadata,
    }
    if session.kind == "business":
        body |= {"session_kind": "business", "business_session_id": session.session_id, "vendor_business_id": None}
    if session.status in WITH_DECISION:
        body["decision"] = decision(session, version, empty=empty)
    if session.status == "Resubmitted":
        body["resubmit_info"] = session.resubmit_info
    return body


def with_attempt(body: dict[str, Any], event_id: str, timestamp: int) -> dict[str, Any]:
    """The body of one attempt."""
    return {**body, "event_id": event_id, "timestamp": timestamp}


def wire(document: dict[str, Any]) -> bytes:
    """The bytes that are sent."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def canonical(document: Any) -> bytes:
    """The bytes that the V2 signature covers."""
    return json.dumps(_with_short_floats(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def headers(document: dict[str, Any], secret: str, *, test: bool = False) -> dict[str, str]:
    """All headers of an attempt."""
    simple = ":".join(str(document[name]) for name in ("timestamp", "session_id", "status", "webhook_type"))
    signed = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "X-Timestamp": str(document["timestamp"]),
        "X-Signature": _mac(wire(document), secret),
        "X-Signature-V2": _mac(canonical(document), secret),
        "X-Signature-Simple": _mac(simple.encode(), secret),
    }
    return signed | {"X-Didit-Test-Webhook": "true"} if test else signed


def next_attempt_at(attempt: int, outcome: DeliveryOutcome, now: float, retry_s: tuple[float, ...]) -> float | None:
    """When to try again after attempt number ``attempt`` (from 1), epoch seconds; None: delivered, rejected, or given up.

    Retried are 5xx, 404, timeouts and connection errors; not other 4xx, and not 3xx.
    """
    retried = outcome in _RETRIED if isinstance(outcome, int) else True
    return now + retry_s[attempt - 1] if retried and attempt <= len(retry_s) else None


def _with_short_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_short_floats(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_with_short_floats(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _mac(message: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()

"""Signs webhooks as Didit does, written apart from the code under test: the tests' own second opinion.

After the signing code in Didit's WordPress plug-in: Python's ``json.dumps`` with sorted keys and whole floats as ints.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

SECRET = "whsec_unit_0123456789abcdefghijklmnopqrstuv"
NOW = 1_764_040_000


def delivery(**changes: Any) -> dict[str, Any]:
    """Members of a plain event, fresh at NOW."""
    body = {
        "application_id": "a0000000-0000-4000-8000-00000000000a",
        "created_at": NOW - 4,
        "environment": "live",
        "event_id": "e0000000-0000-4000-8000-000000000001",
        "metadata": {"vp_request_id": "req-1"},
        "session_id": "11111111-2222-4333-8444-555555555555",
        "status": "Approved",
        "timestamp": NOW,
        "vendor_data": "user-1",
        "webhook_type": "status.updated",
        "workflow_id": "b0000000-0000-4000-8000-00000000000b",
        "workflow_version": 3,
    }
    return {name: value for name, value in (body | changes).items() if value is not ...}


def shortened(value: Any) -> Any:
    """Whole floats as ints, at every depth."""
    if isinstance(value, dict):
        return {name: shortened(child) for name, child in value.items()}
    if isinstance(value, list):
        return [shortened(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def canonical(body: Any, *, escaped: bool = False) -> bytes:
    """What ``X-Signature-V2`` covers; escaped: the bytes on the wire."""
    return json.dumps(shortened(body), sort_keys=True, separators=(",", ":"), ensure_ascii=escaped).encode()


def simple(body: dict[str, Any]) -> bytes:
    """What ``X-Signature-Simple`` covers."""
    return ":".join(str(body.get(name, "")) for name in ("timestamp", "session_id", "status", "webhook_type")).encode()


def digest(text: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def signed(body: dict[str, Any], secret: str = SECRET, only: str | None = None) -> tuple[bytes, dict[str, str]]:
    """Bytes and headers of a delivery."""
    wire = canonical(body, escaped=True)
    headers = {
        "X-Signature-V2": digest(canonical(body), secret),
        "X-Signature": digest(wire, secret),
        "X-Signature-Simple": digest(simple(body), secret),
    }
    return wire, {name: value for name, value in headers.items() if only in {None, name}}

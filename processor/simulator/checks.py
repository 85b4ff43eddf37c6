"""Standalone checks: answered at once, billed one by one. Pure but for its own state; ``now`` (epoch seconds) goes in.

Sources: Didit, "AML Screening API", "Send Email Code", "API errors" (idempotency).
"""

from __future__ import annotations

import hashlib
import random
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from processor.simulator.validation import NO_CREDITS

_WEIGHTS = {"aml_name_weight": ("name", 60), "aml_dob_weight": ("dob", 25), "aml_country_weight": ("country", 15)}
_KEY_CHARS_MAX = 255
_CODE_S = 300.0  # a code lives for five minutes after its first sending
_SENDS_MAX = 2
_BUSY_S = 2
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_BUSY = {"detail": "A request with this Idempotency-Key is still running. Please retry later."}
_OTHER_BODY = {"detail": "This Idempotency-Key was used with a different request body."}
_REQUIRED = ["This field is required."]


@dataclass(slots=True)
class Checked:
    """An answer, and the check that is billed for it, if any."""

    status: int
    body: Any
    billed: dict[str, Any] | None = None
    retry_after_s: int | None = None


@dataclass(slots=True)
class _Kept:
    """What was said under an idempotency key; ``body`` None: the call is still running."""

    digest: str
    body: Any = None


@dataclass(slots=True)
class _Code:
    """A code on its way to an address."""

    request_id: str
    sent_at: float
    sends: int = 1


class Checks:
    """All standalone checks of the application."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._keys: dict[tuple[str, str], _Kept] = {}  # by application and idempotency key
        self._codes: dict[str, _Code] = {}

    def begin_keyed(self, app: str, key: str | None, raw: bytes) -> Checked | None:
        """A call with an idempotency key begins; an answer if it is not to be made."""
        if key is None:
            return None
        if len(key) > _KEY_CHARS_MAX:
            return Checked(400, {"detail": f"Idempotency-Key must be at most {_KEY_CHARS_MAX} characters."})
        digest = hashlib.sha256(raw).hexdigest()
        kept = self._keys.get((app, key))
        if kept is None:
            self._keys[app, key] = _Kept(digest)
            return None
        if kept.digest != digest:
            return Checked(409, _OTHER_BODY)
        return Checked(409, _BUSY, retry_after_s=_BUSY_S) if kept.body is None else Checked(200, kept.body)

    def end_keyed(self, app: str, key: str | None) -> None:
        """A call that has begun is over; if nothing was done, its key may be used again."""
        if key is not None and (kept := self._keys.get((app, key))) is not None and kept.body is None:
            del self._keys[app, key]

    def aml(self, app: str, key: str | None, body: Any, credits_left: int, now: float) -> Checked:
        """Screen somebody. A name with the word Hit in it has a hit with a risk score of 90."""
        fault = _aml_fault(body)
        if fault is not None:
            return Checked(400, fault)
        if credits_left <= 0:
            return Checked(403, {"error": NO_CREDITS})
        answer = {"request_id": self._uuid(), "aml": _screened(body), **_envelope(body, now)}
        if key is not None:
            self._keys[app, key].body = answer
        return Checked(200, answer, {"request_id": answer["request_id"]})

    def email_send(self, body: Any, credits_left: int, now: float) -> Checked:
        """Send a code. A second one within five minutes belongs to the first; a third one begins anew."""
        fault = _email_fault(body)
        if fault is not None:
            return Checked(400, fault)
        if credits_left <= 0:
            return Checked(403, {"error": NO_CREDITS})
        address = body["email"].lower()
        if address.endswith(".invalid"):  # RFC 2606: no such domain exists
            return Checked(200, {"request_id": self._uuid(), "status": "Undeliverable", "reason": "email_can_not_be_delivered"})
        code = self._codes.get(address)
        again = code is not None and now - code.sent_at < _CODE_S and code.sends < _SENDS_MAX
        if code is None or not again:
            code = self._codes[address] = _Code(self._uuid(), now)
        else:
            code.sends += 1
        answer = {"request_id": code.request_id, "status": "Retry" if again else "Success", "reason": None}
        return Checked(200, answer, {"request_id": code.request_id})

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _screened(body: dict[str, Any]) -> dict[str, Any]:
    hits = [{"id": "sim-hit", "match_score": 100, "risk_score": 90, "review_status": "Unreviewed"}] if "Hit" in body["full_name"] else []
    score = 90 if hits else 0
    approve, review = body.get("aml_score_approve_threshold", 80), body.get("aml_score_review_threshold", 100)
    status = "Declined" if score > review else "In Review" if score > approve else "Approved"
    return {
        "status": status,
        "total_hits": len(hits),
        "entity_type": body.get("entity_type", "person"),
        "hits": hits,
        "score": score,
        "screened_data": {name: body.get(name) for name in ("full_name", "date_of_birth", "nationality", "document_number")},
        "warnings": [{"feature": "AML", "risk": "POSSIBLE_MATCH_FOUND", "log_type": "warning"}] if score and score >= approve else [],
    }


def _envelope(body: dict[str, Any], now: float) -> dict[str, Any]:
    return {
        "vendor_data": body.get("vendor_data"),
        "metadata": body.get("metadata"),
        "created_at": datetime.fromtimestamp(now, UTC).isoformat(),
    }


def _aml_fault(body: Any) -> Any:
    if not isinstance(body, dict):
        return {"detail": "JSON parse error"}
    if not isinstance(name := body.get("full_name"), str) or len(name) < 2:  # noqa: PLR2004 - as documented
        return {"full_name": _REQUIRED if "full_name" not in body else ["Ensure this field has at least 2 characters."]}
    if body.get("entity_type", "person") not in {"person", "company"}:
        return {"entity_type": [f'"{body["entity_type"]}" is not a valid choice.']}
    weights = {short: body.get(long, default) for long, (short, default) in _WEIGHTS.items()}
    if sum(weights.values()) != 100:  # noqa: PLR2004 - as documented
        parts = ", ".join(f"{short}: {weight}" for short, weight in weights.items())
        return {"error": [f"AML weights must sum to 100. Current sum: {sum(weights.values())} ({parts})"]}
    if body.get("aml_score_approve_threshold", 80) > body.get("aml_score_review_threshold", 100):
        return {"aml_score_approve_threshold": ["Must be less than or equal to aml_score_review_threshold."]}
    return None


def _email_fault(body: Any) -> Any:
    if not isinstance(body, dict):
        return {"detail": "JSON parse error"}
    if "email" not in body:
        return {"email": _REQUIRED}
    if not isinstance(body["email"], str) or not _EMAIL.fullmatch(body["email"]):
        return {"email": ["Enter a valid email address."]}
    size = (body.get("options") or {}).get("code_size", 6)
    if not isinstance(size, int) or not 4 <= size <= 8:  # noqa: PLR2004 - as documented
        return {"options": {"code_size": ["Ensure this value is between 4 and 8."]}}
    return None

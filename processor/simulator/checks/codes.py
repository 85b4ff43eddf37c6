"""Verification codes by email and phone: sending and checking. Pure but for its own state; ``now`` (epoch seconds) goes in.

Sources: Didit, "Send Email Code", "Check Email Code", "Send Phone Code", "Check Phone Code": a code is valid for five minutes
after it was first sent, and for three tries. A second send in this time repeats the code, a third one makes a new code.
"""

from __future__ import annotations

import random
import string
from collections import deque
from dataclasses import dataclass
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.checks.model import CheckResponse, action_error, choice_error, first_error
from processor.simulator.checks.screening import email_error, email_facts, phone_error, phone_facts
from processor.simulator.features import warning
from processor.simulator.random_ids import random_uuid
from processor.simulator.session import StoredCheck
from processor.simulator.timestamps import iso
from processor.simulator.validation import REQUIRED

SANDBOX_CODE = "123456"
_CODE_S = 300.0
_SENDS_MAX = 2
_TRIES_MAX = 3
_HOUR_S = 3600.0
_PHONE_SENDS_MAX = 4  # per hour and number
CHANNELS = ("whatsapp", "sms", "telegram", "voice", "rcs", "viber", "zalo")
_SENDS_LIMITED = (
    "Maximum verification attempts reached for this phone number. Only 4 authentication attempts are allowed per hour. "
    "Try again later or use a different number."
)
_NO_TOP_UP = "To protect against abuse, phone verification is disabled until your first top-up."
# fact about an address or number, field with the action for it, risk
_ACTIONS = {
    "email": (
        ("is_breached", "breached_email_action", "BREACHED_EMAIL_DETECTED"),
        ("is_disposable", "disposable_email_action", "DISPOSABLE_EMAIL_DETECTED"),
        ("is_undeliverable", "undeliverable_email_action", "UNDELIVERABLE_EMAIL_DETECTED"),
    ),
    "phone": (
        ("is_disposable", "disposable_number_action", "DISPOSABLE_NUMBER_DETECTED"),
        ("is_virtual", "voip_number_action", "VOIP_NUMBER_DETECTED"),
    ),
}
# service and array of the session that is kept, and the risk of a third wrong try
_SERVICES = {
    "email": ("EMAIL_VERIFICATION", "email_verifications", "EMAIL_CODE_ATTEMPTS_EXCEEDED"),
    "phone": ("PHONE_VERIFICATION", "phone_verifications", "VERIFICATION_CODE_ATTEMPTS_EXCEEDED"),
}


@dataclass(slots=True)
class VerificationCode:
    """A code that was sent; ``sent_at`` is the first time, epoch seconds."""

    request_id: str
    code: str
    sent_at: float
    channel: str
    vendor_data: str | None
    metadata: Any
    sends: int = 1
    tries: int = 0


class VerificationCodes:
    """All codes that can be checked: by kind (``email``, ``phone``), application, and address or number."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._codes: dict[tuple[str, str, str], VerificationCode] = {}
        self._phone_sends: dict[tuple[str, str], deque[float]] = {}

    def pending(self) -> list[dict[str, Any]]:
        """Every code that was sent, for the control routes."""
        return [
            {"kind": kind, "application_id": app, "to": to, "code": code.code, "sent_at": code.sent_at}
            for (kind, app, to), code in self._codes.items()
        ]

    def email_send(self, application: Application, body: dict[str, Any], now: float) -> CheckResponse:
        """Send a code by email; addresses in ``.invalid`` are undeliverable."""
        error = first_error(email_error(body), _options_error(body))
        if error is not None:
            return CheckResponse(400, error)
        address = body["email"].lower()
        if address.endswith(".invalid") and not application.sandbox:
            return _sent(random_uuid(self._rng), "Undeliverable", "email_can_not_be_delivered", body)
        return self._send("email", application, address, body, now)

    def phone_send(self, application: Application, body: dict[str, Any], now: float) -> CheckResponse:
        """Send a code by phone; numbers that end with 0666 are blocked."""
        error = first_error(phone_error(body), _options_error(body))
        if error is not None:
            return CheckResponse(400, error)
        if not application.sandbox and not application.organization.topped_up:
            return CheckResponse(403, {"detail": _NO_TOP_UP})
        number = body["phone_number"]
        if not application.sandbox and self._sends_limited(application, number, now):
            return CheckResponse(429, {"detail": _SENDS_LIMITED})
        if number.endswith("0666") and not application.sandbox:
            return _sent(random_uuid(self._rng), "Blocked", "phone_number_blocked", body)
        return self._send("phone", application, number, body, now)

    def check(self, kind: str, application: Application, body: dict[str, Any], now: float) -> CheckResponse:
        """Check a code: one of its tries, free, and a 200 even if the code is wrong."""
        error = first_error(phone_error(body) if kind == "phone" else email_error(body), _code_error(body), action_error(body))
        if error is not None:
            return CheckResponse(400, error)
        to = body["phone_number"] if kind == "phone" else body["email"].lower()
        key = (kind, application.uuid, to)
        code = self._codes.get(key)
        if code is None or now - code.sent_at >= _CODE_S:
            self._codes.pop(key, None)
            text = f"No pending {kind} verification found in the last 5 minutes."
            return CheckResponse(200, {kind: None, **_answer(random_uuid(self._rng), "Expired or Not Found", text, None, now)})
        code.tries += 1
        correct, last = body["code"].upper() == code.code, code.tries >= _TRIES_MAX
        if not correct and not last:
            text = f"The verification code is incorrect. Attempts remaining: {_TRIES_MAX - code.tries}"
            return CheckResponse(200, {kind: None, **_answer(code.request_id, "Failed", text, code, now)}, acted=True)
        del self._codes[key]
        warnings = _warnings(kind, to, body) if correct else [warning(kind.upper(), _SERVICES[kind][2], "error")]
        return _checked(kind, to, code, warnings, now, correct=correct)

    def _send(self, kind: str, application: Application, to: str, body: dict[str, Any], now: float) -> CheckResponse:
        if not application.can_pay:
            return CheckResponse(403, None)
        key = (kind, application.uuid, to)
        code = self._codes.get(key)
        resend = code is not None and now - code.sent_at < _CODE_S and code.sends < _SENDS_MAX
        if code is None or not resend:
            options = body.get("options") or {}
            text = SANDBOX_CODE if application.sandbox else self._draw(options)
            channel = options.get("preferred_channel", "whatsapp")
            code = self._codes[key] = VerificationCode(
                random_uuid(self._rng), text, now, channel, body.get("vendor_data"), body.get("metadata")
            )
        else:
            code.sends += 1
        response = _sent(code.request_id, "Retry" if resend else "Success", None, body)
        response.acted, response.credit_count = True, 0 if resend else 1  # the same code once more is free
        return response

    def _sends_limited(self, application: Application, number: str, now: float) -> bool:
        """Whether the number has used up its sends of the past hour; if not, count this one."""
        sends = self._phone_sends.setdefault((application.uuid, number), deque())
        while sends and sends[0] <= now - _HOUR_S:
            sends.popleft()
        if len(sends) >= _PHONE_SENDS_MAX:
            return True
        sends.append(now)
        return False

    def _draw(self, options: dict[str, Any]) -> str:
        chars = string.digits + (string.ascii_uppercase if options.get("alphanumeric_code") else "")
        return "".join(self._rng.choices(chars, k=options.get("code_size", 6)))


def _sent(request_id: str, status: str, reason: str | None, body: dict[str, Any]) -> CheckResponse:
    common = {"vendor_data": body.get("vendor_data"), "metadata": body.get("metadata")}
    return CheckResponse(200, {"request_id": request_id, "status": status, "reason": reason, **common})


def _answer(request_id: str, status: str, message: str, code: VerificationCode | None, now: float) -> dict[str, Any]:
    """What every answer to a check has."""
    common = {"vendor_data": code and code.vendor_data, "metadata": code and code.metadata, "created_at": iso(now)}
    return {"request_id": request_id, "status": status, "message": message, **common}


def _checked(kind: str, to: str, code: VerificationCode, warnings: list[dict[str, Any]], now: float, *, correct: bool) -> CheckResponse:
    """A check that settles the code: approved, or declined because of the warnings."""
    facts = phone_facts(to) | {"verification_method": code.channel} if kind == "phone" else email_facts(to)
    status = "Declined" if warnings else "Approved"
    result = {
        "status": status,
        **facts,
        "verification_attempts": code.tries,
        "verified_at": iso(now) if correct else None,
        "warnings": warnings,
        "lifecycle": [],
        "matches": [],
    }
    service, array, _ = _SERVICES[kind]
    message = f"The verification code is {'correct.' if correct else 'incorrect. Maximum attempts reached.'}"
    return CheckResponse(
        200,
        {**_answer(code.request_id, status, message, code, now), kind: result},
        acted=True,
        stored=StoredCheck(service, status, {array: [result]}),
    )


def _warnings(kind: str, to: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    facts = phone_facts(to) if kind == "phone" else email_facts(to)
    risks = [risk for fact, action, risk in _ACTIONS[kind] if facts[fact] and body.get(action) == "DECLINE"]
    return [warning(kind.upper(), risk, "error") for risk in risks]


def _options_error(body: dict[str, Any]) -> Any:
    options = body.get("options", {})
    if not isinstance(options, dict):
        return {"options": ["Expected an object."]}
    size = options.get("code_size", 6)
    if not isinstance(size, int) or not 4 <= size <= 8:  # noqa: PLR2004 - as documented
        return {"options": {"code_size": ["Ensure this value is between 4 and 8."]}}
    channel = choice_error(options, "preferred_channel", CHANNELS)
    return {"options": channel} if channel is not None else None


def _code_error(body: dict[str, Any]) -> Any:
    if "code" not in body:
        return {"code": REQUIRED}
    valid = isinstance(body["code"], str) and 4 <= len(body["code"]) <= 8  # noqa: PLR2004 - as documented
    return None if valid else {"code": ["Ensure this field has between 4 and 8 characters."]}

"""Codes sent to addresses and numbers, and checked. Pure but for its own state; ``now`` (epoch seconds) and draws go in.

Sources: Didit, "Send Email Code", "Check Email Code", "Send Phone Code", "Check Phone Code": a code lives for five minutes
after its first sending and bears three tries; a second send within them belongs to the first, a third one begins anew.
"""

from __future__ import annotations

import random
import string
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.checks.model import REQUIRED, Checked, action_fault, choice_fault, first
from processor.simulator.checks.screening import EMAIL, email_facts, phone_facts, phone_fault
from processor.simulator.features import warning
from processor.simulator.session import Finding
from processor.simulator.timestamps import iso

SANDBOX_CODE = "123456"
_CODE_S = 300.0
_SENDS_MAX = 2
_TRIES_MAX = 3
_HOUR_S = 3600.0
_PHONE_SENDS_MAX = 4  # an hour, of one number
_CHANNELS = ("whatsapp", "sms", "telegram", "voice", "rcs", "viber", "zalo")
_TOO_MANY = (
    "Maximum verification attempts reached for this phone number. Only 4 authentication attempts are allowed per hour. "
    "Try again later or use a different number."
)
_NO_TOP_UP = "Phone verification needs a first top up of your account."
# what makes an address or a number bad, and the action that declines it
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
_SERVICES = {"email": ("EMAIL_VERIFICATION", "email_verifications"), "phone": ("PHONE", "phone_verifications")}
_SAID = {
    "Approved": "The verification code is correct.",
    "Declined": "The verification code is correct, but the verification was declined.",
    "Failed": "The verification code is incorrect.",
    "Expired or Not Found": "The verification code has expired or was not found.",
}


@dataclass(slots=True)
class Code:
    """A code on its way."""

    request_id: str
    code: str
    sent_at: float
    channel: str
    vendor_data: str | None
    metadata: Any
    sends: int = 1
    tries: int = 0


class Codes:
    """All codes that wait for a check, by kind (email, phone), application and address."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting: dict[tuple[str, str, str], Code] = {}
        self._phone_sends: dict[tuple[str, str], deque[float]] = {}

    def shown(self) -> list[dict[str, Any]]:
        """Every code as its addressee would see it, for the control routes."""
        return [
            {"kind": kind, "application_id": app, "to": to, "code": code.code, "sent_at": code.sent_at}
            for (kind, app, to), code in self._waiting.items()
        ]

    def email_send(self, application: Application, body: dict[str, Any], now: float) -> Checked:
        """Send a code to an address. Addresses of ``.invalid`` cannot be reached."""
        fault = first(_email_fault(body), _options_fault(body))
        if fault is not None:
            return Checked(400, fault)
        address = body["email"].lower()
        if address.endswith(".invalid") and not application.sandbox:
            return _sent(self._uuid(), "Undeliverable", "email_can_not_be_delivered")
        return self._send("email", application, address, body, now)

    def phone_send(self, application: Application, body: dict[str, Any], now: float) -> Checked:
        """Send a code to a number. Numbers that end with 0666 are blocked."""
        fault = first(phone_fault(body), _options_fault(body))
        if fault is not None:
            return Checked(400, fault)
        if not application.sandbox and not application.organization.topped_up:
            return Checked(403, {"detail": _NO_TOP_UP})
        number = body["phone_number"]
        if not application.sandbox and self._too_many(application, number, now):
            return Checked(429, {"detail": _TOO_MANY})
        if number.endswith("0666") and not application.sandbox:
            return _sent(self._uuid(), "Blocked", "phone_number_blocked")
        return self._send("phone", application, number, body, now)

    def check(self, kind: str, application: Application, body: dict[str, Any], now: float) -> Checked:
        """Check a code: always a 200, free, and it uses up a try."""
        fault = first(phone_fault(body) if kind == "phone" else _email_fault(body), _code_fault(body), action_fault(body))
        if fault is not None:
            return Checked(400, fault)
        to = body["phone_number"] if kind == "phone" else body["email"].lower()
        key = (kind, application.uuid, to)
        code = self._waiting.get(key)
        if code is None or now - code.sent_at >= _CODE_S:
            self._waiting.pop(key, None)
            status = "Expired or Not Found"
            return Checked(200, {"request_id": None, "status": status, "message": _SAID[status], kind: None})
        code.tries += 1
        right = body["code"].upper() == code.code
        warnings = _warnings(kind, to, body) if right else []
        status = ("Declined" if warnings else "Approved") if right else "Failed"
        if not right and code.tries >= _TRIES_MAX:
            warnings = [warning(_SERVICES[kind][0], "VERIFICATION_CODE_ATTEMPTS_EXCEEDED", "error", None)]
        if right or code.tries >= _TRIES_MAX:
            del self._waiting[key]
        return _checked(kind, to, code, status, warnings, now)

    def _send(self, kind: str, application: Application, to: str, body: dict[str, Any], now: float) -> Checked:
        if not application.paid:
            return Checked(403, None)
        key = (kind, application.uuid, to)
        code = self._waiting.get(key)
        again = code is not None and now - code.sent_at < _CODE_S and code.sends < _SENDS_MAX
        if code is None or not again:
            options = body.get("options") or {}
            drawn = SANDBOX_CODE if application.sandbox else self._draw(options)
            channel = options.get("preferred_channel", "whatsapp")
            code = self._waiting[key] = Code(self._uuid(), drawn, now, channel, body.get("vendor_data"), body.get("metadata"))
        else:
            code.sends += 1
        answer = _sent(code.request_id, "Retry" if again else "Success", None)
        answer.acted, answer.credit_count = True, 1
        return answer

    def _too_many(self, application: Application, number: str, now: float) -> bool:
        """Whether the number has had its sends of this hour; if not, this is one."""
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

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))


def _sent(request_id: str, status: str, reason: str | None) -> Checked:
    return Checked(200, {"request_id": request_id, "status": status, "reason": reason})


def _checked(kind: str, to: str, code: Code, status: str, warnings: list[dict[str, Any]], now: float) -> Checked:
    facts = phone_facts(to) | {"verification_method": code.channel} if kind == "phone" else email_facts(to)
    finding = {
        "status": status,
        **facts,
        "verification_attempts": code.tries,
        "verified_at": iso(now) if status == "Approved" else None,
        "warnings": warnings,
        "lifecycle": [],
        "matches": [],
    }
    envelope = {"vendor_data": code.vendor_data, "metadata": code.metadata, "created_at": iso(now)}
    service, array = _SERVICES[kind]
    stored = Finding(service, status, {array: [{"node_id": None, **finding}]}) if status != "Failed" else None
    body = {"request_id": code.request_id, "status": status, "message": _SAID[status], kind: finding, **envelope}
    return Checked(200, body, acted=True, stored=stored)


def _warnings(kind: str, to: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    facts = phone_facts(to) if kind == "phone" else email_facts(to)
    risks = [risk for fact, action, risk in _ACTIONS[kind] if facts[fact] and body.get(action) == "DECLINE"]
    return [warning(_SERVICES[kind][0], risk, "error", None) for risk in risks]


def _email_fault(body: dict[str, Any]) -> Any:
    if "email" not in body:
        return {"email": REQUIRED}
    right = isinstance(body["email"], str) and EMAIL.fullmatch(body["email"])
    return None if right else {"email": ["Enter a valid email address."]}


def _options_fault(body: dict[str, Any]) -> Any:
    options = body.get("options", {})
    if not isinstance(options, dict):
        return {"options": ["Expected an object."]}
    size = options.get("code_size", 6)
    if not isinstance(size, int) or not 4 <= size <= 8:  # noqa: PLR2004 - as documented
        return {"options": {"code_size": ["Ensure this value is between 4 and 8."]}}
    channel = choice_fault(options, "preferred_channel", _CHANNELS)
    return {"options": channel} if channel is not None else None


def _code_fault(body: dict[str, Any]) -> Any:
    if "code" not in body:
        return {"code": REQUIRED}
    right = isinstance(body["code"], str) and 4 <= len(body["code"]) <= 8  # noqa: PLR2004 - as documented
    return None if right else {"code": ["Ensure this field has between 4 and 8 characters."]}

"""Accounts that register themselves: passwords, mailed codes, lock-outs. Pure but for its own state; ``now`` and draws go in.

Sources: Didit, "Register", "Verify email", "Resend OTP", "Login" of the Auth API.
"""

from __future__ import annotations

import hashlib
import random
import re
import string
import uuid
from collections import deque
from dataclasses import dataclass, field

from processor.simulator.applications import Application, Directory, Organization
from processor.simulator.config import Config

_HOUR_S = 3600.0
_REGISTRATIONS_MAX = 5  # an hour, of one address
_RESEND_S = 60.0
_LOCKS_S = {5: 900.0, 10: _HOUR_S, 20: 24 * _HOUR_S}  # failed logins, and for how long nobody gets in then
_CODE_CHARS = string.ascii_uppercase + string.digits
_RESERVED = re.compile(r"(^|\.)(example\.(com|org|net)|test|example|invalid)$")
_RULES = (
    (re.compile(r".{8,}", re.DOTALL), "Password must be at least 8 characters long."),
    (re.compile(r"[A-Z]"), "Password must contain at least one uppercase letter."),
    (re.compile(r"[a-z]"), "Password must contain at least one lowercase letter."),
    (re.compile(r"\d"), "Password must contain at least one digit."),
    (re.compile(r"[!@#$%^&*()_+\-=\[\]{}|;:,.<>?]"), "Password must contain at least one special character."),
)


@dataclass(slots=True)
class Account:
    """Somebody who has registered; an organization exists once the address is verified."""

    email: str
    password_digest: bytes
    code: str
    code_at: float
    organization: Organization | None = None
    failed_logins: int = 0
    locked_until: float = 0.0


@dataclass(slots=True)
class Accounts:
    """All accounts."""

    config: Config
    directory: Directory
    rng: random.Random
    by_email: dict[str, Account] = field(default_factory=dict)
    registrations: dict[str, deque[float]] = field(default_factory=dict)

    def too_many(self, address: str, now: float) -> bool:
        """Whether an address has had its registrations of this hour; if not, this is one."""
        made = self.registrations.setdefault(address, deque())
        while made and made[0] <= now - _HOUR_S:
            made.popleft()
        if len(made) >= _REGISTRATIONS_MAX:
            return True
        made.append(now)
        return False

    def register(self, email: str, password: str, now: float) -> bool:
        """Mail a code to somebody new, or to somebody who has not verified yet; false if the account exists already."""
        known = self.by_email.get(email.lower())
        if known is not None and known.organization is not None:
            return False
        self.by_email[email.lower()] = Account(email, digest(password), self._code(), now)
        return True

    def resend_wait_s(self, account: Account, now: float) -> float:
        """How long until a code may be mailed again; 0: it has been."""
        wait_s = account.code_at + _RESEND_S - now
        if wait_s > 0:
            return wait_s
        account.code, account.code_at = self._code(), now
        return 0.0

    def verify(self, account: Account, code: str, now: float) -> Organization | None:
        """The organization of an account whose code is right, with a live and a sandbox application; None if it is not."""
        alive = now < account.code_at + self.config.account_code_s
        if not alive or not account.code or code.upper() != account.code:
            return None
        account.code = ""
        name = account.email.partition("@")[0]
        account.organization = Organization(self.uuid(), name, self.config.account_credits, topped_up=False)
        for sandbox in (False, True):
            self.open_application(account.organization, f"{name} sandbox" if sandbox else name, sandbox=sandbox)
        return account.organization

    def open_application(self, organization: Organization, name: str, *, sandbox: bool) -> Application:
        """An application with a key of its own."""
        key = f"{'sk_sandbox' if sandbox else 'sk_live'}_{self.text(32)}"
        made = Application(self.uuid(), name, self.text(22), key, sandbox, organization)
        self.directory.add(made)
        return made

    def login(self, account: Account | None, password: str, now: float) -> float | None:
        """None if the password is right; else how long the account is locked, 0 if it is not. Each lock is longer."""
        if account is None:
            return 0.0
        if now < account.locked_until:
            return account.locked_until - now
        if account.password_digest == digest(password):
            account.failed_logins = 0
            return None
        account.failed_logins += 1
        account.locked_until = now + _LOCKS_S.get(min(account.failed_logins, max(_LOCKS_S)), 0.0)
        return 0.0

    def shown(self) -> list[dict[str, object]]:
        """Every mailed code that waits, as its addressee would see it."""
        waiting = (account for account in self.by_email.values() if account.code)
        return [{"kind": "account", "to": account.email, "code": account.code, "sent_at": account.code_at} for account in waiting]

    def uuid(self) -> str:
        """A new one."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def text(self, size: int) -> str:
        """Letters and digits."""
        return "".join(self.rng.choices(string.ascii_letters + string.digits, k=size))

    def _code(self) -> str:
        return "".join(self.rng.choices(_CODE_CHARS, k=6))


def password_fault(password: str) -> str | None:
    """The first rule that a password breaks; they are looked at one after the other."""
    return next((text for rule, text in _RULES if rule.search(password) is None), None)


def unreachable(email: str) -> bool:
    """Whether mail to an address cannot be delivered: reserved domains make the call fail."""
    return _RESERVED.search(email.rpartition("@")[2].lower()) is not None


def digest(password: str) -> bytes:
    """Passwords are not kept as they are."""
    return hashlib.sha256(password.encode()).digest()

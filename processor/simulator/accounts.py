"""Accounts made by programmatic registration: passwords, mailed codes, lockouts. ``now`` is epoch seconds.

Pure but for its own state.

Sources: Didit, "Register", "Verify email", "Resend OTP", "Login" of the Auth API.
"""

from __future__ import annotations

import hashlib
import random
import re
import string
from collections import deque
from dataclasses import dataclass, field

from processor.simulator.applications import Application, ApplicationDirectory, Organization
from processor.simulator.config import Config
from processor.simulator.random_ids import random_uuid

_HOUR_S = 3600.0
_REGISTRATIONS_MAX = 5  # per hour and caller address
_RESEND_S = 60.0
_LOCKS_S = {5: 900.0, 10: _HOUR_S, 20: 24 * _HOUR_S}  # lockout after this many failed logins
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
    """One registration; ``organization`` is None until the email address is verified."""

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
    directory: ApplicationDirectory
    rng: random.Random
    by_email: dict[str, Account] = field(default_factory=dict)
    registrations: dict[str, deque[float]] = field(default_factory=dict)

    def registration_limited(self, address: str, now: float) -> bool:
        """Whether the address has used up its registrations of the past hour; if not, count this one."""
        made = self.registrations.setdefault(address, deque())
        while made and made[0] <= now - _HOUR_S:
            made.popleft()
        if len(made) >= _REGISTRATIONS_MAX:
            return True
        made.append(now)
        return False

    def register(self, email: str, password: str, now: float) -> bool:
        """Make an account and mail it a code; replaces one that was never verified. Returns false if a verified account exists."""
        known = self.by_email.get(email.lower())
        if known is not None and known.organization is not None:
            return False
        self.by_email[email.lower()] = Account(email, password_digest(password), self._code(), now)
        return True

    def resend_code(self, account: Account, now: float) -> float:
        """Mail a new code. Returns 0 if it was sent, else the seconds to wait."""
        wait_s = account.code_at + _RESEND_S - now
        if wait_s > 0:
            return wait_s
        account.code, account.code_at = self._code(), now
        return 0.0

    def verify(self, account: Account, code: str, now: float) -> Organization | None:
        """Make the organization of an account, with a live and a sandbox application. Returns None if the code is wrong or expired."""
        valid = now < account.code_at + self.config.account_code_s
        if not valid or not account.code or code.upper() != account.code:
            return None
        account.code = ""
        name = account.email.partition("@")[0]
        account.organization = Organization(random_uuid(self.rng), name, self.config.account_credits, topped_up=False)
        for sandbox in (False, True):
            self.add_application(account.organization, f"{name} sandbox" if sandbox else name, sandbox=sandbox)
        return account.organization

    def add_application(self, organization: Organization, name: str, *, sandbox: bool) -> Application:
        """Make an application with a new API key."""
        key = f"{'sk_sandbox' if sandbox else 'sk_live'}_{self.text(32)}"
        made = Application(random_uuid(self.rng), name, self.text(22), key, sandbox, organization)
        self.directory.add(made)
        return made

    def login(self, account: Account | None, password: str, now: float) -> float | None:
        """Check a password, and lock the account after too many failures.

        Returns None if the login succeeds, 0 if the password is wrong, else the seconds until the lock ends.
        """
        if account is None:
            return 0.0
        if now < account.locked_until:
            return account.locked_until - now
        if account.password_digest == password_digest(password):
            account.failed_logins = 0
            return None
        account.failed_logins += 1
        account.locked_until = now + _LOCKS_S.get(min(account.failed_logins, max(_LOCKS_S)), 0.0)
        return 0.0

    def pending_codes(self) -> list[dict[str, object]]:
        """Every mailed code that is not yet used, for the control routes."""
        pending = (account for account in self.by_email.values() if account.code)
        return [{"kind": "account", "to": account.email, "code": account.code, "sent_at": account.code_at} for account in pending]

    def text(self, size: int) -> str:
        """Random letters and digits."""
        return "".join(self.rng.choices(string.ascii_letters + string.digits, k=size))

    def _code(self) -> str:
        return "".join(self.rng.choices(_CODE_CHARS, k=6))


def password_error(password: str) -> str | None:
    """The message of the first rule that a password breaks; None if it breaks none."""
    return next((text for rule, text in _RULES if rule.search(password) is None), None)


def is_undeliverable(email: str) -> bool:
    """Whether the domain of an address is reserved (RFC 2606), so that mail to it fails."""
    return _RESERVED.search(email.rpartition("@")[2].lower()) is not None


def password_digest(password: str) -> bytes:
    """What is kept of a password."""
    return hashlib.sha256(password.encode()).digest()

"""Programmatic registration and what a signed-in account sees. Pure but for the state it is given (Didit, "Auth API")."""

from __future__ import annotations

import math
import re
from typing import Any

from processor.simulator.accounts import Accounts, password_fault, unreachable
from processor.simulator.applications import Application, Organization
from processor.simulator.messages import Asked, Handler, Told
from processor.simulator.tokens import claims_of, signed

_TOKEN_S = 86_400
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_REQUIRED = ["This field is required."]
_HTML_500 = b"<!doctype html><html lang='en'><head><title>Server Error (500)</title></head><body><h1>Server Error (500)</h1></body></html>"
_NO_CREDENTIALS = {"detail": "Authentication credentials were not provided or are invalid."}


class AccountEndpoints:
    """The routes of the auth host."""

    def __init__(self, accounts: Accounts, secret: str) -> None:
        self._accounts, self._secret = accounts, secret

    def handlers(self) -> dict[str, Handler]:
        """By route."""
        return {
            "account.register": self._register,
            "account.verify": self._verify,
            "account.resend": self._resend,
            "account.login": self._login,
            "account.organizations": self._organizations,
            "account.applications": self._applications,
            "account.application": self._application,
        }

    def _register(self, asked: Asked) -> Told:
        if self._accounts.too_many(asked.address, asked.now):
            return Told(429, {"detail": "Too many registrations from this address. Try again later."})
        fault = _missing(asked.document, "email", "password") or _email_fault(asked.document["email"])
        if fault is not None:
            return Told(400, fault)
        email, password = asked.document["email"], asked.document["password"]
        if (broken := password_fault(password)) is not None:
            return Told(400, {"password": [broken]})
        if unreachable(email):
            return Told(500, _HTML_500, content_type="text/html")
        if not self._accounts.register(email, password, asked.now):
            return Told(400, {"email": ["An account with this email already exists."]})
        return Told(
            201, {"message": "Registration successful. Please check your email for the verification code.", "email": email}, acted=True
        )

    def _verify(self, asked: Asked) -> Told:
        if (fault := _missing(asked.document, "email", "code")) is not None:
            return Told(400, fault)
        account = self._accounts.by_email.get(asked.document["email"].lower())
        organization = self._accounts.verify(account, asked.document["code"], asked.now) if account is not None else None
        if organization is None:
            return Told(400, {"detail": "Invalid or expired verification code."})
        live, sandbox = self._accounts.directory.of_organization(organization.uuid)
        answer = {
            **self._tokens(organization, asked.now),
            "organization": {"uuid": organization.uuid, "name": organization.name},
            "application": _shown(live),
            "sandbox_application": _shown(sandbox),
        }
        return Told(200, answer, acted=True)

    def _resend(self, asked: Asked) -> Told:
        """Unknown addresses are answered like known ones."""
        if (fault := _missing(asked.document, "email")) is not None:
            return Told(400, fault)
        account = self._accounts.by_email.get(asked.document["email"].lower())
        if account is not None and account.organization is not None:
            return Told(400, {"detail": "This email is already verified."})
        wait_s = self._accounts.resend_wait_s(account, asked.now) if account is not None else 0.0
        if wait_s > 0:
            return Told(429, {"detail": f"Please wait {math.ceil(wait_s)} seconds before requesting a new code."})
        return Told(200, {"message": "A new verification code has been sent.", "email": asked.document["email"]}, acted=True)

    def _login(self, asked: Asked) -> Told:
        if (fault := _missing(asked.document, "email", "password")) is not None:
            return Told(400, fault)
        account = self._accounts.by_email.get(asked.document["email"].lower())
        locked_s = self._accounts.login(account, asked.document["password"], asked.now)
        if locked_s is not None and locked_s > 0:
            return Told(429, {"detail": f"Account locked after too many failed attempts. Try again in {math.ceil(locked_s / 60)} minutes."})
        if locked_s is not None or account is None:
            return Told(401, {"detail": "Invalid email or password."})
        if account.organization is None:
            return Told(403, {"detail": "Email not verified."})
        return Told(200, self._tokens(account.organization, asked.now), acted=True)

    def _organizations(self, asked: Asked) -> Told:
        organization = self._signed_in(asked)
        if organization is None:
            return Told(401, _NO_CREDENTIALS)
        return Told(200, [{"uuid": organization.uuid, "name": organization.name}])

    def _applications(self, asked: Asked) -> Told:
        organization = self._signed_in(asked)
        if organization is None:
            return Told(401, _NO_CREDENTIALS)
        if organization.uuid != asked.match["organization"]:
            return Told(404, {"detail": "Not found."})
        return Told(200, [_shown(application) for application in self._accounts.directory.of_organization(organization.uuid)])

    def _application(self, asked: Asked) -> Told:
        found = self._applications(asked)
        if found.status != 200:  # noqa: PLR2004 - RFC 9110
            return found
        one = next((application for application in found.body if application["uuid"] == asked.match["name"]), None)
        return Told(200, one) if one is not None else Told(404, {"detail": "Not found."})

    def _signed_in(self, asked: Asked) -> Organization | None:
        """The organization of a bearer token."""
        claims = claims_of(asked.bearer, self._secret)
        if claims is None or claims.get("typ") != "access" or claims.get("exp", 0) <= asked.now:
            return None
        known = (account.organization for account in self._accounts.by_email.values())
        return next(
            (organization for organization in known if organization is not None and organization.uuid == claims["organization_id"]), None
        )

    def _tokens(self, organization: Organization, now: float) -> dict[str, Any]:
        claims = {"iss": "https://apx.didit.me", "organization_id": organization.uuid, "iat": int(now), "exp": int(now) + _TOKEN_S}
        return {
            "access_token": signed(claims | {"typ": "access"}, self._secret),
            "refresh_token": signed(claims | {"typ": "refresh"}, self._secret),
            "expires_in": _TOKEN_S,
        }


def _shown(application: Application) -> dict[str, str]:
    return {"uuid": application.uuid, "name": application.name, "client_id": application.client_id, "api_key": application.api_key}


def _missing(body: dict[str, Any], *names: str) -> dict[str, list[str]] | None:
    missing = {name: _REQUIRED for name in names if not isinstance(body.get(name), str) or not body[name]}
    return missing or None


def _email_fault(email: str) -> dict[str, list[str]] | None:
    return None if _EMAIL.fullmatch(email) else {"email": ["Enter a valid email address."]}

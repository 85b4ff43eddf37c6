"""Programmatic registration, and the organization and applications of an account. Pure but for the state given (Didit, "Auth API")."""

from __future__ import annotations

import math
from typing import Any

from processor.simulator.accounts import Accounts, is_undeliverable, password_error
from processor.simulator.applications import Application, Organization
from processor.simulator.member_rules import EMAIL
from processor.simulator.messages import NOT_FOUND, ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.tokens import sign, verified_claims
from processor.simulator.validation import REQUIRED

_TOKEN_S = 86_400
_HTML_500 = b"<!doctype html><html lang='en'><head><title>Server Error (500)</title></head><body><h1>Server Error (500)</h1></body></html>"
_NO_CREDENTIALS = {"detail": "Authentication credentials were not provided or are invalid."}


class AccountEndpoints:
    """The routes of the auth host."""

    def __init__(self, accounts: Accounts, secret: str) -> None:
        self._accounts = accounts
        self._secret = secret

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {
            "account.register": self._register,
            "account.verify": self._verify,
            "account.resend": self._resend,
            "account.login": self._login,
            "account.organizations": self._organizations,
            "account.applications": self._applications,
            "account.application": self._application,
        }

    def _register(self, request: ApiRequest) -> ApiResponse:
        if self._accounts.registration_limited(request.address, request.now):
            return ApiResponse(429, {"detail": "Too many registrations from this address. Try again later."})
        error = _missing(request.json_body, "email", "password") or _email_error(request.json_body["email"])
        if error is not None:
            return ApiResponse(400, error)
        email, password = request.json_body["email"], request.json_body["password"]
        if (message := password_error(password)) is not None:
            return ApiResponse(400, {"password": [message]})
        if is_undeliverable(email):
            return ApiResponse(500, _HTML_500, content_type="text/html")
        if not self._accounts.register(email, password, request.now):
            return ApiResponse(400, {"email": ["An account with this email already exists."]})
        return ApiResponse(
            201, {"message": "Registration successful. Please check your email for the verification code.", "email": email}, acted=True
        )

    def _verify(self, request: ApiRequest) -> ApiResponse:
        if (error := _missing(request.json_body, "email", "code")) is not None:
            return ApiResponse(400, error)
        account = self._accounts.by_email.get(request.json_body["email"].lower())
        organization = self._accounts.verify(account, request.json_body["code"], request.now) if account is not None else None
        if organization is None:
            return ApiResponse(400, {"detail": "Invalid or expired verification code."})
        live, sandbox = self._accounts.directory.by_organization(organization.uuid)
        document = {
            **self._tokens(organization, request.now),
            "organization": {"uuid": organization.uuid, "name": organization.name},
            "application": _application_document(live),
            "sandbox_application": _application_document(sandbox),
        }
        return ApiResponse(200, document, acted=True)

    def _resend(self, request: ApiRequest) -> ApiResponse:
        """An unknown address gets the same response as a known one."""
        if (error := _missing(request.json_body, "email")) is not None:
            return ApiResponse(400, error)
        account = self._accounts.by_email.get(request.json_body["email"].lower())
        if account is not None and account.organization is not None:
            return ApiResponse(400, {"detail": "This email is already verified."})
        wait_s = self._accounts.resend_code(account, request.now) if account is not None else 0.0
        if wait_s > 0:
            return ApiResponse(429, {"detail": f"Please wait {math.ceil(wait_s)} seconds before requesting a new code."})
        return ApiResponse(200, {"message": "A new verification code has been sent.", "email": request.json_body["email"]}, acted=True)

    def _login(self, request: ApiRequest) -> ApiResponse:
        if (error := _missing(request.json_body, "email", "password")) is not None:
            return ApiResponse(400, error)
        account = self._accounts.by_email.get(request.json_body["email"].lower())
        locked_s = self._accounts.login(account, request.json_body["password"], request.now)
        if locked_s is not None and locked_s > 0:
            return ApiResponse(
                429, {"detail": f"Account locked after too many failed attempts. Try again in {math.ceil(locked_s / 60)} minutes."}
            )
        if locked_s is not None or account is None:
            return ApiResponse(401, {"detail": "Invalid email or password."})
        if account.organization is None:
            return ApiResponse(403, {"detail": "Email not verified."})
        return ApiResponse(200, self._tokens(account.organization, request.now), acted=True)

    def _organizations(self, request: ApiRequest) -> ApiResponse:
        organization = self._signed_in(request)
        if organization is None:
            return ApiResponse(401, _NO_CREDENTIALS)
        return ApiResponse(200, [{"uuid": organization.uuid, "name": organization.name}])

    def _applications(self, request: ApiRequest) -> ApiResponse:
        organization = self._signed_in(request)
        if organization is None:
            return ApiResponse(401, _NO_CREDENTIALS)
        if organization.uuid != request.match["organization"]:
            return NOT_FOUND
        return ApiResponse(
            200, [_application_document(application) for application in self._accounts.directory.by_organization(organization.uuid)]
        )

    def _application(self, request: ApiRequest) -> ApiResponse:
        response = self._applications(request)
        if response.status != 200:  # noqa: PLR2004 - RFC 9110
            return response
        one = next((application for application in response.body if application["uuid"] == request.match["name"]), None)
        return ApiResponse(200, one) if one is not None else NOT_FOUND

    def _signed_in(self, request: ApiRequest) -> Organization | None:
        """The organization of a bearer token; None if the token is not valid."""
        claims = verified_claims(request.bearer, self._secret)
        if claims is None or claims.get("typ") != "access" or claims.get("exp", 0) <= request.now:
            return None
        organizations = (account.organization for account in self._accounts.by_email.values())
        return next(
            (organization for organization in organizations if organization is not None and organization.uuid == claims["organization_id"]),
            None,
        )

    def _tokens(self, organization: Organization, now: float) -> dict[str, Any]:
        claims = {"iss": "https://apx.didit.me", "organization_id": organization.uuid, "iat": int(now), "exp": int(now) + _TOKEN_S}
        return {
            "access_token": sign(claims | {"typ": "access"}, self._secret),
            "refresh_token": sign(claims | {"typ": "refresh"}, self._secret),
            "expires_in": _TOKEN_S,
        }


def _application_document(application: Application) -> dict[str, str]:
    return {"uuid": application.uuid, "name": application.name, "client_id": application.client_id, "api_key": application.api_key}


def _missing(body: dict[str, Any], *names: str) -> dict[str, list[str]] | None:
    missing = {name: REQUIRED for name in names if not isinstance(body.get(name), str) or not body[name]}
    return missing or None


def _email_error(email: str) -> dict[str, list[str]] | None:
    return None if EMAIL.fullmatch(email) else {"email": ["Enter a valid email address."]}

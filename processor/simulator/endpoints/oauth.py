"""API v1, which older clients still call: a token for an application's credentials, and sessions by ``features``.

It is not in Didit's OpenAPI. Sources: Didit's pages of August 2024 to January 2025 ("Authentication", "Create Session"), on which public
clients in Go, PHP, Python, Swift and TypeScript agree; the errors of the token are those of RFC 6749, section 5.2.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from processor.simulator.applications import Application, ApplicationDirectory
from processor.simulator.messages import ApiRequest, ApiResponse, EndpointHandler
from processor.simulator.tokens import sign, verified_claims

_TOKEN_S = 86_400
_BASIC = "Basic "


class OAuthEndpoints:
    """The route of tokens. The secret of an application is its API key."""

    def __init__(self, directory: ApplicationDirectory, secret: str) -> None:
        self._directory, self._secret = directory, secret

    def handlers(self) -> dict[str, EndpointHandler]:
        """Handlers by route name."""
        return {"oauth.token": self._token}

    def api_key_of(self, token: str, now: float) -> str:
        """The API key of the application that a token was given to; empty if it is none of ours, or is over."""
        claims = verified_claims(token, self._secret)
        if claims is None or claims["exp"] <= now:
            return ""
        application = self._directory.get(claims["sub"])
        return application.api_key if application is not None else ""

    def _token(self, request: ApiRequest) -> ApiResponse:
        application = self._authenticated(request.authorization)
        if application is None:
            return ApiResponse(401, {"error": "invalid_client"})
        if request.json_body.get("grant_type") != "client_credentials":
            return ApiResponse(400, {"error": "unsupported_grant_type"})
        claims: dict[str, Any] = {
            "iss": "https://didit.me",
            "iat": int(request.now),
            "sub": application.uuid,
            "client_id": application.client_id,
            "organization_id": application.organization.uuid,
            "expires_in": _TOKEN_S,
            "exp": int(request.now) + _TOKEN_S,
        }
        return ApiResponse(200, claims | {"access_token": sign(claims, self._secret)})

    def _authenticated(self, authorization: str) -> Application | None:
        """The application of credentials as RFC 7617 writes them."""
        try:
            text = base64.b64decode(authorization.removeprefix(_BASIC), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        client_id, _, secret = text.partition(":")
        application = self._directory.by_key(secret)
        known = authorization.startswith(_BASIC) and application is not None and application.client_id == client_id
        return application if known else None

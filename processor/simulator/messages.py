"""One admitted API call, and the response to it, as endpoints see them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.session import Session


@dataclass(slots=True)
class ApiRequest:
    """One admitted call.

    ``body`` is bytes until the endpoint runs; then parsed JSON (None if it is not JSON), or a form.
    """

    match: re.Match[str]  # of the path
    query: Mapping[str, str]
    body: Any
    now: float  # epoch seconds
    base_url: str
    key: str  # digest of the caller's API key
    session: Session | None
    reference: str | None  # X-Request-Id
    idempotency_key: str | None  # None on routes without idempotency
    address: str  # of the caller, for limits per address
    session_token: str
    authorization: str  # the header
    transaction_token: str = ""
    application: Application | None = None

    @property
    def bearer(self) -> str:
        """The token of the header Authorization."""
        return self.authorization.removeprefix("Bearer ")

    @property
    def caller(self) -> Application:
        """The application that the API key belongs to; on routes with a key only."""
        if self.application is None:
            raise LookupError("the application is looked up at admission")
        return self.application

    @property
    def target_session(self) -> Session:
        """The session that the path names; on routes with a session id only."""
        if self.session is None:
            raise LookupError("the session is looked up at admission")
        return self.session

    @property
    def json_body(self) -> dict[str, Any]:
        """The body if it is a JSON object, else an empty object."""
        return self.body if isinstance(self.body, dict) else {}


@dataclass(slots=True)
class ApiResponse:
    """What an endpoint responds with. ``body``: None for no body, bytes are sent unchanged, anything else as JSON."""

    status: int
    body: Any
    session_id: str | None = None
    acted: bool = False  # the call changed something
    headers: dict[str, str] | None = None
    content_type: str = "application/json"


NOT_FOUND = ApiResponse(404, {"detail": "Not found."})
EndpointHandler = Callable[[ApiRequest], ApiResponse]

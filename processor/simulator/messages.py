"""One admitted call, and the answer to it, as endpoints see them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.session import Session


@dataclass(slots=True)
class Asked:
    """One admitted call. ``body`` is bytes until the call acts: then JSON (None if it is none), or a form."""

    match: re.Match[str]
    query: Mapping[str, str]
    body: Any
    now: float
    base_url: str
    key: str  # digest of the caller's key
    session: Session | None
    reference: str | None
    idempotency_key: str | None  # None where the route takes none
    address: str  # the caller's, for limits by address
    session_token: str
    bearer: str
    application: Application | None = None

    @property
    def caller(self) -> Application:
        """The application of a call that needs a key."""
        if self.application is None:
            raise LookupError("the application of a call is found before it acts")
        return self.application

    @property
    def known(self) -> Session:
        """The session of a call that names one."""
        if self.session is None:
            raise LookupError("sessions are looked up before a call is admitted")
        return self.session

    @property
    def document(self) -> dict[str, Any]:
        """The body of a call whose route has been told that it is an object; else an empty one."""
        return self.body if isinstance(self.body, dict) else {}


@dataclass(slots=True)
class Told:
    """The answer; ``body`` None has none, bytes go out as they are."""

    status: int
    body: Any
    session_id: str | None = None
    acted: bool = False
    headers: dict[str, str] | None = None
    content_type: str = "application/json"


Handler = Callable[[Asked], Told]

"""Sessions: creation, reuse, status machine and timers, lists. Pure: ``now`` (epoch seconds) and draws go in.

Sources: Didit, "Create session", "List sessions", "Verification statuses", "Update status".
"""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from processor.simulator.config import Behaviour, Config

UNFINISHED = frozenset({"Not Started", "In Progress", "Resubmitted", "Awaiting User"})
SETTLED = frozenset({"Approved", "Declined", "In Review", "Kyc Expired"})
UPDATABLE = frozenset({"Approved", "Declined", "In Review", "Kyc Expired", "Abandoned", "Resubmitted"})
TRANSITIONS = {
    "Not Started": {"In Progress", "Expired"},
    "In Progress": {"Approved", "Declined", "In Review", "Awaiting User", "Abandoned"},
    "Awaiting User": {"Approved", "Declined", "In Review"},
    "In Review": {"Approved", "Declined", "Resubmitted"},
    "Declined": {"Resubmitted", "Approved"},
    "Resubmitted": {"Approved", "Declined", "In Review", "Awaiting User"},
    "Approved": {"Kyc Expired", "Declined", "Resubmitted"},
    "Kyc Expired": {"Approved", "Declined", "Resubmitted"},
    "Abandoned": {"Approved", "Declined", "Resubmitted"},
    "Expired": set(),
}
_TOKEN_CHARS = string.ascii_letters + string.digits


@dataclass(slots=True)
class Session:
    """One verification session."""

    session_id: str
    session_number: int
    token: str
    workflow_id: str
    workflow_version: int
    created_at: float
    expires_at: float
    vendor_data: str | None
    callback: str | None
    metadata: Any
    language: str | None
    expected_details: Any
    contact_details: Any
    status: str = "Not Started"
    reviews: list[dict[str, Any]] = field(default_factory=list)
    settle_at: float | None = None
    settle_as: str | None = None
    changed_at: float = 0.0

    @property
    def url(self) -> str:
        """The hosted flow; the language is part of it only if one was asked for."""
        language = f"{self.language}/" if self.language else ""
        return f"https://verify.didit.me/{language}session/{self.token}"

    def created_body(self) -> dict[str, Any]:
        """The ten members of a 201."""
        return {
            "session_id": self.session_id,
            "session_number": self.session_number,
            "session_token": self.token,
            "url": self.url,
            "vendor_data": self.vendor_data,
            "metadata": self.metadata,
            "status": self.status,
            "workflow_id": self.workflow_id,
            "workflow_version": self.workflow_version,
            "callback": self.callback,
        }


class IllegalTransitionError(Exception):
    """The status machine has no such step."""


class Sessions:
    """All sessions of the application."""

    def __init__(self, config: Config, rng: random.Random) -> None:
        self._config, self._rng = config, rng
        self._by_id: dict[str, Session] = {}
        self._by_vendor: dict[tuple[str, str], list[Session]] = {}
        self._versions: dict[str, int] = {}
        self.blocked: set[str] = set()
        self.credits = config.credits

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, session_id: str, now: float) -> Session | None:
        """A session as it is now."""
        session = self._by_id.get(session_id)
        if session is not None:
            self._advance(session, now)
        return session

    def create(self, body: dict[str, Any], now: float) -> tuple[Session, bool]:
        """Make a session, or return an unfinished one of the same person on the workflow's current version; whether it is new."""
        workflow_id, vendor = body["workflow_id"], body.get("vendor_data")
        version = self._versions.setdefault(workflow_id, 1)
        reusable = self._reusable(vendor, workflow_id, version, now)
        if reusable is not None:
            reusable.callback, reusable.metadata = body.get("callback"), body.get("metadata")
            return reusable, False
        session = Session(
            session_id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            session_number=1000 + len(self._by_id),
            token="".join(self._rng.choices(_TOKEN_CHARS, k=12)),
            workflow_id=workflow_id,
            workflow_version=version,
            created_at=now,
            expires_at=now + self._config.session_expiration_s,
            vendor_data=vendor,
            callback=body.get("callback"),
            metadata=body.get("metadata"),
            language=body.get("language"),
            expected_details=body.get("expected_details"),
            contact_details=body.get("contact_details"),
            changed_at=now,
        )
        self._plan(session, self._config.behaviour, now)
        self._by_id[session.session_id] = session
        if vendor is not None:
            self._by_vendor.setdefault((vendor, workflow_id), []).append(session)
        self.credits -= 1
        return session, True

    def move(self, session: Session, status: str, now: float) -> None:
        """A step of the status machine, as the user, the service or an operator takes it.

        Raises:
            IllegalTransitionError: if there is no such step.
        """
        self._advance(session, now)
        if status not in TRANSITIONS[session.status]:
            raise IllegalTransitionError(f"{session.status} -> {status}")
        session.status, session.changed_at = status, now
        session.settle_at = None

    def delete(self, session: Session) -> None:
        """Remove it for good."""
        del self._by_id[session.session_id]
        if session.vendor_data is not None:
            self._by_vendor[session.vendor_data, session.workflow_id].remove(session)

    def publish_workflow(self, workflow_id: str) -> int:
        """A new version; unfinished sessions of older ones are not reused any more."""
        self._versions[workflow_id] = self._versions.get(workflow_id, 1) + 1
        return self._versions[workflow_id]

    def listed(self, matches: Callable[[Session], bool], now: float) -> list[Session]:
        """Newest first, as far as the index has them."""
        visible = now - self._config.list_lag_s
        found = [s for s in self._by_id.values() if s.created_at <= visible and self._advance(s, now) and matches(s)]
        return sorted(found, key=lambda s: -s.session_number)

    def _reusable(self, vendor: str | None, workflow_id: str, version: int, now: float) -> Session | None:
        if vendor is None:
            return None
        for session in reversed(self._by_vendor.get((vendor, workflow_id), [])):
            self._advance(session, now)
            if session.status in UNFINISHED and session.workflow_version == version:
                return session
        return None

    def _plan(self, session: Session, behaviour: Behaviour, now: float) -> None:
        if behaviour.odds:
            session.settle_at = now + self._rng.uniform(0.5, 1.5) * behaviour.after_s
            session.settle_as = self._rng.choices(list(behaviour.odds), list(behaviour.odds.values()))[0]

    def _advance(self, session: Session, now: float) -> bool:
        """What time does to a session."""
        if session.settle_at is not None and now >= session.settle_at and session.settle_as is not None:
            if session.status == "Not Started" and session.settle_as != "Expired":
                session.status = "In Progress"
            if session.settle_as in TRANSITIONS[session.status]:
                session.status, session.changed_at = session.settle_as, session.settle_at
            session.settle_at = None
        if session.status == "Not Started" and now >= session.expires_at:
            session.status, session.changed_at = "Expired", session.expires_at
        elif session.status in {"In Progress", "Awaiting User", "Resubmitted"} and now >= session.changed_at + self._config.abandon_after_s:
            if "Abandoned" in TRANSITIONS[session.status]:
                session.status, session.changed_at = "Abandoned", now
        elif session.status == "Approved" and now >= session.changed_at + self._config.kyc_valid_s:
            session.status, session.changed_at = "Kyc Expired", now
        return True

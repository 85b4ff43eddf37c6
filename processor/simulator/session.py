"""One session. Pure (Didit, "Create session")."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.behaviour import Steps
from processor.simulator.timestamps import iso

_FEED = uuid.UUID("5f0f2f0c-3c1a-4a6e-9a63-0d5c2f1b7a10")  # names of entries are made from it

KYB_SERVICE = "KYB_REGISTRY"
PERSON_FEATURES = ("ID_VERIFICATION", "LIVENESS", "FACE_MATCH")  # of a workflow whose features nobody has chosen


@dataclass(frozen=True, slots=True)
class StoredCheck:
    """The result of a standalone check, as it is kept in a session."""

    service: str  # such as "FACE_MATCH"
    status: str
    arrays: dict[str, Any]  # of a decision


@dataclass(slots=True, eq=False)
class Session:
    """One verification session; a standalone check is kept as one with a ``service`` and without a workflow. Times are epoch seconds."""

    session_id: str
    session_number: int
    token: str
    application: Application
    workflow_id: str | None
    workflow_version: int | None
    created_at: float
    expires_at: float
    vendor_data: str | None = None
    callback: str | None = None
    metadata: Any = None
    language: str | None = None
    expected_details: Any = None
    contact_details: Any = None
    scenario: str | None = None
    service: str | None = None  # of a standalone check, such as "FACE_MATCH"
    check_arrays: dict[str, Any] | None = None  # the result of a standalone check, as arrays of a decision
    status: str = "Not Started"
    changed_at: float = 0.0
    steps: Steps = field(default_factory=list)  # what the user will do, in order of time
    reviews: list[dict[str, Any]] = field(default_factory=list)
    resubmit_info: dict[str, Any] | None = None
    backend_resubmit_at: float | None = None
    corrections: dict[str, Any] = field(default_factory=dict)  # data that an operator has corrected
    poa_corrections: dict[str, Any] = field(default_factory=dict)
    feature_statuses: dict[str, str] = field(default_factory=dict)  # by node, as an operator has set them
    hit_statuses: dict[str, str] = field(default_factory=dict)  # of AML hits, as an operator has set them
    activity: list[dict[str, Any]] = field(default_factory=list)  # the feed of reviews, oldest first
    held: bool = False  # cannot be deleted now
    features: tuple[str, ...] = PERSON_FEATURES  # in the order of the workflow
    workflow_label: str | None = None
    is_business: bool = False
    timer_generation: int = 0  # older entries in the heap of timers are stale

    @property
    def kind(self) -> str:
        """``user``, or ``business``: of a business workflow, or what was bought of a company."""
        return "business" if self.is_business or self.service == KYB_SERVICE else "user"

    @property
    def url(self) -> str:
        """The address of the hosted flow; it contains the language only if the caller chose one."""
        language = f"{self.language}/" if self.language else ""
        return f"https://verify.didit.me/{language}session/{self.token}"

    def add_activity(self, kind: str, now: float, *, actor: str = "API_KEY", **members: Any) -> None:
        """One entry of the feed of reviews (Didit, "List session reviews")."""
        entry: dict[str, Any] = {
            "uuid": str(uuid.uuid5(_FEED, f"{self.session_id} {len(self.activity)}")),
            "activity_type": kind,
            "actor_display": "API Client" if actor == "API_KEY" else "Unknown",
            "actor_email": None,
            "actor_type": actor,
            **dict.fromkeys(("new_status", "previous_status", "comment", "previous_value", "new_value", "metadata")),
            "mentioned_emails": [],
            "changed_fields": [],
            "created_at": iso(now),
        }
        self.activity.append(entry | members)

    def create_body(self) -> dict[str, Any]:
        """The response body of a create: ten members."""
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

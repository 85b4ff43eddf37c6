"""One session. Pure (Didit, "Create session")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.behaviour import Steps


@dataclass(frozen=True, slots=True)
class Finding:
    """What a standalone check has found, as it is kept."""

    service: str  # as "FACE_MATCH"
    status: str
    arrays: dict[str, Any]  # of a decision


@dataclass(slots=True, eq=False)
class Session:
    """One verification session; those of standalone checks have a ``service`` and no workflow."""

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
    service: str | None = None  # of a standalone check, as "FACE_MATCH"
    features: dict[str, Any] | None = None  # what a standalone check has found, as arrays of a decision
    status: str = "Not Started"
    changed_at: float = 0.0
    steps: Steps = field(default_factory=list)  # what the user will do
    reviews: list[dict[str, Any]] = field(default_factory=list)
    resubmit_info: dict[str, Any] | None = None
    backend_resubmit_at: float | None = None
    corrections: dict[str, Any] = field(default_factory=dict)  # data that an operator has put right
    shared_from: str | None = None
    held: bool = False  # cannot be deleted at present
    wakes: int = 0  # generation of its entry among the timers

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

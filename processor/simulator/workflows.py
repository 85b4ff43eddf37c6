"""The workflows of all applications, version by version. Pure but for its own state (OpenAPI 3.0.0, "Workflows").

A workflow that no call has made comes into being when it is used: tests name it by a UUID of their own, and every application may use it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from processor.simulator.applications import Application
from processor.simulator.random_ids import random_uuid

_BUSINESS = "KYB_"  # so begin the features of a business workflow
_NAMES = {"OCR": "ID_VERIFICATION", "PROOF_OF_ADDRESS": "POA", "PHONE_VERIFICATION": "PHONE"}  # as a decision calls features
_PERSON_FEATURES = ("OCR", "LIVENESS", "FACE_MATCH")
_BUSINESS_FEATURES = ("KYB_REGISTRY", "KYB_DOCUMENTS", "KYB_KEY_PEOPLE")
_DEFAULTS: dict[str, Any] = {
    "workflow_label": "ID Verification",
    "is_default": False,
    "is_white_label_enabled": False,
    "is_desktop_allowed": False,
    "max_retry_attempts": 3,
    "retry_window_days": 7,
    "face_liveness_max_attempts": 3,
    "face_match_max_attempts": 3,
    "session_expiration_time": 604_800,
}


@dataclass(slots=True, eq=False)
class WorkflowVersion:
    """One version of a workflow. Times are epoch seconds."""

    uuid: str
    workflow_id: str
    number: int
    application: str | None  # None: of every application
    features: list[dict[str, Any]]  # in order, as they were sent
    created_at: float
    changed_at: float
    settings: dict[str, Any] = field(default_factory=lambda: dict(_DEFAULTS))
    published_at: float | None = None

    @property
    def feature_types(self) -> list[str]:
        """As a workflow calls them, such as ``OCR``."""
        return [row["feature"] for row in self.features]

    @property
    def feature_names(self) -> list[str]:
        """As a decision calls them, such as ``ID_VERIFICATION``."""
        return [_NAMES.get(name, name) for name in self.feature_types]

    @property
    def is_business(self) -> bool:
        """Whether its sessions are of businesses."""
        return any(name.startswith(_BUSINESS) for name in self.feature_types)

    def change(self, body: dict[str, Any], now: float) -> None:
        """Set what a valid request names."""
        self.settings |= {name: body[name] for name in _DEFAULTS if name in body}
        self.features = body.get("features", self.features)
        self.changed_at = now


class Workflows:
    """Every version, by workflow. ``known``: the ids that may be used without having been made by a call; None: every UUID."""

    def __init__(self, known: frozenset[str] | None, rng: random.Random) -> None:
        self.known = known
        self.business: frozenset[str] = frozenset()  # of those, the workflows of businesses
        self.archived: frozenset[str] = frozenset()  # as they are listed; no page says what becomes of their sessions
        self._rng = rng
        self._versions: dict[str, list[WorkflowVersion]] = {}  # oldest first; empty: all are deleted
        self._made: dict[str, str] = {}  # workflow id -> application, of those that a call has made

    def may_use(self, workflow_id: str, application: Application) -> bool:
        """Whether a session may be made with it: a published version is there, for this application."""
        if workflow_id in self._made:
            return self._made[workflow_id] == application.uuid and self._published(workflow_id) is not None
        if self.known is not None and workflow_id not in self.known:
            return False
        return workflow_id not in self._versions or self._published(workflow_id) is not None

    def current(self, workflow_id: str, now: float) -> WorkflowVersion:
        """The newest published version; the first one of a workflow that is used for the first time."""
        return self._published(workflow_id) or self._use(workflow_id, now)

    def publish(self, workflow_id: str, now: float) -> WorkflowVersion:
        """A new published version, as one made in the console."""
        return self.publish_again(self.current(workflow_id, now), {}, now)

    def of(self, application: Application, now: float) -> list[WorkflowVersion]:
        """Every version that an application sees, newest first."""
        for workflow_id in sorted((self.known or frozenset()) - self._versions.keys()):
            self._use(workflow_id, now)
        seen = [version for group in self._versions.values() for version in group if self._is_seen(version, application)]
        return sorted(seen, key=lambda version: -version.created_at)

    def get(self, application: Application, uuid: str, now: float) -> WorkflowVersion | None:
        """One version; None if the application has none by this id."""
        return next((version for version in self.of(application, now) if version.uuid == uuid), None)

    def make(self, application: Application, body: dict[str, Any], now: float) -> WorkflowVersion:
        """A new workflow by a valid request; published unless it says ``draft``."""
        uuid = random_uuid(self._rng)
        made = WorkflowVersion(uuid, uuid, 1, application.uuid, [], now, now)
        made.published_at = None if body.get("status") == "draft" else now
        self._made[uuid] = application.uuid
        self._versions[uuid] = [made]
        self._change(made, body, now)
        return made

    def change(self, version: WorkflowVersion, body: dict[str, Any], now: float) -> WorkflowVersion:
        """Change a version by a valid request, and publish it if it is a draft; ``published`` makes a new one after a published one."""
        if version.published_at is not None and body.get("status") == "published":
            return self.publish_again(version, body, now)
        self._change(version, body, now)
        if version.published_at is None and body.get("status") != "draft":
            version.published_at = now
        return version

    def publish_again(self, version: WorkflowVersion, body: dict[str, Any], now: float) -> WorkflowVersion:
        """A new version after this one; a draft of the workflow is gone then."""
        group = [one for one in self._versions[version.workflow_id] if one.published_at is not None]
        number = max(one.number for one in group) + 1
        new = WorkflowVersion(random_uuid(self._rng), version.workflow_id, number, version.application, version.features, now, now)
        new.settings, new.published_at = dict(version.settings), now
        self._versions[version.workflow_id] = [*group, new]
        self._change(new, body, now)
        return new

    def delete(self, version: WorkflowVersion) -> None:
        """Delete one version; the others of the workflow stay."""
        self._versions[version.workflow_id].remove(version)

    def has_draft(self, workflow_id: str) -> bool:
        """Whether a version of the workflow is not published."""
        return any(version.published_at is None for version in self._versions[workflow_id])

    def count_of(self, application: Application) -> int:
        """How many workflows of its own an application has."""
        return sum(owner == application.uuid and bool(self._versions[made]) for made, owner in self._made.items())

    def _change(self, version: WorkflowVersion, body: dict[str, Any], now: float) -> None:
        version.change(body, now)
        if not body.get("is_default"):
            return
        for group in self._versions.values():
            for other in group:
                if other is not version and other.application == version.application:
                    other.settings["is_default"] = False

    def _is_seen(self, version: WorkflowVersion, application: Application) -> bool:
        if version.application is not None:
            return version.application == application.uuid
        return self.known is None or version.workflow_id in self.known

    def _published(self, workflow_id: str) -> WorkflowVersion | None:
        found = [version for version in self._versions.get(workflow_id, ()) if version.published_at is not None]
        return max(found, key=lambda version: version.number, default=None)

    def _use(self, workflow_id: str, now: float) -> WorkflowVersion:
        names = _BUSINESS_FEATURES if workflow_id in self.business else _PERSON_FEATURES
        first = WorkflowVersion(workflow_id, workflow_id, 1, None, [{"feature": name} for name in names], now, now)
        first.settings["workflow_label"] = "Simulated KYB" if first.is_business else "Simulated KYC"
        first.published_at = now
        self._versions.setdefault(workflow_id, []).append(first)
        return first

"""All sessions: creation, reuse, timers, lists. Pure: ``now`` (epoch seconds) goes in, status changes go to a listener.

Sources: Didit, "Create session", "List sessions", "Verification statuses", "Share session".
"""

from __future__ import annotations

import heapq
import random
import string
from collections.abc import Callable
from typing import Any

from processor.simulator import behaviour
from processor.simulator.applications import Application
from processor.simulator.config import Config
from processor.simulator.random_ids import random_uuid
from processor.simulator.scenarios import outcome_of
from processor.simulator.session import Session, StoredCheck
from processor.simulator.statuses import TRANSITIONS, UNFINISHED, IllegalTransitionError
from processor.simulator.workflows import Workflows, WorkflowVersion

_TOKEN_CHARS = string.ascii_letters + string.digits
_FIRST_NUMBER = 1000
_OF_BUSINESS = frozenset({"company_name", "registry_country", "registration_number"})
_STALE_MAX = 1000  # bound for stale timers: those of changed and deleted sessions


def _ignore(_session: Session, _kind: str, _at: float) -> None:
    """The listener until one is set."""


class Sessions:
    """All sessions of all applications."""

    def __init__(self, config: Config, workflows: Workflows, rng: random.Random) -> None:
        self._config = config
        self._workflows = workflows
        self._rng = rng
        self._by_id: dict[str, Session] = {}
        self._by_vendor: dict[tuple[str, str], list[Session]] = {}
        self._timers: list[tuple[float, int, int, Session]] = []  # due, session number, generation
        self._next_number = _FIRST_NUMBER
        self._blocked: dict[str, set[str]] = {}
        self.listener: Callable[[Session, str, float], None] = _ignore  # session, webhook type, time of the change

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, session_id: str, now: float) -> Session | None:
        """The session at ``now``; None if there is none."""
        self.advance(now)
        return self._by_id.get(session_id)

    def blocked_users(self, application: Application) -> set[str]:
        """The blocklist of an application: ``vendor_data`` of users who get no new session there. Changes of it are kept."""
        return self._blocked.setdefault(application.uuid, set())

    def create(self, application: Application, body: dict[str, Any], now: float) -> tuple[Session, bool]:
        """Make a session, or return an unfinished one of the same ``vendor_data`` on the current version of the workflow.

        Returns the session, and whether it is new.
        """
        self.advance(now)
        workflow = self._workflows.current(body["workflow_id"], now)
        reusable = self._reusable(application, body, workflow.number)
        if reusable is not None:
            reusable.callback, reusable.metadata = body.get("callback"), body.get("metadata")
            return reusable, False
        session = self._new(application, workflow, body, now)
        session.language, session.callback = body.get("language"), body.get("callback")
        session.expected_details, session.contact_details = _details(body, workflow), body.get("contact_details")
        session.scenario = body.get("sandbox_scenario")
        session.steps = self._plan(session, now)
        self._add(session)
        application.charge()
        return session, True

    def create_v1(self, application: Application, features: tuple[str, ...], body: dict[str, Any], now: float) -> Session:
        """Make a session of API v1: of features instead of a workflow."""
        self.advance(now)
        session = self._new(application, None, body, now)
        session.callback, session.features = body.get("callback"), features
        session.steps = self._plan(session, now)
        self._add(session)
        application.charge()
        return session

    def store_check(self, application: Application, check: StoredCheck, body: dict[str, Any], now: float) -> Session:
        """Keep a standalone check as a session whose id is the request id, and send its webhook."""
        session = self._new(application, None, body, now)
        session.session_id, session.service = body["request_id"], check.service
        session.check_arrays, session.status = check.arrays, check.status
        self._add(session)
        self.listener(session, "status.updated", now)
        return session

    def store_import(self, application: Application, original: Session, body: dict[str, Any], now: float) -> Session:
        """Keep a copy of another application's session (Didit, "Import shared session")."""
        session = self._new(application, self._workflows.current(body["workflow_id"], now), body, now)
        session.status = original.status if body["trust_review"] else "In Review"
        session.scenario = original.scenario
        session.expected_details, session.corrections = original.expected_details, dict(original.corrections)
        self._add(session)
        return session

    def change_status(self, session: Session, status: str, now: float) -> None:
        """A transition caused by a user, by Didit or by an operator; the planned steps of the user are dropped.

        Raises:
            IllegalTransitionError: if the status machine has no such transition.
        """
        self.advance(now)
        if status not in TRANSITIONS[session.status]:
            raise IllegalTransitionError(f"{session.status} -> {status}")
        session.steps = []
        self._set_status(session, status, now)

    def review(self, session: Session, status: str, now: float) -> None:
        """Set the status that an operator chose; with ``Resubmitted`` the user acts again. The caller has checked that it is allowed."""
        session.steps = []
        self._set_status(session, status, now)
        if status == "Resubmitted":
            session.steps = self._plan(session, now)
            self._schedule(session)

    def arm(self, session: Session, scenario: str, now: float) -> None:
        """Set the scenario; it becomes the outcome of the user's steps."""
        session.scenario = scenario
        session.steps = self._plan(session, now)
        self._schedule(session)

    def finish(self, session: Session, now: float) -> str:
        """Let the user complete the flow now, with the outcome of the scenario, else approved. Returns the new status."""
        session.steps = behaviour.completion_steps(outcome_of(session.scenario), session.status, now)
        self._schedule(session)
        self.advance(now)
        return session.status

    def delete(self, session: Session) -> None:
        """Delete a session."""
        del self._by_id[session.session_id]
        session.timer_generation += 1
        if session.vendor_data is not None:
            key = (session.application.uuid, session.vendor_data)
            self._by_vendor[key].remove(session)
            if not self._by_vendor[key]:
                del self._by_vendor[key]

    def by_application(self, application: Application, vendor_data: str | None = None) -> list[Session]:
        """The sessions of an application; with ``vendor_data`` those of one user."""
        if vendor_data is not None:
            return list(self._by_vendor.get((application.uuid, vendor_data), ()))
        return [session for session in self._by_id.values() if session.application is application]

    def search(self, application: Application, vendor_data: str | None, matches: Callable[[Session], bool], now: float) -> list[Session]:
        """The sessions of a list, newest first; new ones are missing for ``list_lag_s``."""
        self.advance(now)
        created_max = now - self._config.list_lag_s
        visible = [s for s in self.by_application(application, vendor_data) if s.created_at <= created_max and matches(s)]
        return sorted(visible, key=lambda s: -s.session_number)

    def next_due(self) -> float | None:
        """When the next planned step or timer is due, epoch seconds; None if there is none."""
        while self._timers and self._timers[0][2] != self._timers[0][3].timer_generation:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def advance(self, now: float) -> None:
        """Apply all steps and timers that are due, in order of their time."""
        while (due := self.next_due()) is not None and due <= now:
            session = heapq.heappop(self._timers)[3]
            if session.steps and session.steps[0][0] <= due:
                status = session.steps.pop(0)[1]
            else:
                status, session.steps = _timeout_status(session), []
            if status in TRANSITIONS[session.status]:
                self._set_status(session, status, due)
            else:  # an operator has changed the status meanwhile
                session.steps = []
                self._schedule(session)

    def _set_status(self, session: Session, status: str, at: float) -> None:
        session.status, session.changed_at = status, at
        if status != "Resubmitted":
            session.resubmit_info = None
        elif session.resubmit_info is None:
            session.resubmit_info = {"nodes_to_resubmit": [{"node_id": "node-2", "feature": "FACE_MATCH"}], "reasons": {}}
        self._schedule(session)
        self.listener(session, "status.updated", at)

    def _schedule(self, session: Session) -> None:
        """Replace the timer of a session by one for its next step or timeout."""
        session.timer_generation += 1
        due = self._timeout_at(session)
        if session.steps:
            due = session.steps[0][0] if due is None else min(due, session.steps[0][0])
        if len(self._timers) > _STALE_MAX + 2 * len(self._by_id):
            self._timers = [entry for entry in self._timers if entry[2] == entry[3].timer_generation]
            heapq.heapify(self._timers)
        if due is not None:
            heapq.heappush(self._timers, (due, session.session_number, session.timer_generation, session))

    def _timeout_at(self, session: Session) -> float | None:
        if session.service is not None:
            return None
        if session.status == "Not Started":
            return session.expires_at
        if session.status == "In Progress":
            return session.changed_at + self._config.abandon_after_s
        return session.changed_at + self._config.kyc_valid_s if session.status == "Approved" else None

    def _new(self, application: Application, workflow: WorkflowVersion | None, body: dict[str, Any], now: float) -> Session:
        self._next_number += 1
        session = Session(
            session_id=random_uuid(self._rng),
            session_number=self._next_number - 1,
            token="".join(self._rng.choices(_TOKEN_CHARS, k=12)),
            application=application,
            workflow_id=None,
            workflow_version=None,
            created_at=now,
            expires_at=now + self._config.session_expiration_s,
            vendor_data=body.get("vendor_data"),
            metadata=body.get("metadata"),
            changed_at=now,
        )
        if workflow is not None:
            session.workflow_id, session.workflow_version = workflow.workflow_id, workflow.number
            session.workflow_label, session.features = workflow.settings["workflow_label"], tuple(workflow.feature_names)
            session.is_business = workflow.is_business
            if workflow.application is not None:  # else the options say it
                session.expires_at = now + workflow.settings["session_expiration_time"]
        return session

    def _add(self, session: Session) -> None:
        self._by_id[session.session_id] = session
        if session.vendor_data is not None:
            self._by_vendor.setdefault((session.application.uuid, session.vendor_data), []).append(session)
        self._schedule(session)

    def _plan(self, session: Session, now: float) -> behaviour.Steps:
        return behaviour.plan_steps(self._config.behaviour, outcome_of(session.scenario), session.status, now, self._rng)

    def _reusable(self, application: Application, body: dict[str, Any], version: int) -> Session | None:
        if body.get("vendor_data") is None:
            return None
        for session in reversed(self._by_vendor.get((application.uuid, body["vendor_data"]), [])):
            same = session.workflow_id == body["workflow_id"] and session.workflow_version == version
            if same and session.status in UNFINISHED:
                return session
        return None


def _details(body: dict[str, Any], workflow: WorkflowVersion) -> Any:
    """What the session expects: of a business, what its registry search is filled with."""
    details = body.get("expected_details")
    if not workflow.is_business or not isinstance(details, dict):
        return details
    return {name: value for name, value in details.items() if name in _OF_BUSINESS}


def _timeout_status(session: Session) -> str:
    return {"Not Started": "Expired", "In Progress": "Abandoned", "Approved": "Kyc Expired"}.get(session.status, "")

"""A mixed load for the demo: creates, decisions, unknown sessions, and records that break the contract. Pure."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

import orjson

_WORKFLOW_ID = "9f9b1234-0000-4000-8000-1234567890ab"


@dataclass(frozen=True, slots=True)
class Planned:
    """One record to publish. ``request_id`` is the one that its final result will carry."""

    request_id: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Workload:
    """What is published at once, and how many decisions follow when sessions are there to be asked for."""

    first: tuple[Planned, ...]
    decisions: int

    @property
    def total(self) -> int:
        """All requests of the run."""
        return len(self.first) + self.decisions


def plan_load(requests: int, seed: int) -> Workload:
    """Split ``requests`` (at least 10): 60 % creates, 30 % decisions of the sessions made, 4 % unknown sessions, 6 % bad records."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible load, no secret
    bad, unknown = max(1, round(requests * 0.06)), max(1, round(requests * 0.04))
    decisions = round(requests * 0.3)
    creates = requests - bad - unknown - decisions
    records = [_create(n, rng) for n in range(creates)]
    records += [_decision(f"demo-unknown-{n:05d}", str(uuid.UUID(int=rng.getrandbits(128), version=4))) for n in range(unknown)]
    records += [_bad(n) for n in range(bad)]
    rng.shuffle(records)
    return Workload(tuple(records), decisions)


def decision_of(number: int, session_id: str) -> Planned:
    """A decision request for a session that an earlier request has made."""
    return _decision(f"demo-decision-{number:05d}", session_id)


def _create(number: int, rng: random.Random) -> Planned:
    request_id = f"demo-create-{number:05d}"
    user = f"demo-user-{number:05d}"
    priority = rng.choices(("urgent", "normal", "bulk"), (1, 7, 2))[0]
    body = {
        "request_id": request_id,
        "operation": "session.create",
        "priority": priority,
        "input": {"workflow_id": _WORKFLOW_ID, "vendor_data": user},
    }
    return Planned(request_id, user.encode(), orjson.dumps(body))


def _decision(request_id: str, session_id: str) -> Planned:
    body = {"request_id": request_id, "operation": "session.decision", "input": {"session_id": session_id}}
    return Planned(request_id, session_id.encode(), orjson.dumps(body))


def _bad(number: int) -> Planned:
    """A record that the contract refuses, each in another way; its request id can still be read."""
    request_id = f"demo-bad-{number:05d}"
    kinds: tuple[dict[str, object], ...] = (
        {"operation": "session.create", "input": {}},
        {"operation": "session.create", "input": {"workflow_id": "not-a-uuid"}},
        {"operation": "session.create", "input": {"workflow_id": _WORKFLOW_ID}, "unknown": 1},
        {"operation": "session.destroy", "input": {}},
        {"operation": "session.decision", "input": {"session_id": 7}},
        {"operation": "session.create", "input": {"workflow_id": _WORKFLOW_ID}, "deadline": "2027-10-31T02:30:00"},
    )
    body = {"request_id": request_id, **kinds[number % len(kinds)]}
    return Planned(request_id, request_id.encode(), orjson.dumps(body))

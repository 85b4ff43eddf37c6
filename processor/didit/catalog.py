"""One row for each operation: everything about an endpoint stands here.

Paths, bodies and statuses are those of Didit's API reference (v3); scopes those of its page "Rate limiting".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Idempotency(StrEnum):
    """What may be done when the fate of a call is unknown."""

    SAFE = "safe"  # calling again changes and costs nothing
    KEYED = "keyed"  # calling again with the same Idempotency-Key is answered from the first call
    RECONCILABLE = "reconcilable"  # the trace of the first call can be looked up
    SINGLE = "single"  # there is no way to know


@dataclass(frozen=True, slots=True)
class Operation:
    """An endpoint, and how its calls count and end."""

    name: str
    method: str
    path: str  # with {fields} of the input
    scopes: tuple[str, ...]  # every rate-limit scope that a call counts in
    idempotency: Idempotency
    timeout_s: float
    success_statuses: frozenset[int]
    required_output: Mapping[str, type]  # members that a success must carry, with their type


_ROWS = (
    Operation(
        name="session.create",
        method="POST",
        path="/v3/session/",
        scopes=("session-create", "generic-write"),
        idempotency=Idempotency.RECONCILABLE,
        timeout_s=30.0,
        success_statuses=frozenset({200, 201}),
        required_output=MappingProxyType({"session_id": str, "url": str, "status": str}),
    ),
    Operation(
        name="session.decision",
        method="GET",
        path="/v3/session/{session_id}/decision/",
        scopes=("session-decision", "generic-get"),
        idempotency=Idempotency.SAFE,
        timeout_s=30.0,
        success_statuses=frozenset({200}),
        required_output=MappingProxyType({"session_id": str, "status": str}),
    ),
    Operation(
        name="aml",
        method="POST",
        path="/v3/aml/",
        scopes=("generic-write",),
        idempotency=Idempotency.KEYED,
        timeout_s=60.0,  # adverse media take up to 30 s more
        success_statuses=frozenset({200}),
        required_output=MappingProxyType({"request_id": str, "aml": dict}),
    ),
    Operation(
        name="email.send",
        method="POST",
        path="/v3/email/send/",
        scopes=("generic-write",),
        idempotency=Idempotency.SINGLE,
        timeout_s=30.0,
        success_statuses=frozenset({200}),
        required_output=MappingProxyType({"request_id": str, "status": str}),
    ),
    Operation(  # not for callers: it reconciles creates
        name="session.list",
        method="GET",
        path="/v3/sessions/",
        scopes=("generic-get",),
        idempotency=Idempotency.SAFE,
        timeout_s=30.0,
        success_statuses=frozenset({200}),
        required_output=MappingProxyType({"results": list}),
    ),
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType({row.name: row for row in _ROWS})

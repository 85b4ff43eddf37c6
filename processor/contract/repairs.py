"""The records of the repairs topic: what somebody has done about a dead letter or a waiting request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from processor.contract import schemas

_SCHEMA = "repair.v1"
BY_CHARS_MAX, NOTE_CHARS_MAX = 200, 500


class RepairKind(StrEnum):
    """What was done."""

    REDRIVEN = "redriven"
    DISCARDED = "discarded"
    RELEASED = "released"  # a waiting request was brought forward


@dataclass(frozen=True, slots=True)
class Target:
    """The record that it was done to. ``failed_ms``: of a dead letter, so that another one at the same position is not meant."""

    topic: str
    partition: int
    offset: int
    failed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """One act on one record; ``schemas/repair.v1.json`` describes it."""

    kind: RepairKind
    run_id: str  # of all acts of one command
    at_ms: int
    by: str
    target: Target
    request_id: str | None = None
    operation: str | None = None
    reason_code: str | None = None
    replay: int = 0  # that the redriven record has
    due_ms: int | None = None  # when it starts
    note: str | None = None


def repair_value(repair: Repair) -> bytes:
    """The JSON of a repair."""
    target: dict[str, Any] = {"topic": repair.target.topic, "partition": repair.target.partition, "offset": repair.target.offset}
    if repair.target.failed_ms is not None:
        target["failed_ms"] = repair.target.failed_ms
    return orjson.dumps(
        {
            "schema_version": 1,
            "kind": repair.kind.value,
            "run_id": repair.run_id,
            "at_ms": repair.at_ms,
            "by": _text(repair.by, BY_CHARS_MAX) or "unknown",
            "target": target,
            "request_id": repair.request_id,
            "operation": repair.operation,
            "reason_code": repair.reason_code,
            "replay": repair.replay,
            "due_ms": repair.due_ms,
            "note": _text(repair.note or "", NOTE_CHARS_MAX) or None,
        }
    )


def _text(given: str, chars_max: int) -> str:
    """What somebody typed, as JSON can hold it: a terminal may have given half of a character."""
    return given.strip()[:chars_max].encode(errors="replace").decode()


def read_repair(value: bytes | None) -> Repair | None:
    """The repair of a record; None for anything that is none of ours."""
    try:
        found = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    if schemas.faults(_SCHEMA, found) or not _has_numbers_of_kafka(found):
        return None
    target = found["target"]
    return Repair(
        kind=RepairKind(found["kind"]),
        run_id=found["run_id"],
        at_ms=found["at_ms"],
        by=found["by"],
        target=Target(target["topic"], target["partition"], target["offset"], target.get("failed_ms")),
        request_id=found.get("request_id"),
        operation=found.get("operation"),
        reason_code=found.get("reason_code"),
        replay=found.get("replay", 0),
        due_ms=found.get("due_ms"),
        note=found.get("note"),
    )


def _has_numbers_of_kafka(found: Mapping[str, Any]) -> bool:
    """JSON Schema takes 1e30 for an integer; nothing that Kafka holds has such a place or time."""
    target = found["target"]
    small = (target["partition"], found.get("replay", 0))
    large = (target["offset"], target.get("failed_ms") or 0, found["at_ms"], found.get("due_ms") or 0)
    return all(type(number) is int for number in (*small, *large)) and max(small) < 2**31 and max(large) < 2**63

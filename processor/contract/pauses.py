"""What operators have paused: the records of the controls topic, and what they come to. Pure.

The topic has one partition and keeps its records for ever, so what is paused stays so whatever is restarted or deleted, and who paused it
when and why can be read at any time. Its records are taken in order; the last one of an operation counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from processor.contract.acts import encode_act, read_act

BY_CHARS_MAX, REASON_CHARS_MAX = 200, 500
EVERYTHING = "all"  # how a pause of every operation is named where a name has to stand; no operation is called so
_SCHEMA = "pause.v1"


def paused_name(name: str) -> str:
    """How a sentence names what is paused: the operation, or all calls."""
    return "all calls" if name == EVERYTHING else name


class PauseFormatError(ValueError):
    """A record of the controls topic cannot be read. The text is safe to show."""


class PauseKind(StrEnum):
    """What an operator has done."""

    PAUSED = "paused"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class PauseAct:
    """One record; ``schemas/pause.v1.json`` describes it."""

    kind: PauseKind
    operation: str | None  # whose calls are meant; None: every call
    by: str
    reason: str
    at_ms: int
    run_id: str  # a UUID

    @property
    def name(self) -> str:
        """The operation, or ``EVERYTHING``."""
        return self.operation or EVERYTHING


@dataclass(frozen=True, slots=True)
class Pauses:
    """What is paused, as a reader of the topic knows it.

    Attributes:
        everything: the pause of all calls; None if there is none.
        by_operation: the pauses of single operations. Each is lifted by itself: to resume everything lifts none of them.
        read_to: records below this offset are taken in.
        known: the topic was read to its end once. Before, nothing may call: what is not read may be paused.
    """

    everything: PauseAct | None = None
    by_operation: Mapping[str, PauseAct] = field(default_factory=dict)
    read_to: int = 0
    known: bool = True

    def stops(self, operation: str) -> bool:
        """Whether an operation may not call now."""
        return not self.known or self.everything is not None or operation in self.by_operation

    @property
    def stop_any(self) -> bool:
        """Whether ``stops`` is true of any operation."""
        return not self.known or self.everything is not None or bool(self.by_operation)

    def names(self, operation: str) -> bool:
        """Whether an operation is paused by itself, so that its requests make room for others."""
        return operation in self.by_operation

    @property
    def in_force(self) -> tuple[PauseAct, ...]:
        """All pauses, the one of everything first."""
        return (*filter(None, [self.everything]), *(act for _, act in sorted(self.by_operation.items())))

    def after(self, act: PauseAct | None, offset: int) -> Pauses:
        """When the record at an offset was taken in; ``act`` is None if it said nothing."""
        seen = replace(self, read_to=offset + 1)
        if act is None:
            return seen
        stands = act if act.kind is PauseKind.PAUSED else None
        if act.operation is None:
            return replace(seen, everything=stands)
        others = {name: other for name, other in self.by_operation.items() if name != act.operation}
        return replace(seen, by_operation=others if stands is None else others | {act.operation: stands})


UNREAD = Pauses(known=False)


def encode_pause(act: PauseAct) -> bytes:
    """The value of its record.

    Raises:
        ValueError: if it is not as its schema says, e.g. without a reason.
    """
    value = {
        "schema_version": 1,
        "kind": act.kind.value,
        "operation": act.operation,
        "by": act.by[:BY_CHARS_MAX].encode(errors="replace").decode() or "unknown",  # a login name may hold half of a character
        "reason": act.reason,
        "at_ms": act.at_ms,
        "run_id": act.run_id,
    }
    return encode_act(_SCHEMA, value, "pause")


def read_pause(value: bytes | None) -> PauseAct | None:
    """What a record says; None if this version does not know its kind.

    Raises:
        PauseFormatError: if it is none of ours.
    """
    if (found := read_act(value, dict.fromkeys(PauseKind, _SCHEMA), PauseFormatError)) is None:
        return None
    return PauseAct(PauseKind(found["kind"]), found["operation"], found["by"], found["reason"], found["at_ms"], found["run_id"])

"""Dead letters, waiting records, and what is to be done with them. Pure data; times are epoch ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from processor.contract.codes import ErrorType
from processor.contract.explained import Explained
from processor.contract.records import Hop, Source
from processor.contract.trace_context import sampled_trace_id

REASONS: Mapping[str, str] = MappingProxyType({str(kind): kind.meaning for kind in ErrorType})
"""What the reason types of dead letters mean."""

SAME_AGAIN = frozenset({ErrorType.INVALID_REQUEST, ErrorType.REQUEST_REFUSED, ErrorType.CONFLICT})
"""Reason types after which a redrive ends the same, unless what refused the request has changed."""

REPLAYS_MAX = 3  # a dead letter that was redriven so often is left alone unless somebody insists


class LeftOut(Explained):
    """Why a dead letter that a selection names is not redriven. Commands, page and docs/repair.md show the texts of this table."""

    @property
    def text(self) -> str:
        """Both, in one sentence without its full stop."""
        return f"{self.meaning}: {self.remedy}"

    IN_DOUBT = "in_doubt", "a billed call may have taken place and would be paid twice", "look in Didit's console first, then insist"
    REPLAYED = "replayed", "redriven too often in vain", "remove the cause, then insist"
    CUT = "cut", "the value or key is not whole in the dead-letter topic", "publish the caller's own record again"
    CONFLICT = "conflict", "its request_id stands for another content", "publish it under its own request_id"
    LATE = "late", "its deadline has passed, and it would end as expired", "ask again under a new request_id, or discard it"
    LATER = "later", "the budget does not reach for it yet", "redrive again when those before it have started"
    TOO_LARGE = "too_large", "longer than a record may be", "raise VP_LANES__OUTPUT_BYTES_MAX, and max.message.bytes of the topics"
    HANDLED = "handled", "somebody has dealt with it since it was listed", "nothing is to be done"
    GONE = "gone", "the dead-letter topic no longer keeps it", "nothing can be done"


class DeadLetterStatus(StrEnum):
    """What has been done about a dead letter."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of the dead-letter topic, without the caller's bytes: those are read again where they are needed."""

    partition: int
    offset: int
    failed_ms: int
    request_id: str | None  # None where none could be read
    operation: str | None
    reason_type: str
    reason_code: str
    reason_message: str
    reason_field: str | None
    http_status: int | None
    hop: Hop  # first position, replays, attempts before the last one, as they were
    attempts: int  # of its round, as its result has them
    came_from: Source  # where it stood when it failed
    key_digest: str  # of its Kafka key, to compare; empty without a key
    size_bytes: int
    cut: bool = False  # its value or key was too long and is not whole
    deadline_ms: int | None = None  # the caller's, where it can be read
    status: DeadLetterStatus = DeadLetterStatus.OPEN
    handled_ms: int | None = None  # when it was redriven or discarded
    handled_by: str | None = None

    @property
    def position(self) -> str:
        """``partition:offset``, as people name it."""
        return f"{self.partition}:{self.offset}"

    @property
    def trace_id(self) -> str:
        """Of its trace, where that is recorded; else empty."""
        return sampled_trace_id(self.hop.traceparent)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters; what is empty or None does not narrow. Only open ones are ever acted on."""

    reasons: frozenset[str] = frozenset()  # types or codes
    operations: frozenset[str] = frozenset()
    request_ids: frozenset[str] = frozenset()
    positions: frozenset[tuple[int, int]] = frozenset()
    since_ms: int | None = None  # failed at or after
    until_ms: int | None = None  # failed before
    key: bytes | None = None
    count_max: int | None = None  # the oldest so many
    in_doubt: bool = False  # also those whose billed call may have taken place
    replays_max: int = REPLAYS_MAX


@dataclass(frozen=True, slots=True)
class Plan:
    """What a redrive would do."""

    chosen: tuple[DeadLetter, ...]
    left_out: Mapping[LeftOut, int] = field(default_factory=dict)  # how many that the selection names
    last_start_s: float = 0.0  # when the last of them starts, at the given share of the budget


@dataclass(frozen=True, slots=True)
class RepairSummary:
    """What an act came to."""

    run_id: str
    count: int
    left_out: Mapping[LeftOut, int] = field(default_factory=dict)  # how many of the plan
    last_due_ms: int | None = None  # when the last one redriven starts, epoch ms


@dataclass(frozen=True, slots=True)
class DeadLetterCounts:
    """Of the dead letters that are remembered."""

    open: int
    by_reason: Mapping[str, int] = field(default_factory=dict)  # open ones by reason type
    redriven: int = 0
    discarded: int = 0
    complete: bool = True  # false: there are older ones that were not read
    oldest_open_ms: int | None = None  # when the oldest open one failed; None if none is open


@dataclass(frozen=True, slots=True)
class DelayedRecord:
    """A record of a delay topic that is not done."""

    topic: str
    partition: int
    offset: int
    due_ms: int
    request_id: str | None
    operation: str | None
    reason: str | None  # the last error code; None for one that follows a session
    attempt: int
    replay: int
    first: Source
    follows: bool = False  # its session is there: what it owes is a look

    @property
    def position(self) -> str:
        """``topic:partition:offset``."""
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to a request."""

    at_ms: int
    what: str  # requested | queued | waiting | result | dead-letter | redriven | discarded
    where: str  # topic[partition]@offset
    text: str  # our own words; no input, no output
    detail: Mapping[str, str | int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestHistory:
    """Everything that is known of one request, oldest first."""

    request_id: str
    steps: tuple[HistoryEntry, ...]
    request: Mapping[str, object] | None = None  # the caller's document with every value masked that could be personal
    notes: tuple[str, ...] = ()  # what could not be looked at, or what to check where nothing was found

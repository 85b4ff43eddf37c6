"""The records that cross the topics, as values. Nothing here reads a clock, a socket or a file."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import field
from enum import StrEnum
from typing import Any, NamedTuple

from processor.contract.codes import SENT_AWAY, Code, ErrorCode, ErrorType
from processor.contract.values import value

Headers = tuple[tuple[str, bytes | None], ...]

# Namespace of every id that we derive; fixed for ever, or copies of a result would stop being equal.
ID_NAMESPACE = uuid.UUID("6f1d3c0a-7a3e-5c84-9d53-8f0a4f5f2b11")
_NAMESPACE = ID_NAMESPACE.bytes


STAMP_MS_MIN = 1_577_836_800_000  # 2020: no request is older
_RECORD_BYTES, _HEADER_BYTES = 1500, 110  # as measured in CPython 3.11, with a place by due time, by name and in a line
TENANT_FORM = r"[A-Za-z0-9._-]{1,64}"


class Priority(StrEnum):
    """Which requests are called first when a budget is short. Unknown values are rejected by the schema."""

    URGENT = "urgent"
    NORMAL = "normal"
    BULK = "bulk"


class OnDoubt(StrEnum):
    """What the caller wants where nobody can know whether a billed call took place."""

    FAIL = "fail"
    REPEAT = "repeat"


class Status(StrEnum):
    """How a request ended, or stands. A business decline by Didit is ``SUCCEEDED`` with ``output.status == "Declined"``."""

    WAITING = "waiting"  # of progress results only: the session is open, the person has to act
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"  # never called: the record breaks the contract
    FAILED = "failed"  # called, and it cannot succeed
    EXPIRED = "expired"  # the caller's deadline passed first, or the person did not finish in time
    CONFLICT = "conflict"  # never called: the request id stands for another content
    IN_DOUBT = "in_doubt"  # a billed call may have taken place and there is no way to know


class ResultKind(StrEnum):
    """Whether a result is the request's last one."""

    PROGRESS = "progress"
    FINAL = "final"


@value(frozen=True, slots=True, order=True)
class Source:
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int

    @property
    def lane(self) -> str:
        """The name of the partition's lane: ``topic[partition]``."""
        return f"{self.topic}[{self.partition}]"

    def __str__(self) -> str:
        return f"{self.lane}@{self.offset}"


@value(frozen=True, slots=True)
class Unread:
    """Records that could not be read, as they stand in one batch. ``size_bytes``: of that batch in the log, packed."""

    code: ErrorCode  # BATCH_TOO_LARGE or BATCH_UNREADABLE
    first: int  # offset
    last: int  # offset
    size_bytes: int
    detail: str  # what is wrong with the batch: "unpacks to more than ..."
    blocks: bool = (
        False  # not even its end is certain: nothing behind it is read until a person says so; ``last`` is below ``first`` if unknown
    )


@value(frozen=True, slots=True)
class Record:
    """One delivered Kafka record, untouched: ``value`` and ``key`` are the original bytes or ``None``."""

    source: Source
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int = 0
    unread: Unread | None = None  # it stands for records that cannot be read, at the offset of the last; all else is empty

    @property
    def size_bytes(self) -> int:
        """What it takes in memory while it waits, roughly: Python's objects are several times what they hold."""
        size = _RECORD_BYTES + len(self.key or b"") + len(self.value or b"")
        return size + sum(_HEADER_BYTES + len(v or b"") for _, v in self.headers) if self.headers else size


@value(frozen=True, slots=True)
class Hop:
    """What earlier hops of the same request have left behind (from the headers, or fresh at the first delivery)."""

    first: Source  # where the caller's record stood
    first_ms: int  # its Kafka timestamp, epoch ms
    hop: int = 0  # times it went through a delay topic, whatever the reason
    attempt: int = 0  # attempts that counted so far; throttling and pauses do not count
    due_ms: int | None = None  # not before, epoch ms
    first_failure_ms: int | None = None
    last_error: str | None = None  # a code, see ``contract.codes``; one that was read may be of a later version
    replay: int = 0  # times it was redriven from the dead-letter topic
    doubt_ms: int | None = None  # a call whose fate is unknown was made at or after this moment, epoch ms
    session_id: str | None = None  # it has been created, and is followed
    polls: int = 0  # how often it has been looked at
    settled: str | None = None  # how it ended when its last final result was published, e.g. ``approved``
    settled_ms: int | None = None  # when the first one was, epoch ms
    traceparent: str | None = None  # W3C Trace Context: the caller's span, or that of the first hop where the caller has none
    tracestate: str | None = None  # the caller's entries, and ours: the span of the last hop
    application: str | None = None  # that its caller has named in a header
    copied: Headers = ()  # of the caller, allow-listed: they go to every output of the request

    @property
    def called_since_ms(self) -> int:
        """A call whose fate is unknown was made at this moment or later, epoch ms; without a doubt, when the record came."""
        return self.first_ms if self.doubt_ms is None else self.doubt_ms

    def came_ms(self, now_ms: int) -> int:
        """When the request came, epoch ms, as far as its stamp tells: of a topic with ``CreateTime`` it is by the clock of its producer.

        One that is ahead of ``now_ms``, or older than any request (none, or in seconds), says nothing: then its first failure, or now.
        For the order of requests and for how long to wait; where a call may have been made before, see ``called_since_ms``.
        """
        if STAMP_MS_MIN <= self.first_ms <= now_ms:
            return self.first_ms
        return now_ms if self.first_failure_ms is None else min(self.first_failure_ms, now_ms)

    @property
    def may_start_early(self) -> bool:
        """Whether what it waits for may come before its due time: an event of its session, or room in its line."""
        return self.session_id is not None or self.last_error in SENT_AWAY


@value(frozen=True, slots=True)
class Hint:
    """What an event says of a session. ``at_ms``: when it was published; ``event`` as of ``schemas/event.v1.json``."""

    session_id: str
    at_ms: int
    event: dict[str, Any]


@value(frozen=True, slots=True)
class Request:
    """A request that fulfils the contract."""

    request_id: str
    operation: str
    input: dict[str, Any]
    deadline_ms: int | None = None  # epoch ms
    priority: Priority = Priority.NORMAL
    on_doubt: OnDoubt = OnDoubt.FAIL
    application: str | None = None  # by the value or the header; None if it names none
    tenant: str = ""  # for whom it is; empty if the caller names nobody


@value(frozen=True, slots=True)
class ErrorInfo:
    """Why a request did not succeed. ``message`` is our own text: no input, no body, no personal data."""

    type: ErrorType
    code: Code
    message: str  # what was wrong and what to do
    http_status: int | None = None
    field: str | None = None  # path such as "input.workflow_id" or "headers.vp-attempt"


@value(frozen=True, slots=True)
class Result:
    """One record of the results topic; its key is ``request_id`` or, for a conflict or where none could be read, the position."""

    request_id: str | None
    operation: str | None
    status: Status
    source: Source
    attempts: int
    received_ms: int  # Kafka timestamp of the caller's record, epoch ms
    finished_ms: int  # epoch ms
    output: Any = None  # Didit's answer
    error: ErrorInfo | None = None
    kind: ResultKind = ResultKind.FINAL
    version: int = 0  # of a later final result, where the operators have asked for such
    replay: int = 0  # times that its request was redriven before

    @property
    def key(self) -> str:
        """The Kafka key of this result, in text; a conflict must not stand in the place of the other request's answer."""
        return self.request_id if self.request_id is not None and self.status is not Status.CONFLICT else str(self.source)

    @property
    def result_id(self) -> str:
        """The same for every copy of this result (UUIDv5), and another one after each redrive."""
        return result_id(self.key, f"{self.kind}{self.version or ''}{f'.r{self.replay}' if self.replay else ''}")


def result_id(key: str, kind: str) -> str:
    """The id that every copy of one result carries; readers that cannot use read_committed drop copies by it."""
    return _uuid5(f"{kind}\n{key}")


def call_reference(request_id: str, hop: int) -> str:
    """The value of the ``X-Request-Id`` header of a call: names request and hop without revealing the id."""
    return f"{_uuid5(request_id)}.{hop}"


def idempotency_key(request_id: str) -> str:
    """The value of the ``Idempotency-Key`` header: one for all calls of a request, a redrive's included, so that none is billed twice."""
    return _uuid5(f"idempotency\n{request_id}")


def _uuid5(name: str) -> str:
    """UUIDv5 in our namespace as text (RFC 9562, 5.5); ``uuid.uuid5`` takes three times as long, twice a record."""
    raw = bytearray(hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class About(NamedTuple):
    """What an output tells of its request, for counting. Nothing of it is content."""

    operation: str = ""
    status: str = ""  # of a result
    reason: str = ""  # type of a dead letter's reason
    code: str | None = None  # of the error, if there is one
    attempts: int = 0
    took_ms: int = 0  # since the caller's record
    counted: bool = False  # a retry that cost an attempt
    copy: bool = False  # a result that stands in the topic already, for somebody who asks again


class OutputKind(StrEnum):
    """Which of our topics an output goes to; the stream knows their names."""

    RESULT = "results"
    RETRY = "retry"
    DEAD_LETTER = "dead-letters"
    FORWARD = "requests"  # of another application
    REPAIR = "repairs"


@value(frozen=True, slots=True)
class Output:
    """One record to publish together with the input offset."""

    kind: OutputKind
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default=())
    delay_s: int | None = None  # for RETRY: which delay topic
    about: About = field(default=About())
    partition: int | None = None  # its number, modulo how many the topic has; None: by the hash of the key
    application: str | None = None  # for FORWARD: whose

    @property
    def size_bytes(self) -> int:
        """Upper bound of the record's size on the wire, headers and framing included."""
        size = len(self.value or b"") + len(self.key or b"") + 100
        return size + sum(len(k) + len(v or b"") + 10 for k, v in self.headers) if self.headers else size

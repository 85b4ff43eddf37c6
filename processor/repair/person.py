"""Which records concern one person, told by what each of them holds. Pure; ``person_search`` feeds it from Kafka.

A person is known by their ``vendor_data``. From it follow requests, from these sessions, and from those other requests: who reads
everything again and again until nothing new is learned has found all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from processor.contract.decode import read_request_id
from processor.contract.headers import is_session_id, peek_session
from processor.contract.records import Record
from processor.stream.topics import TopicNames

LEARNED_MAX = 100_000  # requests and sessions of one person
ERASE_PREFIX = "erase-"  # begins the request ids of what an erasure asks for
_WORDS = frozenset({"vendor_data", "vendor_data_list"})
_GONE_STATUS = 404


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """One record that concerns the person. Times are epoch ms."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    why: str  # vendor_data | key | request | session | unreadable
    request_id: str | None = None
    operation: str | None = None
    session_id: str | None = None

    @property
    def by_erasure(self) -> bool:
        """Whether an erasure itself has asked for it."""
        return self.request_id is not None and self.request_id.startswith(ERASE_PREFIX)


class PersonMatcher:
    """What is known of a person so far. Records may be taken in any order, and again.

    Attributes:
        requests: ids of the person's requests.
        sessions: ids of the person's sessions, and of checks, which Didit keeps as sessions.
        answered: of those requests, which have a final result: its status, ``gone`` where Didit knows it no more.
        tombstoned: partitions and keys of results behind which a tombstone stands.
    """

    def __init__(self, vendor_data: str, names: TopicNames) -> None:
        self._person, self._needle, self._names = vendor_data, vendor_data.encode(), names
        self._quoted = (orjson.dumps(vendor_data), json.dumps(vendor_data).encode())
        self.requests: set[str] = set()
        self.sessions: set[str] = set()
        self.answered: dict[str, str] = {}
        self.tombstoned: set[tuple[int, str]] = set()

    @property
    def learned(self) -> int:
        """How much is known; it only grows."""
        return len(self.requests) + len(self.sessions)

    def take(self, record: Record) -> PersonRecord | None:
        """What a record of any topic is to the person; None for somebody else's."""
        raw = record.value or b""
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            return self._unreadable(record, raw)
        if record.source.topic == self._names.results:
            return self._result(record, document)
        if record.source.topic == self._names.events:
            return self._event(record, document)
        return self._input(record, document)

    def _unreadable(self, record: Record, raw: bytes) -> PersonRecord | None:
        """A broken record, a cut dead letter, or a tombstone."""
        if record.source.topic == self._names.results and record.value is None:
            key = (record.key or b"").decode(errors="replace")
            if key in self.requests:
                self.tombstoned.add((record.source.partition, key))
            return None
        session_id = _session(peek_session(record))
        if session_id is not None and session_id in self.sessions:
            return self._found(record, "session", session_id=session_id)
        if record.key == self._needle:
            return self._found(record, "key")
        return self._found(record, "unreadable") if any(quoted in raw for quoted in self._quoted) else None  # not the beginning of another

    def _input(self, record: Record, document: dict[str, Any]) -> PersonRecord | None:
        given = document["input"] if isinstance(document.get("input"), dict) else {}
        request_id, operation = read_request_id(document.get("request_id")), document.get("operation")
        session_id = _session(peek_session(record)) or _session(given.get("session_id"))
        why = self._why(record, document, request_id, session_id)
        if why is None:
            return None
        if why != "vendor_data" or given.get("vendor_data") == self._person or given.get("vendor_data_list") == [self._person]:
            self._learn(request_id, session_id)
        return self._found(record, why, request_id, operation, session_id)

    def _result(self, record: Record, document: dict[str, Any]) -> PersonRecord | None:
        output = document["output"] if isinstance(document.get("output"), dict) else {}
        request_id, operation = read_request_id(document.get("request_id")), document.get("operation")
        session_id = _session(output.get("session_id")) or _session(output.get("request_id"))
        why = self._why(record, document, request_id, session_id)
        if why is None:
            return None
        if why != "vendor_data" or output.get("vendor_data") == self._person:
            self._learn(request_id, session_id)
        if request_id is not None and (status := final_status(document)) is not None:
            self.answered[request_id] = status
            self.tombstoned.discard((record.source.partition, request_id))
        return self._found(record, why, request_id, operation, session_id)

    def _event(self, record: Record, document: dict[str, Any]) -> PersonRecord | None:
        payload = document["payload"] if isinstance(document.get("payload"), dict) else {}
        session_id = _session(document.get("session_id")) or _session(payload.get("session_id"))
        why = self._why(record, document, None, session_id)
        if why is None:
            return None
        if why != "vendor_data" or self._person in (document.get("vendor_data"), payload.get("vendor_data")):
            self._learn(None, session_id)
        return self._found(record, why, None, None, session_id)

    def _why(self, record: Record, document: dict[str, Any], request_id: str | None, session_id: str | None) -> str | None:
        raw = record.value or b""
        if (self._needle in raw or b"\\" in raw) and self._person in _named(document):  # without an escape it stands there as it is
            return "vendor_data"
        if record.key == self._needle:
            return "key"
        if request_id is not None and request_id in self.requests:
            return "request"
        return "session" if session_id is not None and session_id in self.sessions else None

    def _learn(self, request_id: str | None, session_id: str | None) -> None:
        if self.learned < LEARNED_MAX:
            self.requests |= {request_id} if request_id is not None else set()
            self.sessions |= {session_id} if session_id is not None else set()

    @staticmethod
    def _found(
        record: Record, why: str, request_id: str | None = None, operation: object = None, session_id: str | None = None
    ) -> PersonRecord:
        at = record.source
        named = operation if isinstance(operation, str) else None
        return PersonRecord(at.topic, at.partition, at.offset, record.timestamp_ms, why, request_id, named, session_id)


def final_status(document: Mapping[str, Any]) -> str | None:
    """How a final result has ended, ``gone`` where Didit knows it no more; None for a progress result."""
    if document.get("kind") != "final":
        return None
    error = document["error"] if isinstance(document.get("error"), dict) else {}
    return "gone" if error.get("http_status") == _GONE_STATUS else str(document.get("status"))


def _session(found: object) -> str | None:
    return found.lower() if isinstance(found, str) and is_session_id(found) else None


def _named(document: object) -> Iterator[object]:
    """Every value that stands under a member for persons, however deep: a hostile document is deeper than calls may be nested."""
    left: list[object] = [document]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            for name, member in value.items():
                if name in _WORDS:
                    yield from member if isinstance(member, list) else (member,)
                else:
                    left.append(member)
        elif isinstance(value, list):
            left += value

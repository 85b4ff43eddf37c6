"""Requests that were cancelled while they waited, by request id; every replica reads them from the repairs topic. Pure.

A cancel is never needed: a replica that misses it goes on with the request. Memory is bounded, and what is read is checked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from processor.contract.acts import check_act, encode_act, find_act
from processor.contract.codes import ErrorCode
from processor.contract.decode import read_request_id
from processor.contract.records import Record

KIND = ErrorCode.CANCELLED.value
IDS_MAX = 100  # of one record, as its schema says
KEPT_MS = 15 * 60_000
_KEPT_MAX = 100_000
_SCHEMA = "cancel.v1"


class CancelFormatError(ValueError):
    """A record of this kind cannot be read. The text is safe to show."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Requests that are to end without another call, if they still wait."""

    request_ids: tuple[str, ...]
    run_id: str  # of whoever asked; a UUID


class Cancels:
    """Cancels of the last minutes; ``listeners`` are told of each new one."""

    def __init__(self) -> None:
        self.listeners: set[Callable[[Cancel], None]] = set()
        self._kept: OrderedDict[str, tuple[int, int]] = OrderedDict()  # when each was read, oldest first, and when it was written

    def __len__(self) -> int:
        return len(self._kept)

    def note_cancel(self, cancel: Cancel, now_ms: int, written_ms: int) -> None:
        """A cancel was read at ``now_ms``; it was written at ``written_ms``, by the broker's clock."""
        for request_id in cancel.request_ids:
            self._kept.pop(request_id, None)
            self._kept[request_id] = now_ms, written_ms
        while self._kept and (len(self._kept) > _KEPT_MAX or next(iter(self._kept.values()))[0] < now_ms - KEPT_MS):
            self._kept.popitem(last=False)
        for listener in self.listeners:
            listener(cancel)

    def holds(self, request_id: str, record: Record, now_ms: int) -> bool:
        """Whether a request was taken back, not too long ago: its id may stand for another one some day.

        A cancel is none for a round that an operator began afterwards, nor for a step of such a round that was written afterwards.
        """
        read_ms, written_ms = self._kept.get(request_id, (0, 0))
        redriven = any(name == "vp-replay" for name, _ in record.headers)
        return read_ms > now_ms - KEPT_MS and not (redriven and written_ms <= record.timestamp_ms)

    def of(self, record: Record, now_ms: int) -> bool:
        """The same of a record that was not decoded."""
        return bool(self._kept) and (request_id := peek_request_id(record)) is not None and self.holds(request_id, record, now_ms)


def peek_request_id(record: Record) -> str | None:
    """The request id alone, cheaply; None where none can be read. Whoever ends a request by it decodes the record first."""
    try:
        found = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    return read_request_id(found.get("request_id")) if isinstance(found, dict) else None


def encode_cancel(request_ids: Sequence[str], *, run_id: str, at_ms: int, by: str) -> bytes:
    """The value of its record in the repairs topic.

    Raises:
        ValueError: if it is not as its schema says, e.g. with too many ids.
    """
    value = {"schema_version": 1, "kind": KIND, "run_id": run_id, "at_ms": at_ms, "by": by, "request_ids": list(request_ids)}
    return encode_act(_SCHEMA, value, "cancel")


def read_cancel(value: bytes | None) -> Cancel | None:
    """The cancel that a record of the repairs topic holds; None for anything of another kind.

    Raises:
        CancelFormatError: if it says that it is one, and is not.
    """
    if (found := find_act(value, KIND)) is None:
        return None
    check_act(_SCHEMA, found, CancelFormatError)
    return Cancel(tuple(found["request_ids"]), found["run_id"])

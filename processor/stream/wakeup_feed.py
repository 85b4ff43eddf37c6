"""Reads the events and the repairs topic in every replica, whoever owns which lane: both may wake a request that waits here."""

from __future__ import annotations

import asyncio
import time

import orjson
import structlog

from processor.contract.records import Hint, Record
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError, describe
from processor.stream.reader import PartitionReader
from processor.stream.releases import ReleaseFormatError, read_release
from processor.stream.topics import topic_names
from processor.stream.wakeups import KEPT_MS, Wakeups

log = structlog.get_logger(__name__)

_AGAIN_S = 5.0
_READ_MS = 5000  # a broker answers a fetch as soon as there is a byte, and what is read here never changes
_WARN_S = 60.0
_UNREADABLE = "requests go on by looking at their sessions, and what is released waits until it is due"


class WakeupFeed:
    """One reader without a group. What it misses starts when it is due."""

    def __init__(self, settings: Settings, hints: Wakeups) -> None:
        self._settings, self._hints = settings, hints
        self._names = topic_names(settings)
        self._warn_at = 0.0

    async def run(self) -> None:
        """Read until cancelled; while Kafka cannot be read, try again."""
        while True:
            reader = PartitionReader(self._settings, if_gone="latest", wait_ms=_READ_MS)
            try:
                await self._start(reader)
                while True:
                    for records in (await reader.poll(wait_ms=_READ_MS, records_max=500)).values():
                        for record in records:
                            self.apply_record(record)
            except KafkaFailedError as exc:
                log.warning("events_unreadable", detail=describe(exc), hint=_UNREADABLE)
            finally:
                await reader.close()
            await asyncio.sleep(_AGAIN_S)

    def apply_record(self, record: Record) -> None:
        """A record of either topic was read; one that is nothing of ours is skipped."""
        if record.source.topic == self._names.repairs:
            self._apply_release(record)
        elif (hint := read_hint(record)) is not None:
            self._hints.note_event(hint)

    def _apply_release(self, record: Record) -> None:
        try:
            release = read_release(record.value)
        except ReleaseFormatError as fault:
            if time.monotonic() >= self._warn_at:
                self._warn_at = time.monotonic() + _WARN_S
                log.warning(
                    "repair_malformed", source=str(record.source), detail=str(fault), hint="something else writes to the topic; restrict it"
                )
            return
        if release is not None and release.topic in self._names.inputs:
            self._hints.releases.note_release(release, int(time.time() * 1000))

    async def _start(self, reader: PartitionReader) -> None:
        await reader.start()
        partitions = await reader.partitions(self._names.events, self._names.repairs)
        since_ms = int(time.time() * 1000) - KEPT_MS  # what came while we were away
        begins = await reader.offsets_at(partitions, since_ms)
        bounds = await reader.bounds(partitions)
        reader.assign({tp: bounds[tp][1] if (at := begins[tp]) is None else at for tp in partitions})


def read_hint(record: Record) -> Hint | None:
    """What a record of the events topic says; None for anything that is no event of ours."""
    try:
        event = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    session_id = event.get("session_id") if isinstance(event, dict) else None
    return Hint(session_id, record.timestamp_ms, event) if isinstance(session_id, str) else None

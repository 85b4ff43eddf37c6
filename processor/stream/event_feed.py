"""Reads the events topic in every replica, whoever owns which lane: an event may wake a request that waits here."""

from __future__ import annotations

import asyncio
import time

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from processor.contract.records import Hint
from processor.settings import Settings
from processor.stream.clients import build_reader, partitions_of, stop_client
from processor.stream.faults import describe
from processor.stream.hints import KEPT_MS, Hints
from processor.stream.topics import topic_names

log = structlog.get_logger(__name__)

_START_S = 30.0
_AGAIN_S = 5.0
_READ_MS = 1000
_CLOSE_S = 3.0


class EventFeed:
    """One reader without a group. What it misses is found by looking, so no error of it ends anything."""

    def __init__(self, settings: Settings, hints: Hints) -> None:
        self._settings, self._hints = settings, hints
        self._topic = topic_names(settings).events

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            consumer = build_reader(self._settings)
            try:
                async with asyncio.timeout(_START_S):
                    await self._start(consumer)
                while True:
                    for records in (await consumer.getmany(timeout_ms=_READ_MS, max_records=500)).values():
                        for record in records:
                            if (hint := read_hint(record)) is not None:
                                self._hints.take(hint)
            except (KafkaError, TimeoutError, OSError) as exc:
                log.warning("events_unreadable", detail=describe(exc), hint="requests go on by looking at their sessions")
            finally:
                await stop_client(consumer, _CLOSE_S)
            await asyncio.sleep(_AGAIN_S)

    async def _start(self, consumer: AIOKafkaConsumer) -> None:
        await consumer.start()
        partitions = await partitions_of(consumer, self._topic)
        if not partitions:
            raise TimeoutError("the topic does not exist")
        consumer.assign(partitions)
        since_ms = int(time.time() * 1000) - KEPT_MS  # events that came while we were away
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            at = found.get(partition)
            consumer.seek(partition, ends[partition] if at is None else at.offset)


def read_hint(record: ConsumerRecord) -> Hint | None:
    """What a record of the events topic says; None for anything that is no event of ours."""
    try:
        event = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    session_id = event.get("session_id") if isinstance(event, dict) else None
    return Hint(session_id, record.timestamp, event) if isinstance(session_id, str) else None

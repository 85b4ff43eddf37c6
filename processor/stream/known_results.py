"""Looks up the final result of a request that is done, for a record that asks for it again.

Every lookup is bounded: it begins in the results topic at the moment of the request's last call, as the journal remembers it, and reads
some records from there on; one at a time, some a second, and no more wait than a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum

import structlog

from processor.budget.permits import EarlierRecord
from processor.contract.result_copies import is_final_of
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError
from processor.stream.partitions import partition_of_key
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names

RECORDS_MAX = 2_000  # read for one lookup
WAITING_MAX = 200  # lookups that wait for their turn; each holds a place of its lane
_INTERVAL_S = 0.05  # between the starts of two lookups
_WITHIN_S = 15.0  # for one, with its wait
_START_S = 5.0
_REST_S = 30.0  # after Kafka has refused
_READ_MS, _BATCH = 500, 500

log = structlog.get_logger(__name__)


class Unanswered(StrEnum):
    """Why there is no result to repeat."""

    NOT_FOUND = "not_found"  # deleted, still to come, or behind more records than are read
    TOO_MANY = "too_many"  # ask again, or Kafka takes too long
    UNREAD = "unread"  # the results topic cannot be read
    OVERSIZED = "oversized"  # it is longer than what is published now


class KnownResultReader:
    """For the tasks of one event loop. Connects when it is needed first.

    Args:
        settings: how to reach Kafka.
        make_reader: for tests.
    """

    def __init__(self, settings: Settings, make_reader: Callable[[], PartitionReader] | None = None) -> None:
        self._settings, self._topic = settings, topic_names(settings).results
        self._make_reader = make_reader or (lambda: PartitionReader(settings, wait_ms=50))
        self._skew_ms = int(1000 * settings.budget.clock_skew_max_s)
        self._reader: PartitionReader | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._next_at = self._rests_until = 0.0

    async def find(self, request_id: str, earlier: EarlierRecord, *, newest: bool) -> bytes | Unanswered:
        """The value of a final result as it stands in the topic. May be cancelled.

        Args:
            request_id: of the request.
            earlier: the record that has it.
            newest: a later final may follow the first one; then everything is read that may be.
        """
        if self._waiting >= WAITING_MAX:
            return Unanswered.TOO_MANY
        self._waiting += 1
        try:
            async with asyncio.timeout(_WITHIN_S), self._turn:
                return await self._in_turn(request_id, earlier, newest=newest)
        except TimeoutError:
            return Unanswered.TOO_MANY
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the client, within seconds."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _in_turn(self, request_id: str, earlier: EarlierRecord, *, newest: bool) -> bytes | Unanswered:
        clock = asyncio.get_running_loop().time
        if clock() < self._rests_until:
            return Unanswered.UNREAD
        await asyncio.sleep(max(0.0, self._next_at - clock()))
        self._next_at = clock() + _INTERVAL_S
        try:
            return await self._look(request_id, earlier, newest=newest)
        except KafkaFailedError as exc:
            self._rests_until = clock() + _REST_S
            log.warning("known_results_unread", detail=str(exc), hint="who asks again gets no copy; processors need Read on it")
            await self.close()
            return Unanswered.UNREAD

    async def _look(self, request_id: str, earlier: EarlierRecord, *, newest: bool) -> bytes | Unanswered:
        reader, key = await self._open(), request_id.encode()
        tp = partition_of_key(key, await reader.partitions(self._topic))
        begin = (await reader.offsets_at([tp], earlier.asked_ms - self._skew_ms))[tp]
        if begin is None:
            return Unanswered.NOT_FOUND
        end = min((await reader.bounds([tp]))[tp][1], begin + RECORDS_MAX)
        found: bytes | None = None
        position = begin
        reader.assign({tp: begin})
        try:
            while position < end and (found is None or newest):
                batches = await reader.poll(tp, wait_ms=_READ_MS, records_max=_BATCH)
                await asyncio.sleep(0)  # a full buffer never makes it wait
                for record in batches.get(tp, ()):
                    if record.source.offset < end and record.key == key and is_final_of(record.value, request_id, earlier.first):
                        found = record.value
                position = max(position, reader.position(tp) or 0)
        finally:
            reader.pause(tp)  # else it goes on to fetch
        return Unanswered.NOT_FOUND if found is None else found

    async def _open(self) -> PartitionReader:
        if self._reader is None:
            reader = self._make_reader()
            try:
                await reader.start(_START_S)
            except BaseException:
                await reader.close()
                raise
            self._reader = reader
        return self._reader

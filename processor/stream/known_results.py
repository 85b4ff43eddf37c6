"""Looks up the final result of a finished request, for a duplicate of it.

Every lookup is bounded: it begins in the results topic at the moment of the request's last call, as the journal remembers it, and reads
some records from there on; one at a time, some a second, and no more wait than a bound. It begins in the partition where the result
should be; the others are for results of before the topic had so many partitions, or of a version that chose them by the key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

import structlog

from processor.budget.permits import EarlierRecord
from processor.contract.records import Record
from processor.contract.result_copies import is_final_of
from processor.contract.values import value
from processor.settings import Settings
from processor.stream.errors import KafkaFailedError
from processor.stream.partitions import TopicPartition, partition_named
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names

RECORDS_MAX = 2_000  # read for one lookup of the likely partition, and as many of the others together
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


@value(frozen=True, slots=True)
class KnownResult:
    """A final result as it stands in the topic."""

    value: bytes
    partition: int  # its number


class KnownResultReader:
    """For the tasks of one event loop. Connects when it is needed first.

    Args:
        settings: how to reach Kafka.
        make_reader: for tests.
    """

    def __init__(self, settings: Settings, make_reader: Callable[[], PartitionReader] | None = None) -> None:
        names = topic_names(settings)
        self._settings, self._topic, self._requests = settings, names.results, names.requests
        self._make_reader = make_reader or (lambda: PartitionReader(settings, wait_ms=50))
        self._skew_ms = int(1000 * settings.budget.clock_skew_max_s)
        self._reader: PartitionReader | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._next_at = self._rests_until = 0.0

    async def find(self, request_id: str, earlier: EarlierRecord, *, near: int, newest: bool) -> KnownResult | Unanswered:
        """A final result. May be cancelled.

        Args:
            request_id: of the request.
            earlier: the record that has it.
            near: the partition of the requests in which the record stands that asks again. Who gives requests keys has both in one.
            newest: a later final may follow the first one; then everything is read that may be.
        """
        if self._waiting >= WAITING_MAX:
            return Unanswered.TOO_MANY
        self._waiting += 1
        try:
            async with asyncio.timeout(_WITHIN_S), self._turn:
                return await self._in_turn(request_id, earlier, near, newest=newest)
        except TimeoutError:
            return Unanswered.TOO_MANY
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the client, within seconds."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _in_turn(self, request_id: str, earlier: EarlierRecord, near: int, *, newest: bool) -> KnownResult | Unanswered:
        clock = asyncio.get_running_loop().time
        if clock() < self._rests_until:
            return Unanswered.UNREAD
        await asyncio.sleep(max(0.0, self._next_at - clock()))
        self._next_at = clock() + _INTERVAL_S
        try:
            return await self._look(request_id, earlier, near, newest=newest)
        except KafkaFailedError as exc:
            self._rests_until = clock() + _REST_S
            log.warning("known_results_unread", detail=str(exc), hint="who asks again gets no copy; processors need Read on it")
            await self.close()
            return Unanswered.UNREAD

    async def _look(self, request_id: str, earlier: EarlierRecord, near: int, *, newest: bool) -> KnownResult | Unanswered:
        reader, key = await self._open(), request_id.encode()
        first = partition_named(earlier.lane)
        number = first.partition if first is not None and first.topic == self._requests else near
        partitions = await reader.partitions(self._topic)
        likely = partitions[number % len(partitions)]

        def is_it(record: Record) -> bool:
            return record.key == key and is_final_of(record.value, request_id, earlier.first)

        for places in [likely], [tp for tp in partitions if tp != likely]:
            found = await self._search(reader, places, earlier.asked_ms - self._skew_ms, is_it, newest=newest)
            if found is not None and found.value is not None:
                return KnownResult(found.value, found.source.partition)
        return Unanswered.NOT_FOUND

    @staticmethod
    async def _search(
        reader: PartitionReader, places: Sequence[TopicPartition], since_ms: int, is_it: Callable[[Record], bool], *, newest: bool
    ) -> Record | None:
        """The first record that is it, or the newest; ``RECORDS_MAX`` are read of all the places."""
        begins = await reader.offsets_at(places, since_ms) if places else {}
        positions = {tp: begin for tp, begin in begins.items() if begin is not None}
        if not positions:
            return None
        bounds, each_max = await reader.bounds(list(positions)), RECORDS_MAX // len(places)
        ends = {tp: min(bounds[tp][1], begin + each_max) for tp, begin in positions.items()}
        found: Record | None = None
        reader.assign(positions)
        try:
            while (left := [tp for tp in positions if positions[tp] < ends[tp]]) and (found is None or newest):
                batches = await reader.poll(*left, wait_ms=_READ_MS, records_max=_BATCH)
                await asyncio.sleep(0)  # a full buffer never makes it wait
                for tp, batch in batches.items():
                    found = next((r for r in reversed(batch) if r.source.offset < ends[tp] and is_it(r)), found)
                positions |= {tp: max(positions[tp], reader.position(tp) or 0) for tp in left}
        finally:
            reader.pause(*positions)  # else it goes on to fetch
        return found

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

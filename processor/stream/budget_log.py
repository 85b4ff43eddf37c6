"""The budget log in Kafka: one partition that every replica of an API key appends to and reads whole, without a group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from processor.budget.log import Appended, Entry, LogBrokenError, LogUnavailableError
from processor.clock import boot_clock
from processor.settings import Settings
from processor.stream.aiokafka_records import UnreadValue
from processor.stream.aiokafka_stop import stop_client
from processor.stream.broker_clock import BrokerClock, ClockReading
from processor.stream.clients import build_log_consumer, build_log_producer, partitions_of, set_fetch_wait
from processor.stream.errors import KafkaFailedError, kafka_errors, missing_topic
from processor.stream.topics import topic_names

_START_S = 20.0
_APPEND_S = 30.0  # an ask that takes longer is given up anyway
_READ_MS = 1000
_READ_RECORDS_MAX = 1000
_IDLE_FETCH_MS = 2000  # while nothing comes; well below what a leader that hangs is given (``build_log_consumer``)
_LOG_APPEND_TIME = 1
_REBUILD_AFTER = 3  # failures in a row
_MEASURE_EVERY_S = 40.0  # while a clock is wrong: each joining is a new name in the log, that counts as a replica for 45 s
_SECTION_READS_MAX = 20  # of a second each, without a record


log = structlog.get_logger(__name__)


class KafkaBudgetLog:
    """See ``budget.log.BudgetLog``.

    Args:
        settings: where it is.
        clock: learns the brokers' time from it; without one this machine's clock does not matter.
        read_only: for whoever only looks. An idempotent producer would need a right to write, even one that writes nothing.
    """

    def __init__(self, settings: Settings, clock: BrokerClock | None = None, *, read_only: bool = False) -> None:
        self._settings, self._clock, self._read_only = settings, clock, read_only
        self._clock_fault, self._measure_at = "", float("-inf")  # the latter: own steady clock, s
        self._steady_s = boot_clock if clock is None else lambda: clock.read().steady_s
        self._is_stamped = True  # by the brokers, as the last append or read has told
        self._stamped_to: int | None = None  # offset of the last append since ``open`` that was
        self._partition = TopicPartition(topic_names(settings).budget, 0)
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._failed = 0  # appends in a row
        self._rebuilding = asyncio.Lock()
        self._appends: dict[asyncio.Timeout, AIOKafkaProducer] = {}  # under way, and whose they are

    @property
    def clock_off_s(self) -> float:
        """See ``BudgetLog.clock_off_s``."""
        return 0.0 if self._clock is None else round(abs(self._clock.skew_s), 1)

    async def open(self) -> None:
        """See ``BudgetLog.open``. With a wrong clock, ours or that of the stamps, the log is joined now and then only, to look again."""
        await self.close()
        self._stamped_to = None
        if self._fault and self._steady_s() < self._measure_at:
            raise LogUnavailableError(self._fault)
        with _log_errors(self._settings):
            async with asyncio.timeout(_START_S):
                self._producer = None if self._read_only else await self._started_producer()
                self._consumer = build_log_consumer(self._settings)
                await self._consumer.start()
                if self._read_only:
                    await self._check_topic(self._consumer)  # before it is assigned: of a topic that it knows it asks no more
                self._consumer.assign([self._partition])

    async def append(self, value: bytes) -> Appended:
        """See ``BudgetLog.append``."""
        producer = self._producer
        if producer is None:
            raise LogUnavailableError("not connected")
        sent = None if self._clock is None else self._clock.read()
        with _log_errors(self._settings):
            try:
                async with asyncio.timeout(_APPEND_S) as deadline:
                    self._appends[deadline] = producer
                    try:
                        done = await producer.send_and_wait(self._partition.topic, value, partition=0)
                    finally:
                        del self._appends[deadline]
            except (KafkaError, TimeoutError) as exc:
                await self._cure(producer, exc)
                raise
            except RuntimeError as exc:
                await self._cure(producer, exc)
                raise LogUnavailableError("the producer was closed meanwhile") from exc
        self._failed = 0
        self._is_stamped = True
        if done.timestamp_type != _LOG_APPEND_TIME:
            raise self._unstamped()
        self._stamped_to = done.offset
        if self._clock is not None and sent is not None:
            self._compare(self._clock, sent, done.timestamp)
        return Appended(done.offset, done.timestamp)

    async def begin(self) -> int:
        """See ``BudgetLog.begin``."""
        return int(await self._bounded(self._reader().beginning_offsets([self._partition])))

    async def end(self) -> int:
        """See ``BudgetLog.end``."""
        return int(await self._bounded(self._reader().end_offsets([self._partition])))

    async def offset_at(self, stamp_ms: int) -> int | None:
        """See ``BudgetLog.offset_at``."""
        found = await self._bounded(self._reader().offsets_for_times({self._partition: stamp_ms}))
        return None if found is None else int(found.offset)

    def seek(self, offset: int) -> None:
        """See ``BudgetLog.seek``."""
        self._reader().seek(self._partition, offset)

    async def read(self) -> list[Entry]:
        """See ``BudgetLog.read``. With a wrong clock, ours or that of the stamps, it is not read, so that no call starts."""
        if self._fault:
            raise LogUnavailableError(self._fault)
        consumer = self._reader()
        records = await self._records(consumer)
        if records and self._became_unstamped(records[-1]):
            raise self._unstamped()
        if not records:  # all is read back, and nothing will be sought: a fetch that is under way would hold a seek up
            set_fetch_wait(consumer, _IDLE_FETCH_MS)
        return [_entry(r) for r in records]

    async def section(self, start: int, stop: int) -> AsyncIterator[list[Entry]]:
        """See ``BudgetLog.section``."""
        consumer = build_log_consumer(self._settings)
        silent = 0
        try:
            with _log_errors(self._settings):
                async with asyncio.timeout(_START_S):
                    await consumer.start()
            consumer.assign([self._partition])
            consumer.seek(self._partition, start)
            following = start
            while following < stop:
                records = await self._records(consumer)
                silent = 0 if records else silent + 1
                if silent >= _SECTION_READS_MAX:
                    raise LogUnavailableError(f"the budget log gives nothing from offset {following} on")
                if records:
                    following = records[-1].offset + 1
                    yield [_entry(r) for r in records if r.offset < stop]
        finally:
            await stop_client(consumer, 3.0)

    async def close(self) -> None:
        """See ``BudgetLog.close``."""
        producer, consumer = self._producer, self._consumer
        self._producer = self._consumer = None
        await asyncio.gather(self._stop_producer(producer), *([] if consumer is None else [stop_client(consumer, 3.0)]))

    async def _stop_producer(self, producer: AIOKafkaProducer | None) -> None:
        """End a producer, and what still waits for it: aiokafka leaves its records without an answer."""
        if producer is None:
            return
        await stop_client(producer, 3.0)
        now = asyncio.get_running_loop().time()
        for deadline, sender in self._appends.items():
            if sender is producer and not deadline.expired():
                deadline.reschedule(now)

    async def _check_topic(self, consumer: AIOKafkaConsumer) -> None:
        """A reader alone is told nothing: it would wait for a topic that it may not see, or that is not there, as for brokers."""
        if not await partitions_of(consumer, self._partition.topic):
            raise missing_topic(self._partition.topic, self._settings)

    async def _records(self, consumer: AIOKafkaConsumer) -> list[ConsumerRecord]:
        with _log_errors(self._settings):
            try:
                batches = await consumer.getmany(self._partition, timeout_ms=_READ_MS, max_records=_READ_RECORDS_MAX)
            except OffsetOutOfRangeError as exc:
                raise LogBrokenError("the next offset is not there any more; was the topic purged or created again?") from exc
        records: list[ConsumerRecord] = batches.get(self._partition, [])
        if (unread := next((r.value.unread for r in records if isinstance(r.value, UnreadValue)), None)) is not None:
            consumer.seek(self._partition, records[0].offset)  # to go on behind it would forget calls
            raise LogUnavailableError(
                f"a batch of {self._partition.topic}, offsets {unread.first} to {unread.last}, {unread.detail}; something else writes to "
                "the topic, or a disk is broken"
            )
        return records

    def _became_unstamped(self, last: ConsumerRecord) -> bool:
        """Whether a record tells that the topic is wrong since our last append: it may be an ask, read before the answer to its append."""
        return last.timestamp_type != _LOG_APPEND_TIME and self._stamped_to is not None and last.offset > self._stamped_to

    def _unstamped(self) -> LogUnavailableError:
        """The topic is wrong from now on, until an append tells otherwise."""
        self._is_stamped, self._measure_at = False, self._steady_s() + _MEASURE_EVERY_S
        return LogUnavailableError(self._fault)

    @property
    def _fault(self) -> str:
        """Why nothing may be reserved, as the last append or read has told; empty if nothing is wrong.

        What stands in the log without the brokers' stamps is no fault: it was written while the topic was wrong, and nothing was reserved.
        """
        if not self._is_stamped:
            return (
                f"message.timestamp.type of {self._partition.topic} is not LogAppendTime. No call starts until it is set back; that is "
                f"noticed within {_MEASURE_EVERY_S:.0f} s"
            )
        return "" if self._clock is None else self._clock.fault

    def _compare(self, clock: BrokerClock, sent: ClockReading, stamp_ms: int) -> None:
        received = clock.read()
        clock.note(sent, stamp_ms, received)
        self._measure_at = received.steady_s + _MEASURE_EVERY_S
        if clock.fault and not self._clock_fault:
            log.critical("clock_wrong", detail=clock.fault, skew_s=round(clock.skew_s, 1))
        elif self._clock_fault and not clock.fault:
            log.info("clock_right", skew_s=round(clock.skew_s, 1))
        self._clock_fault = clock.fault

    async def _cure(self, broken: AIOKafkaProducer, error: Exception) -> None:
        """An idempotent producer may refuse everything after one fatal error: replace it."""
        if self._producer is not broken:
            return  # replaced or closed meanwhile
        self._failed += 1
        if isinstance(error, KafkaError) and error.retriable and self._failed < _REBUILD_AFTER:
            return
        async with self._rebuilding:
            if self._producer is not broken:
                return  # replaced or closed meanwhile
            try:
                async with asyncio.timeout(_START_S):
                    fresh = await self._started_producer()
            except (KafkaError, OSError):
                return  # the next failure tries again
            if self._producer is not broken:
                await stop_client(fresh, 3.0)  # opened again or closed meanwhile
                return
            self._producer, self._failed = fresh, 0
            await self._stop_producer(broken)

    async def _started_producer(self) -> AIOKafkaProducer:
        producer = build_log_producer(self._settings)
        try:
            await producer.start()
        except BaseException:
            await stop_client(producer, 3.0)
            raise
        return producer

    def _reader(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise LogUnavailableError("not connected")
        return self._consumer

    async def _bounded(self, question: Awaitable[dict[TopicPartition, Any]]) -> Any:
        with _log_errors(self._settings):
            async with asyncio.timeout(_START_S):
                return (await question)[self._partition]


def _entry(record: ConsumerRecord) -> Entry:
    return Entry(record.offset, record.timestamp, record.value)


@contextmanager
def _log_errors(settings: Settings) -> Iterator[None]:
    """The border's text in the port's own error: the budget knows no Kafka."""
    try:
        with kafka_errors(settings):
            yield
    except KafkaFailedError as exc:
        raise LogUnavailableError(str(exc)) from exc

"""Topics of an installation that has done very much, on a real Kafka: what it would have left, by the product's own encoders.

Every fiftieth request was tried twice, every hundredth failed and has a dead letter, each call stands in the budget log, and one in a
hundred thousand has no result, so that an audit has something to find. Stamps are those of a steady load of some hours, not of the writing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.harness import WORKFLOW_ID
from processor.budget.log_records import Asked, Ended, encode
from processor.budget.permits import CallIdentity
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.decode import decode
from processor.contract.digests import request_digest, source_digest
from processor.contract.encode import dead_letter_output, result_output, retry_output
from processor.contract.records import ErrorInfo, Headers, Output, Record, Result, Source, Status
from processor.stream.topics import TopicNames

PARTITIONS = 8
PER_S = 300  # requests
RETRIED_EVERY, FAILED_EVERY, LOST_EVERY = 50, 100, 100_003
_CALL_AT, _CALLED_AT, _RETRY_AT = 15, 45, 12 * PER_S  # so many requests later
_BATCH_BYTES, _FLIGHT_MAX = 500_000, 4
_JOBS = 3
_CONTENT = "c" * 20
_SCOPES = ("session-create", "generic-write")
_INTERNAL = ErrorInfo(ErrorType.INTERNAL, ErrorCode.INTERNAL_ERROR, "it did not work")


class Row(NamedTuple):
    """A record to write."""

    stamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True)
class Installation:
    """Names and size. ``began_ms``: when the first request came, epoch ms."""

    bootstrap: str
    names: TopicNames
    group: str
    requests: int
    began_ms: int

    @property
    def lost(self) -> int:
        """Requests that have no result."""
        return self.requests // LOST_EVERY

    def at_ms(self, number: int) -> int:
        """When the request with this number came."""
        return self.began_ms + number * 1000 // PER_S

    def numbers(self, partition: int) -> range:
        """Of the requests of a partition, in its order."""
        return range(partition, self.requests, PARTITIONS)

    def record(self, number: int) -> Record:
        """The caller's record."""
        request_id = _id(number)
        value = (
            f'{{"request_id":"{request_id}","operation":"session.create",'
            f'"input":{{"workflow_id":"{WORKFLOW_ID}","vendor_data":"user-{number}"}}}}'
        )
        source = Source(self.names.requests, number % PARTITIONS, number // PARTITIONS)
        return Record(source, b"user-%d" % number, value.encode(), (), self.at_ms(number))

    # ---- what lies in each topic, in order

    def of_requests(self, partition: int) -> Iterator[Row]:
        for number in self.numbers(partition):
            record = self.record(number)
            yield Row(record.timestamp_ms, record.key, record.value)

    def of_delays(self, partition: int) -> Iterator[Row]:
        delay_s = self.names.delays_s[0]
        for number in self.numbers(partition):
            if _is_retried(number):
                record = self.record(number)
                stamp_ms = record.timestamp_ms + 1000
                hop = replace(decode(record).hop, hop=1, attempt=1, due_ms=stamp_ms + 1000 * delay_s, last_error=ErrorCode.TIMEOUT)
                yield _row(retry_output(record, hop, delay_s), stamp_ms)

    def of_results(self, partition: int) -> Iterator[Row]:
        for number in self.numbers(partition):
            if not _is_lost(number):
                record, retried = self.record(number), _is_retried(number)
                stamp_ms = record.timestamp_ms + (_RETRY_AT * 1000 // PER_S if retried else 200)
                failed = _is_failed(number)
                status, error = (Status.FAILED, _INTERNAL) if failed else (Status.SUCCEEDED, None)
                output = None if failed else {"session_id": f"s-{number:032d}", "status": "Not Started"}
                attempts = 1 + retried
                result = Result(
                    _id(number), "session.create", status, record.source, attempts, record.timestamp_ms, stamp_ms, output, error
                )
                yield _row(result_output(result), stamp_ms)

    def of_dead_letters(self, partition: int) -> Iterator[Row]:
        for number in self.numbers(partition):
            if _is_failed(number) and not _is_lost(number):
                record = self.record(number)
                stamp_ms = record.timestamp_ms + 200
                hop = decode(record).hop
                made = dead_letter_output(record, hop, _INTERNAL, attempts=1, failed_ms=stamp_ms, value_bytes_max=100_000)
                yield _row(made, stamp_ms)

    def of_budget(self, _partition: int) -> Iterator[Row]:
        for now in range(self.requests + _RETRY_AT + _CALLED_AT):
            stamp_ms = self.at_ms(now)
            for hop, since in ((0, 0), (1, _RETRY_AT)):
                if self._calls(asked := now - since - _CALL_AT, hop):
                    yield Row(stamp_ms, None, encode(self._asked(asked, hop)))
                if self._calls(ended := now - since - _CALLED_AT, hop):
                    yield Row(stamp_ms, None, encode(Ended(f"c-{ended}-{hop}", used=True, acted=True)))

    def _calls(self, number: int, hop: int) -> bool:
        return 0 <= number < self.requests and (not hop or _is_retried(number))

    def _asked(self, number: int, hop: int) -> Asked:
        source = Source(self.names.requests, number % PARTITIONS, number // PARTITIONS)
        at = source
        if hop:
            at = Source(self.names.retry(self.names.delays_s[0]), source.partition, source.offset // RETRIED_EVERY)
        identity = CallIdentity(request_digest(self.names.prefix, _id(number)), _CONTENT, source_digest(source), at.lane, at.offset)
        return Asked(f"c-{number}-{hop}", _SCOPES, 60.0, "session.create", identity=identity)


def _id(number: int) -> str:
    return f"b-{number:09d}"


def _is_retried(number: int) -> bool:
    return number // PARTITIONS % RETRIED_EVERY == 0


def _is_failed(number: int) -> bool:
    return number // PARTITIONS % FAILED_EVERY == 1


def _is_lost(number: int) -> bool:
    return number % LOST_EVERY == LOST_EVERY - 1


def _row(output: Output, stamp_ms: int) -> Row:
    return Row(stamp_ms, output.key, output.value, output.headers)


def fill(installation: Installation) -> int:
    """Make the topics and write all of it, with some processes at once; how many records that are."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a topic that was made a moment ago has no leader yet
    asyncio.run(_create(installation))
    parts = [(kind, partition) for kind in ("requests", "results", "delays", "dead_letters") for partition in range(PARTITIONS)]
    with ProcessPoolExecutor(_JOBS) as pool:
        written = [pool.submit(_fill, installation, kind, partition) for kind, partition in [("budget", 0), *parts]]
        counts = [one.result() for one in written]
    asyncio.run(_commit(installation))
    return sum(counts)


async def _create(installation: Installation) -> None:
    names, configs = installation.names, {"message.timestamp.type": "CreateTime"}
    wide = [*names.inputs, *names.outputs]
    topics = [NewTopic(name, PARTITIONS, 1, topic_configs=configs) for name in wide]
    topics += [NewTopic(name, 1, 1, topic_configs=configs) for name in (names.budget, names.repairs, names.controls)]
    admin = AIOKafkaAdminClient(bootstrap_servers=installation.bootstrap)
    await admin.start()
    try:
        await admin.create_topics(topics)
    finally:
        await admin.close()


def _fill(installation: Installation, kind: str, partition: int) -> int:
    names = installation.names
    rows, topic = {
        "requests": (installation.of_requests, names.requests),
        "results": (installation.of_results, names.results),
        "delays": (installation.of_delays, names.retry(names.delays_s[0])),
        "dead_letters": (installation.of_dead_letters, names.dead_letters),
        "budget": (installation.of_budget, names.budget),
    }[kind]
    return asyncio.run(_write(installation.bootstrap, topic, partition, rows(partition)))


async def _write(bootstrap: str, topic: str, partition: int, rows: Iterable[Row]) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="lz4", max_batch_size=_BATCH_BYTES, acks="all")
    await producer.start()
    count, flying = 0, deque[asyncio.Future[object]]()
    try:
        batch = producer.create_batch()
        for row in rows:
            fields = {"timestamp": row.stamp_ms, "key": row.key, "value": row.value, "headers": list(row.headers)}
            if batch.append(**fields) is None:
                flying.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(**fields)
                if len(flying) > _FLIGHT_MAX:
                    await flying.popleft()
            count += 1
        if batch.record_count():
            flying.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*flying)
    finally:
        await producer.stop()
    return count


async def _commit(installation: Installation) -> None:
    """All is done."""
    consumer = AIOKafkaConsumer(bootstrap_servers=installation.bootstrap, group_id=installation.group, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for topic in installation.names.inputs for n in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.commit({tp: (end, "") for tp, end in (await consumer.end_offsets(partitions)).items()})
    finally:
        await consumer.stop()

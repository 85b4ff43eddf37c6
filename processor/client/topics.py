"""Publishing requests and reading topics, for the client, the commands, the demo and the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from processor.contract.decode import Accepted, decode
from processor.contract.records import ErrorInfo, Record, Request, Source
from processor.settings import Settings
from processor.stream.clients import partitions_of, stop_client
from processor.stream.topics import topic_names

_FLIGHT_MAX = 500
_PRODUCE_S = 30.0
_CLOSE_S = 5.0


class RequestsFileError(Exception):
    """Lines of a file that are no valid requests; nothing was published. One fault a line, with its line number."""


def read_requests(path: Path) -> list[tuple[bytes, bytes]]:
    """Key and value of each line of a JSON Lines file; blank lines are skipped.

    The key is the request's ``vendor_data``, so that one user's requests stay in one partition, else its ``request_id``.

    Raises:
        RequestsFileError: if any line breaks the contract.
        OSError: if the file cannot be read.
    """
    requests, faults = [], []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            value = line.strip()
            if not value:
                continue
            decoded = decode(Record(Source(path.name, 0, number), None, value))
            if isinstance(decoded, Accepted):
                requests.append((record_key(decoded.request), value))
            else:
                faults.append(line_fault(number, decoded.error))
    if faults:
        raise RequestsFileError("\n".join(faults))
    return requests


def record_key(request: Request) -> bytes:
    """The key under which a request is published where its caller names none: one person's requests stay in one partition."""
    return str(request.input.get("vendor_data") or request.request_id).encode()


def line_fault(number: int, error: ErrorInfo) -> str:
    """What is wrong with a line of a file of requests."""
    where = f" at {error.field}" if error.field else ""
    return f"line {number}: {error.code}{where}: {error.message}"


class TopicMissingError(Exception):
    """A topic does not exist; the text says which and what to do."""


@asynccontextmanager
async def request_producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer for the requests topic."""
    producer = AIOKafkaProducer(**settings.kafka.client_options(), acks="all", enable_idempotence=True, linger_ms=5, max_batch_size=131_072)
    try:
        async with asyncio.timeout(_PRODUCE_S):
            await producer.start()
        yield producer
    finally:
        await stop_client(producer, _CLOSE_S)


async def publish_requests(
    settings: Settings, requests: Sequence[tuple[bytes | None, bytes | None]], *, on_acked: Callable[[int], None] | None = None
) -> None:
    """Publish and wait until the brokers have everything.

    Raises:
        KafkaError, TimeoutError: if a record was not acknowledged.
    """
    topic = topic_names(settings).requests
    async with request_producer(settings) as producer:
        for begin in range(0, len(requests), _FLIGHT_MAX):
            chunk = requests[begin : begin + _FLIGHT_MAX]
            async with asyncio.timeout(_PRODUCE_S):
                sent = [await producer.send(topic, value, key) for key, value in chunk]
                await asyncio.gather(*sent)
            if on_acked is not None:
                on_acked(len(chunk))


@asynccontextmanager
async def topic_reader(settings: Settings, topics: Iterable[str], *, from_end: bool = False) -> AsyncIterator[AIOKafkaConsumer]:
    """A read_committed consumer of all partitions of some topics, without a group.

    Raises:
        TopicMissingError: if one of them does not exist.
    """
    consumer = AIOKafkaConsumer(
        **settings.kafka.client_options(), isolation_level="read_committed", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        async with asyncio.timeout(_PRODUCE_S):
            await consumer.start()
            partitions = await _partitions(consumer, list(topics))
            consumer.assign(partitions)
            await (consumer.seek_to_end() if from_end else consumer.seek_to_beginning())
        yield consumer
    finally:
        await stop_client(consumer, _CLOSE_S)


async def read_topics(consumer: AIOKafkaConsumer, *, wait_s: float) -> list[ConsumerRecord]:
    """The next records, at most ``wait_s`` later; empty if there were none."""
    batches = await consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=1000)
    return [record for batch in batches.values() for record in batch]


async def _partitions(consumer: AIOKafkaConsumer, topics: list[str]) -> list[TopicPartition]:
    found: list[TopicPartition] = []
    for topic in topics:
        partitions = await partitions_of(consumer, topic)
        if not partitions:
            raise TopicMissingError(f"{topic} does not exist; create the topics with `processor topics apply`")
        found += partitions
    return found

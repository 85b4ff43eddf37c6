"""Publishing requests and reading topics, for the client, the commands, the demo and the tests."""

from __future__ import annotations

from bisect import insort
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import BinaryIO

from processor.contract.decode import Accepted, decode
from processor.contract.records import ErrorInfo, Record, Request, Source
from processor.settings import Settings
from processor.stream.errors import TopicMissingError
from processor.stream.reader import PartitionReader
from processor.stream.topics import topic_names
from processor.stream.writer import RecordWriter

__all__ = [
    "LineFaults",
    "RequestsFileError",
    "TopicMissingError",
    "fault_text",
    "publish_requests",
    "read_requests",
    "read_topics",
    "record_key",
    "request_producer",
    "topic_reader",
]

_FLIGHT_MAX = 500
_FAULTS_SHOWN = 20
_PRODUCE_S = 30.0
_CLOSE_S = 5.0


class RequestsFileError(Exception):
    """Lines of a file that are no valid requests; nothing was published. The first faults, one a line, and how many more."""


class LineFaults:
    """What is wrong with the lines of a file: the first are kept, all are counted. They come in the order of lines, but for the last."""

    def __init__(self) -> None:
        self._first: list[tuple[int, str, str]] = []
        self._count = 0

    def add(self, line: int, text: str, place: str | None = None) -> None:
        """One more; ``place``: what the line is called, e.g. ``B7``."""
        self._count += 1
        insort(self._first, (line, place or f"line {line}", text))
        del self._first[_FAULTS_SHOWN:]

    def raise_if_any(self) -> None:
        """Say what is wrong.

        Raises:
            RequestsFileError: if anything is.
        """
        if self._count:
            more = self._count - len(self._first)
            lines = [f"{place}: {text}" for _, place, text in self._first]
            raise RequestsFileError("\n".join([*lines, *([f"and {more} more"] if more else [])]))


def read_requests(name: str, lines: BinaryIO) -> list[tuple[bytes, bytes]]:
    """Key and value of each line of JSON Lines, which are closed at the end; blank lines are skipped. ``name`` is for people.

    The key is the request's ``vendor_data``, so that one user's requests stay in one partition, else its ``request_id``.

    Raises:
        RequestsFileError: if any line breaks the contract.
        OSError: if the file cannot be read.
    """
    requests, faults = [], LineFaults()
    with lines:
        for number, line in enumerate(lines, 1):
            value = line.strip()
            if not value:
                continue
            decoded = decode(Record(Source(name, 0, number), None, value))
            if isinstance(decoded, Accepted):
                requests.append((record_key(decoded.request), value))
            else:
                faults.add(number, fault_text(decoded.error))
    faults.raise_if_any()
    return requests


def record_key(request: Request) -> bytes:
    """The key under which a request is published where its caller names none: one person's requests stay in one partition."""
    return str(request.input.get("vendor_data") or request.request_id).encode()


def fault_text(error: ErrorInfo) -> str:
    """What is wrong with a request of a file."""
    where = f" at {error.field}" if error.field else ""
    return f"{error.code}{where}: {error.message}"


def request_producer(settings: Settings) -> AbstractAsyncContextManager[RecordWriter]:
    """An idempotent producer for the requests topic.

    Raises:
        KafkaFailedError: on entering, if the brokers cannot be reached, or do not let us in.
    """
    return RecordWriter.of_requests(settings).opened(_PRODUCE_S, _CLOSE_S)


async def publish_requests(
    settings: Settings, requests: Sequence[tuple[bytes | None, bytes | None]], *, on_acked: Callable[[int], None] | None = None
) -> None:
    """Publish and wait until the brokers have everything.

    Raises:
        TopicMissingError: if there is no requests topic; nothing was published then.
        KafkaFailedError: if a record was not acknowledged.
    """
    topic = topic_names(settings).requests
    async with request_producer(settings) as producer:
        await producer.check_topic(topic, _PRODUCE_S)
        for begin in range(0, len(requests), _FLIGHT_MAX):
            chunk = requests[begin : begin + _FLIGHT_MAX]
            await producer.send_all(topic, chunk, _PRODUCE_S)
            if on_acked is not None:
                on_acked(len(chunk))


@asynccontextmanager
async def topic_reader(settings: Settings, topics: Iterable[str], *, from_end: bool = False) -> AsyncIterator[PartitionReader]:
    """A reader of all partitions of some topics, from their beginning or from their end on. Nothing that comes later is missed.

    Read it by ``read_topics``, which finds partitions that are added.

    Raises:
        TopicMissingError: if one of them does not exist.
        KafkaFailedError: if the brokers cannot be reached, or do not let us in.
    """
    reader = PartitionReader(settings)
    try:
        await reader.start()
        bounds = await reader.bounds(await reader.partitions(*topics))
        reader.assign({tp: end if from_end else begin for tp, (begin, end) in bounds.items()})
        yield reader
    finally:
        await reader.close(_CLOSE_S)


async def read_topics(reader: PartitionReader, *, wait_s: float) -> list[Record]:
    """The next records, at most ``wait_s`` later; empty if there were none.

    Raises:
        KafkaFailedError: if the brokers refuse; the next call goes on.
    """
    reader.assign_added()
    batches = await reader.poll(wait_ms=int(wait_s * 1000))
    return [record for batch in batches.values() for record in batch]

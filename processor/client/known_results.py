"""Final results that the topic holds already, for those who ask again under a ``request_id`` that is done: no other result will come.

A result answers a request if it has its id and the record that it answers had the same content; with another content the request ends
as a conflict. A record that its topic keeps no more cannot be compared, so its result answers nobody.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from processor.client.results import VerificationResult
from processor.contract.decode import Accepted, decode
from processor.contract.digests import content_digest
from processor.contract.records import Record, Source, Status
from processor.contract.result_copies import copy_for
from processor.settings import Settings
from processor.stream.errors import NotAuthorizedError
from processor.stream.partitions import TopicPartition, partition_named, partition_of
from processor.stream.topic_reader import OnUnread, TopicReader
from processor.stream.topics import topic_names

_FETCH = 500  # results that are held at a time

Place = tuple[TopicPartition, int]
Final = tuple[Record, Mapping[str, Any]]  # a final result as it stands in the topic, and what its value says


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where a final result stands, and the record that it answers."""

    place: Place
    source: Place
    replay: int
    finished_at: datetime

    def is_older_than(self, other: Candidate) -> bool:
        """Whether another one that was read later is newer. Those of one round stand in one partition, in order, unless it got more."""
        if other.replay != self.replay:
            return other.replay > self.replay
        return other.place[0] == self.place[0] or other.finished_at >= self.finished_at


async def read_known_results(
    settings: Settings,
    wanted: Mapping[str, str],
    *,
    on_unread: OnUnread,
    within_s: float | None = None,
    on_uncompared: Callable[[], None] | None = None,
) -> AsyncGenerator[tuple[VerificationResult, bytes]]:
    """The newest final result of each request that is done, parsed and as it stands in the topic, in no order.

    Args:
        settings: how to reach Kafka.
        wanted: request id -> digest of the content.
        on_unread: told of batches that cannot be read; what they held is not known.
        within_s: how old a result may be; default whatever the topic keeps.
        on_uncompared: called if the requests topic may not be read; then results are told by their ids alone.

    Raises:
        NotAuthorizedError: before the first one, if the requests topic may not be read, and without ``on_uncompared``.
        KafkaFailedError: if the topics cannot be read.
    """
    async with TopicReader(settings, on_unread) as reader:
        found = await _candidates(reader, settings, wanted, within_s)
        try:
            same = await _of_same_content(reader, wanted, found)
        except NotAuthorizedError:
            if on_uncompared is None:
                raise
            on_uncompared()
            same = list(found)
    async with TopicReader(settings, on_unread) as reader:  # another one: what was refused may come again
        places = [found[request_id].place for request_id in same]
        for begin in range(0, len(places), _FETCH):
            for record in (await reader.fetch(places[begin : begin + _FETCH])).values():
                if record.unread is None:
                    yield VerificationResult.parse(record.value), record.value or b""


async def answering(reader: TopicReader, topic: str, finals: Sequence[Final], content_of: Callable[[str], str | None]) -> list[Final]:
    """Of final results that have come those that answer a request of somebody's, who knows its id and its content: see ``of_same_content``.

    Args:
        reader: of the requests topic.
        topic: its name.
        finals: records of the results topic, and what their values say.
        content_of: gives the digest of the content by a request id; None for one that is not waited for.

    Raises:
        KafkaFailedError: if the requests topic cannot be read.
    """
    wanted = [(record, result, content) for record, result in finals if (content := content_of(str(result.get("request_id")))) is not None]
    same = await of_same_content(reader, topic, [(_answered(record, result), content) for record, result, content in wanted])
    return [(record, result) for (record, result, _), is_same in zip(wanted, same, strict=True) if is_same]


async def of_same_content(reader: TopicReader, topic: str, answered: Sequence[tuple[Place | None, str]]) -> list[bool]:
    """Whether records had the content that is expected, in the same order.

    Another record under the same id may have had another content: then its result is another's, and the own record ends as a conflict, or
    the other way round. What cannot be compared, because the topic keeps the record no more or nobody can read it, is taken for the same.

    Args:
        reader: of the requests topic.
        topic: its name.
        answered: where a record stands, None if nobody says, and the digest that its content should have.

    Raises:
        KafkaFailedError: if the requests topic cannot be read.
    """
    if not answered:
        return []
    known = set(await reader.partitions(topic))
    contents = await _contents(reader, [place for place, _ in answered if place is not None and place[0] in known])
    return [place is None or contents.get(place, content) == content for place, content in answered]


def note_final(found: dict[str, Candidate], wanted: Mapping[str, str], record: Record) -> None:
    """Keep the newest final result of each request that is wanted, by what a record of the results topic says."""
    request_id = (record.key or b"").decode(errors="replace")
    if request_id not in wanted:
        return
    try:
        result = VerificationResult.parse(record.value)
    except ValueError:
        return  # of a newer version: who waits for it is told when it comes
    if result.request_id != request_id or not result.is_final or result.status is Status.CONFLICT:
        return
    candidate, known = Candidate(place_of(record.source), place_of(result.source), result.replay, result.finished_at), found.get(request_id)
    if known is None or known.is_older_than(candidate):
        found[request_id] = candidate


async def _candidates(reader: TopicReader, settings: Settings, wanted: Mapping[str, str], within_s: float | None) -> dict[str, Candidate]:
    partitions = await reader.partitions(topic_names(settings).results)  # all: who asked first stands in whichever of the requests
    ranges = await reader.bounds(partitions)
    if within_s is not None:
        begins = await reader.offsets_at(partitions, round((time.time() - within_s) * 1000))
        ranges = {tp: (end if (at := begins[tp]) is None else max(begin, at), end) for tp, (begin, end) in ranges.items()}
    found: dict[str, Candidate] = {}
    async with reader.read(ranges) as batches:
        async for batch in batches:
            for record in batch:
                note_final(found, wanted, record)
    return found


async def _of_same_content(reader: TopicReader, wanted: Mapping[str, str], found: Mapping[str, Candidate]) -> list[str]:
    requests = {candidate.source: request_id for request_id, candidate in found.items()}
    contents = await _contents(reader, list(requests))
    return [requests[place] for place, content in contents.items() if content == wanted[requests[place]]]


async def _contents(reader: TopicReader, places: Sequence[Place]) -> dict[Place, str]:
    """Digests of the contents of requests by where they stand; empty for what is none. Of those that are gone or unreadable none."""
    found: dict[Place, str] = {}
    for begin in range(0, len(places), _FETCH):
        for place, record in (await reader.fetch(places[begin : begin + _FETCH])).items():
            if record.unread is not None:
                continue  # nobody knows what it was
            decoded = decode(record)
            found[place] = content_digest(decoded.request) if isinstance(decoded, Accepted) else ""
    return found


def _answered(record: Record, result: Mapping[str, Any]) -> Place | None:
    """Where the record stands that a result answers, of a copy the one that asked again; None if it does not say."""
    if (asked := copy_for(record.headers)) is not None:
        lane, _, number = asked.rpartition("@")
        partition = partition_named(lane)
        return (partition, int(number)) if partition is not None and number.isdecimal() and number.isascii() else None
    match result.get("source"):
        case {"topic": str(topic), "partition": int(partition_number), "offset": int(offset)}:
            return TopicPartition(topic, partition_number), offset
        case _:
            return None


def place_of(source: Source) -> Place:
    """Where a record stands, for a ``TopicReader``."""
    return partition_of(source), source.offset

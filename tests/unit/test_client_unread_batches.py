"""A batch that nobody can decode is told once, and holds up no reader of results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from processor.client import VerificationClient
from processor.client.unread_batches import UnreadBatches
from processor.contract.codes import ErrorCode
from processor.contract.records import Record, Source, Unread
from processor.stream.partitions import TopicPartition
from processor.stream.reader import PartitionReader

TOPIC = "verification.results"
ONE, TWO = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


def unread(last: int, *, blocks: bool) -> Unread:
    return Unread(ErrorCode.BATCH_UNREADABLE, 7, last, 100, "has a wrong checksum", blocks=blocks)


def record(tp: TopicPartition, offset: int, broken: Unread | None = None) -> Record:
    return Record(Source(tp.topic, tp.partition, offset), None, None if broken else b"{}", unread=broken)


Turn = tuple[dict[TopicPartition, list[Record]], dict[TopicPartition, Unread]]


class Turns(PartitionReader):
    """Gives what a partition reader gives in one poll after the other, and then waits."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        self._turns, self.sought = list(turns), list[tuple[TopicPartition, int]]()
        self.is_through = asyncio.Event()

    def assign_added(self) -> None:
        pass

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.sought.append((tp, offset))

    async def poll(self, *_partitions: Any, blocks: dict[TopicPartition, Unread] | None = None, **_options: Any) -> Any:
        if not self._turns:
            self.is_through.set()
            await asyncio.sleep(3600)
        found, blocked = self._turns.pop(0)
        assert blocks is not None
        blocks |= blocked
        return found


async def read_all(turns: list[Turn]) -> tuple[list[Source], list[str], Turns, UnreadBatches]:
    told: list[str] = []
    batches, reader, found = UnreadBatches(told.append), Turns(turns), list[Source]()
    for _ in turns:
        found += [each.source for each in await batches.read(reader, wait_s=0.0)]
    return found, told, reader, batches


async def test_one_whose_records_are_known_to_be_lost_is_told_and_gives_nothing() -> None:
    found, told, reader, batches = await read_all([({ONE: [record(ONE, 6), record(ONE, 9, unread(9, blocks=False)), record(ONE, 10)]}, {})])
    assert [source.offset for source in found] == [6, 10]
    assert [text.split(":")[:2] for text in told] == [[f"{TOPIC}[0]", " offsets 7 to 9 cannot be read"]]
    assert (reader.sought, batches.waiting, batches.count) == ([], set(), 1)


async def test_one_with_an_end_is_passed_and_what_was_read_beside_it_is_kept() -> None:
    found, told, reader, batches = await read_all(
        [({TWO: [record(TWO, 3)]}, {ONE: unread(9, blocks=True)}), ({ONE: [record(ONE, 10)]}, {})]
    )
    assert found == [Source(TOPIC, 1, 3), Source(TOPIC, 0, 10)]
    assert (reader.sought, batches.waiting, len(told)) == ([(ONE, 10)], set(), 1)


async def test_one_without_an_end_stops_its_partition_until_another_is_behind_it() -> None:
    endless: Turn = ({}, {ONE: unread(6, blocks=True)})
    _, told, reader, batches = await read_all([endless, endless, ({TWO: [record(TWO, 3)]}, endless[1])])
    assert (reader.sought, batches.waiting, len(told)) == ([], {ONE}, 1), "told once"
    assert "nothing can be read from offset 7 on" in told[0]
    found, told, reader, batches = await read_all([endless, ({}, {ONE: unread(9, blocks=True)}), ({ONE: [record(ONE, 10)]}, {})])
    assert (found, reader.sought, batches.waiting) == ([Source(TOPIC, 0, 10)], [(ONE, 10)], set())
    assert len(told) == 2, "that it waited, and that it goes on"
    _, _, _, repaired = await read_all([endless, ({ONE: [record(ONE, 7)]}, {})])
    assert repaired.waiting == set(), "another broker leads it, and has the batch whole"


async def test_a_client_reads_on_and_says_what_it_has_skipped(caplog: pytest.LogCaptureFixture) -> None:
    client = VerificationClient("127.0.0.1:1")
    reader = Turns([({}, {ONE: unread(9, blocks=True)}), ({ONE: [record(ONE, 20, unread(20, blocks=False))]}, {})])
    reading = asyncio.create_task(client._read(reader))  # noqa: SLF001 - a broken disk that no Kafka brings about
    await asyncio.wait_for(reader.is_through.wait(), 30)
    assert not reading.done()
    assert [text.split(":")[0] for text in caplog.messages] == [f"{TOPIC}[0]"], "the same batch, however it is met"
    reading.cancel()
    await asyncio.wait({reading})

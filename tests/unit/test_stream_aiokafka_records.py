"""Batches as a broker hands them over, good and bad: every offset is read, or answered by an unread record that names it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record._crc32c import crc
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from processor.contract.codes import ErrorCode
from processor.stream.aiokafka_answers import UNREADABLE
from processor.stream.aiokafka_records import _QUICK_PACKED_BYTES, BoundedMemoryRecords, UnreadValue
from processor.stream.aiokafka_results import BoundedFetchResult, OpenBatches
from processor.stream.partitions import TopicPartition
from processor.stream.unpacking import UNPACKED_BYTES_MAX
from processor.stream.unpacking_thread import UnpackingThread

TP = TopicPartition("t", 0)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def batch(base: int, *values: bytes, codec: int = 0, header: str | None = None) -> bytearray:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=2**31 - 1
    )
    for number, value in enumerate(values):
        builder.append(offset=number, timestamp=1000 + number, key=b"k", value=value, headers=[(header, b"x")] if header else [])
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    return raw


def stamped(raw: bytearray) -> bytearray:
    """With the right checksum, after something was changed."""
    struct.pack_into(">I", raw, 17, crc(bytes(raw[21:])))
    return raw


def read(data: bytes, start: int = 0) -> list[Any]:
    return list(PartitionRecords(TP, BoundedMemoryRecords(data), [], start, None, None, check_crcs=True, isolation_level=READ_COMMITTED))


def seen(data: bytes, start: int = 0) -> list[tuple[int, Any]]:
    """Offsets, with values or with code, first and last offset of what is unread."""
    return [
        (r.offset, (u.code, u.first, u.last) if isinstance(r.value, UnreadValue) and (u := r.value.unread) else r.value)
        for r in read(data, start)
    ]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_codec_is_read(codec: int) -> None:
    data = bytes(batch(10, b"a", b"b", codec=codec) + batch(12, b"c"))
    assert seen(data, 10) == [(10, b"a"), (11, b"b"), (12, b"c")]
    assert seen(data, 11) == [(11, b"b"), (12, b"c")], "a fetch may begin in the middle of a batch"
    assert [r.timestamp for r in read(data, 10)] == [1000, 1001, 1000]


@pytest.mark.parametrize("codec", list(CODECS.values())[1:], ids=list(CODECS)[1:])
def test_a_batch_that_grows_beyond_the_bound_is_answered_at_its_last_offset(codec: int) -> None:
    bomb = batch(5, *[b" " * (UNPACKED_BYTES_MAX // 3)] * 4, codec=codec)
    assert seen(bytes(batch(4, b"before") + bomb + batch(9, b"after")), 4) == [
        (4, b"before"),
        (8, (ErrorCode.BATCH_TOO_LARGE, 5, 8)),
        (9, b"after"),
    ]


def _cut(raw: bytearray) -> bytearray:
    del raw[-20:]
    struct.pack_into(">i", raw, 8, len(raw) - 12)
    return stamped(raw)


def _unknown_codec(raw: bytearray) -> bytearray:
    raw[22] |= 7
    return stamped(raw)


def _noise(raw: bytearray) -> bytearray:
    raw[61:] = bytes(b ^ 0x5A for b in raw[61:])
    return stamped(raw)


def _wrong_checksum(raw: bytearray) -> bytearray:
    raw[70] ^= 1
    return raw


@pytest.mark.parametrize("codec", list(CODECS.values())[1:], ids=list(CODECS)[1:])
@pytest.mark.parametrize("spoil", [_cut, _unknown_codec, _noise, _wrong_checksum])
def test_a_packed_batch_that_cannot_be_read_stops_nothing_but_itself(codec: int, spoil: Callable[[bytearray], bytearray]) -> None:
    bad = spoil(batch(5, bytes(range(200)), bytes(range(200, 0, -1)), b"c", codec=codec))
    got = seen(bytes(bad + batch(8, b"after")), 5)
    assert got[-1] == (8, b"after")
    offset, (code, first, last) = got[-2]
    assert (offset, code, last) == (7, ErrorCode.BATCH_UNREADABLE, 7)
    assert [o for o, _ in got[:-2]] == list(range(5, first)), "what could be read was read, and nothing is missing"


def test_a_broken_record_ends_its_batch_and_those_before_it_are_read() -> None:
    raw = batch(5, b"a" * 50, b"b" * 50, b"c" * 50)
    at = raw.index(b"b" * 50)
    raw[at - 1] = 0x7F  # the length of its value
    assert seen(bytes(stamped(raw) + batch(8, b"after")), 5) == [
        (5, b"a" * 50),
        (7, (ErrorCode.BATCH_UNREADABLE, 6, 7)),
        (8, b"after"),
    ]


def test_a_header_name_that_is_not_utf8_is_read_with_its_bytes_written_out() -> None:
    raw = batch(0, b"a", b"b", header="~~", codec=0)
    at = raw.rindex(b"~~")
    raw[at : at + 2] = b"\xff\xfe"
    assert [(r.value, r.headers[0][0]) for r in read(bytes(stamped(raw)))] == [(b"a", "~~"), (b"b", "\\xff\\xfe")]


@pytest.mark.parametrize("magic", [0, 1])
def test_batches_of_old_formats_are_read_unless_they_are_packed(magic: int) -> None:
    def legacy(codec: int) -> bytes:
        builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=10_000)
        builder.append(0, timestamp=1, key=None, value=b"old")
        return bytes(builder.build())

    assert seen(legacy(0)) == [(0, b"old")]
    assert seen(legacy(1)) == [(0, (ErrorCode.BATCH_UNREADABLE, 0, 0))]


class _Assignment:
    """As much of aiokafka's as a FetchResult asks for."""

    active = True
    highwater = 9

    def __init__(self, position: int) -> None:
        self.position, self.paused = position, False

    def state_value(self, tp: TopicPartition) -> _Assignment:
        assert tp == TP
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def result_of(data: bytes, assignment: _Assignment, open_batches: OpenBatches | None = None) -> BoundedFetchResult:
    records = PartitionRecords(
        TP, BoundedMemoryRecords(data), [], assignment.position, None, None, check_crcs=True, isolation_level=READ_COMMITTED
    )
    return BoundedFetchResult(TP, assignment=assignment, partition_records=records, backoff=0.1, open_batches=open_batches)


def turns(data: bytes, start: int, count_max: int = 500) -> list[list[int]]:
    assignment = _Assignment(start)
    result = result_of(data, assignment)
    found = []
    while result.has_more():
        taken = result.getall(count_max)
        found.append([r.offset for r in taken])
        assert not taken or assignment.position > taken[-1].offset
    return [offsets for offsets in found if offsets]


def test_records_are_handed_over_by_count_and_by_bytes() -> None:
    assert turns(bytes(batch(0, *[b"x"] * 5)), 0, 2) == [[0, 1], [2, 3], [4]]
    assert turns(bytes(batch(0, *[b" " * 900_000] * 12, codec=1)), 0) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_each_unread_batch_ends_a_turn() -> None:
    bomb = [b" " * (UNPACKED_BYTES_MAX + 1)]
    data = bytes(batch(0, b"a") + batch(1, *bomb, codec=4) + batch(2, *bomb, codec=4) + batch(3, b"b"))
    assert turns(data, 0) == [[0, 1], [2], [3]]


def _senseless(raw: bytearray) -> bytearray:
    struct.pack_into(">i", raw, 23, 7_000_000)  # the last offset delta
    return raw


@pytest.mark.parametrize(
    ("behind", "last"), [(batch(7, b"after"), 6), (b"", -1), (batch(3, b"before"), -1), (batch(10, b"beyond the end"), -1)]
)
def test_a_wrong_checksum_whose_header_makes_no_sense_holds_the_partition(behind: bytes, last: int) -> None:
    """To go on behind it would lose requests that nobody can name; and nothing is raised, for other partitions go on."""
    data = bytes(batch(4, b"before") + _senseless(batch(5, b"a", b"b")) + behind)
    assignment = _Assignment(4)
    assert [r.value for r in result_of(data, assignment).getall(500)] == [b"before"]
    for _ in range(3):  # as it is fetched again
        (marker,) = result_of(data[len(batch(4, b"before")) :], assignment).getall(500)
        unread = marker.value.unread
        assert (marker.offset, unread.blocks, unread.first, unread.last, assignment.position) == (5, True, 5, last, 5)


def test_what_stands_for_a_batch_that_the_broker_does_not_find_holds_the_partition() -> None:
    assignment = _Assignment(5)
    (marker,) = result_of(UNREADABLE, assignment).getall(500)
    unread = marker.value.unread
    assert (marker.offset, unread.blocks, unread.first, unread.last, assignment.position) == (5, True, 5, -1, 5)
    assert unread.detail == "is not found by the broker: its length is broken"


MANY = [b" " * 1_000_000] * 12  # handed over in three turns
GROWN = 12_000_000


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("codec", [1, 4], ids=["gzip", "zstd"])
def test_what_all_partitions_have_unpacked_at_once_is_bounded(codec: int) -> None:
    """Those without room wait, and those that nobody reads on in make room."""
    clock = _Clock()
    bytes_max = UNPACKED_BYTES_MAX + 2 * GROWN + 1000
    opened = OpenBatches(bytes_max, clock)
    data = bytes(batch(0, *MANY, codec=codec))
    results = [result_of(data, _Assignment(0), opened) for _ in range(5)]
    assert [len(result.getall(500)) for result in results] == [5, 5, 5, 0, 0]
    assert 3 * GROWN < opened.size_bytes <= bytes_max
    plain = result_of(bytes(batch(0, b"a")), _Assignment(0), opened)
    assert len(plain.getall(500)) == 1, "what is not packed needs no room"
    assert [r.offset for result in results[:1] for _ in range(2) for r in result.getall(500)] == list(range(5, 12))
    assert [len(results[3].getall(500)), len(results[4].getall(500))] == [5, 0], "what is read to its end gives its room back"
    clock.now += 4
    assert len(results[1].getall(500)) == 5
    clock.now += 2
    assert len(results[4].getall(500)) == 5
    assert [result.has_more() for result in results] == [False, True, False, True, True], "the one that was read last the longest ago"
    assert results[2]._assignment.position == 5, "it is fetched again from where it was"  # noqa: SLF001 - of a stand-in
    assert results[2].getall(500) == []
    opened.drop()
    assert (opened.size_bytes, [result.has_more() for result in results]) == (0, [False] * 5)


def test_what_was_revoked_makes_room_at_once() -> None:
    opened = OpenBatches(UNPACKED_BYTES_MAX, _Clock())
    data = bytes(batch(0, *MANY, codec=1))
    assignment = _Assignment(0)
    old, new = result_of(data, assignment, opened), result_of(data, _Assignment(0), opened)
    assert (len(old.getall(500)), new.getall(500)) == (5, [])
    assignment.active = False
    assert len(new.getall(500)) == 5


class _HeldThread:
    """Unpacks when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.called_soon = 0

    def start(self, unpack: Callable[[bytes], Any], packed: bytes) -> Future[Any]:
        self.jobs.append((Future(), lambda: unpack(packed)))
        return self.jobs[-1][0]

    def work(self) -> None:
        for job, unpack in self.jobs:
            job.set_result(unpack())
        self.jobs = []

    def call_soon(self) -> None:
        self.called_soon += 1

    def close(self) -> None:
        self.jobs = []


def apart(data: bytes, start: int, thread: _HeldThread, clock: Callable[[], float] | None = None) -> tuple[BoundedFetchResult, _Assignment]:
    """With a clock that stands still, unless another one is given: no turn is over."""
    assignment = _Assignment(start)
    return result_of(data, assignment, OpenBatches(clock=clock or _Clock(), thread=cast("Any", thread))), assignment


@pytest.mark.parametrize("codec", list(CODECS.values())[1:], ids=list(CODECS)[1:])
def test_a_large_batch_is_unpacked_in_a_thread_and_waited_for_where_it_is(codec: int) -> None:
    thread = _HeldThread()
    data = bytes(batch(5, b"small", codec=codec) + batch(6, b"a" * 200_000, b"b" * 200_000, codec=codec) + batch(8, b"after"))
    result, assignment = apart(data, 5, thread)
    assert [r.offset for r in result.getall(500)] == [5], "a small one is not worth the way"
    for _ in range(3):
        assert (result.getall(500), result.has_more(), assignment.position, len(thread.jobs)) == ([], True, 6, 1)
        assert (result.open_bytes, thread.called_soon) == (UNPACKED_BYTES_MAX, 0), "as far as it may grow; the thread tells"
    thread.work()
    assert [(r.offset, r.value[:1]) for r in result.getall(2)] == [(6, b"a"), (7, b"b")]
    assert (assignment.position, [r.offset for r in result.getall(500)], result.has_more()) == (8, [8], False)
    assert result.open_bytes == 0


def test_a_batch_that_a_thread_cannot_unpack_is_answered_as_ever() -> None:
    thread = _HeldThread()
    data = bytes(batch(5, *[b" " * 9_000_000] * 2, codec=1) + _noise_of_large(batch(7, bytes(range(256)) * 900, codec=2)) + batch(8, b"c"))
    result, assignment = apart(data, 5, thread)
    found: list[Any] = []
    while result.has_more():
        found += result.getall(500)
        assert result.open_bytes == (UNPACKED_BYTES_MAX if thread.jobs else 0), "one that failed gives its room back"
        thread.work()
    codes = [r.value.unread.code if isinstance(r.value, UnreadValue) else r.value for r in found]
    assert codes == [ErrorCode.BATCH_TOO_LARGE, ErrorCode.BATCH_UNREADABLE, b"c"]
    assert ([r.offset for r in found], assignment.position) == ([6, 7, 8], 9)


def _noise_of_large(raw: bytearray) -> bytearray:
    raw[70:] = bytes(b ^ 0x5A for b in raw[70:]) + bytes(_QUICK_PACKED_BYTES)
    struct.pack_into(">i", raw, 8, len(raw) - 12)
    return stamped(raw)


@pytest.mark.parametrize("seen_in", ["the middle", "the gap before it"])
def test_what_is_suspended_goes_on_where_the_fetch_began(seen_in: str) -> None:
    thread = _HeldThread()
    start = 6 if seen_in == "the middle" else 3
    result, assignment = apart(bytes(batch(5, *[b"a" * 200_000] * 3, codec=4)), start, thread)
    assert (result.getall(500), assignment.position) == ([], max(start, 5))
    thread.work()
    assert [r.offset for r in result.getall(500)] == list(range(max(start, 5), 8))


@pytest.mark.parametrize("header", [None, "~~"], ids=["quick parser", "slow parser"])
def test_records_that_were_read_before_are_skipped_in_turns(header: str | None) -> None:
    """A fetch gives a batch from its beginning, wherever it goes on: 16 MiB can hold 1.6 million records."""
    clock, thread = _Clock(), _HeldThread()

    def tick() -> float:
        clock.now += 0.004
        return clock.now

    raw = batch(0, *[b""] * 1000, header=header)
    if header is not None:
        at = raw.rindex(b"~~")  # of the last record: all before it are read once more
        raw[at : at + 2] = b"\xff\xfe"
    result, assignment = apart(bytes(stamped(raw)), 990, thread, tick)
    calls: list[list[int]] = []
    while result.has_more():
        calls.append([r.offset for r in result.getall(500)])
        assert assignment.position == (calls[-1][-1] + 1 if calls[-1] else max([990, *(1 + o for c in calls for o in c)]))
    assert [offset for call in calls for offset in call] == list(range(990, 1000)), "each once"
    assert thread.called_soon == len([call for call in calls[:-1] if len(call) < 500]) >= 4, "and goes on in the next turn of the loop"


def test_what_is_dropped_while_it_is_unpacked_is_forgotten() -> None:
    thread = _HeldThread()
    result, _ = apart(bytes(batch(0, *MANY, codec=1)), 0, thread)
    assert result.getall(500) == []
    result.drop()
    thread.work()
    assert (result.getall(500), result.has_more(), result.open_bytes) == ([], False, 0)


async def test_the_thread_unpacks_while_the_loop_goes_on_and_tells_when_it_is_done() -> None:
    told = asyncio.Event()
    thread = UnpackingThread(told.set)
    try:
        assignment = _Assignment(0)
        result = result_of(bytes(batch(0, *MANY, codec=4)), assignment, OpenBatches(thread=thread))
        assert result.getall(500) == []
        async with asyncio.timeout(10):
            await told.wait()
        assert [r.offset for r in result.getall(500)] == [0, 1, 2, 3, 4]
        job = thread.start(lambda _: b"", b"")
        thread.close()
        assert job.cancelled()
    finally:
        thread.close()

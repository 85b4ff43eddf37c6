"""What a lane of a delay topic holds of a backlog: the bound is one of memory, not of what the records say of themselves."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from test_stream_lane import NOW, HeldHandler, NoJournal
from virtual_time import run_virtual

from processor.bounds.loop_turns import LoopTurns
from processor.budget.fair_queue import FairQueue
from processor.budget.parked_requests import ParkedRequests, Room
from processor.budget.permits import ParkedWait
from processor.contract.headers import hop_headers
from processor.contract.records import Hop, Record, Source
from processor.engine.places import place_of
from processor.settings import LaneSettings
from processor.stream.clients import record_of
from processor.stream.lane import Lane
from processor.stream.offsets import OffsetTracker
from processor.stream.wakeups import Wakeups

BOUND_BYTES = 2_000_000
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class LineIsFull(HeldHandler):
    """Everything that was sent away waits in the queue of a real line."""

    def __init__(self) -> None:
        super().__init__()
        self.line = ParkedRequests(FairQueue(), 100, lambda: Room.NOBODY)

    def park(self, record: Record, start: Callable[[], None]) -> ParkedWait | None:
        place = place_of(record, NOW)
        return None if place is None else self.line.park(place, start)


def fetched(offset: int, *, last_error: str, padding: int, copied: int) -> Record:
    """A record as it comes from the client: every text and every value an object of its own."""
    what = {"full_name": f"Ann {offset}", "note": "x" * padding}
    value = orjson.dumps({"request_id": f"r-{offset:07d}", "operation": "aml", "input": what})
    more = (("traceparent", TRACE), *((f"x-caller-{n}", b"12345678") for n in range(copied)))
    hop = Hop(Source("verification.requests", 3, offset), NOW - 1, hop=1, due_ms=NOW + 3_600_000, last_error=last_error, copied=more)
    headers = tuple((bytes(name, "ascii").decode(), bytes(bytearray(raw or b""))) for name, raw in hop_headers(hop))
    plain = bytes(bytearray(value))
    key = b"user-%d" % offset
    return record_of(ConsumerRecord("verification.retry.1h", 0, offset, NOW, 1, key, plain, None, len(key), len(plain), headers))


@pytest.mark.parametrize("last_error", ["queue_full", "server_error"])
@pytest.mark.parametrize(("padding", "copied"), [(0, 0), (0, 12), (400, 0), (4000, 0), (4000, 12)])
def test_a_lane_full_of_waiting_records_takes_the_memory_that_it_may(last_error: str, padding: int, copied: int) -> None:
    """Seen on a real broker: 16 delay partitions of 20 000 small records took 1.2 GB; the bound counted 365 bytes of 3 450 for each."""
    handler: Any = LineIsFull()

    async def fill() -> int:
        lane = Lane(
            TopicPartition("verification.retry.1h", 0),
            OffsetTracker(0),
            handler,
            LaneSettings(ahead_bytes_max=BOUND_BYTES),
            clock_ms=lambda: NOW,
            on_room=lambda: None,
            on_failed=lambda _: None,
            on_skip=lambda _: None,
            holds_undue=True,
            journal=NoJournal(),
            hints=Wakeups(lambda _: False),
            turns=LoopTurns(lambda: 0.0),
        )
        offset = 0
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        while lane.wants_records:
            lane.deliver([fetched(offset, last_error=last_error, padding=padding, copied=copied)])
            offset += 1
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        assert lane.snapshot()["delayed"] == offset
        lane.stop_dispatch()
        return held

    tracemalloc.start()
    try:
        held_bytes = run_virtual(fill())
    finally:
        tracemalloc.stop()
    assert 0.6 * BOUND_BYTES < held_bytes < 1.1 * BOUND_BYTES, held_bytes

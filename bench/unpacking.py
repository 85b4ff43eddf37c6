"""How long one call of the fetcher keeps the event loop, for batches that unpack to 15 MB: with the thread, and without it."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from bench.harness import emit
from processor.stream.aiokafka_records import BoundedMemoryRecords
from processor.stream.aiokafka_results import BoundedFetchResult, OpenBatches
from processor.stream.partitions import TopicPartition
from processor.stream.unpacking_thread import UnpackingThread

_TP = TopicPartition("bench", 0)
_SIZE_BYTES = 15_000_000
_CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def _batch(value: bytes, codec: int) -> tuple[bytes, int]:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, 2 * _SIZE_BYTES)
    count = size_bytes = 0
    while size_bytes < _SIZE_BYTES:
        size_bytes += builder.append(count, 0, None, value, []).size
        count += 1
    return bytes(builder.build()), count


async def _longest_ms(data: bytes, start: int, *, threaded: bool) -> float:
    """CPU time of the longest call, ms."""
    state = SimpleNamespace(position=start, paused=False)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment: Any = SimpleNamespace(active=True, state_value=lambda _: state)
    records = PartitionRecords(_TP, BoundedMemoryRecords(data), [], start, None, None, True, READ_COMMITTED)  # noqa: FBT003 - aiokafka's
    news = asyncio.Event()
    thread = UnpackingThread(news.set)
    opened = OpenBatches(thread=thread if threaded else None)
    result = BoundedFetchResult(_TP, assignment=assignment, partition_records=records, backoff=0, open_batches=opened)
    longest_s = 0.0
    for _ in range(1_000):
        news.clear()
        began = time.thread_time()
        taken = result.getall(500)
        longest_s = max(longest_s, time.thread_time() - began)
        if not result.has_more():
            break
        if not taken:
            await news.wait()
    thread.close()
    return round(longest_s * 1000, 1)


async def _measure() -> dict[str, float]:
    found: dict[str, float] = {}
    for kind, value in (("requests", b"x" * 600), ("empty records", b"")):
        for name, codec in _CODECS.items():
            data, count = _batch(value, codec)
            for where, start in (("from the first", 0), ("from the last", count - 1)):
                for way, threaded in (("in the loop", False), ("with the thread", True)):
                    found[f"{name}, {kind}, {where}, {way}"] = await _longest_ms(data, start, threaded=threaded)
    return found


if __name__ == "__main__":
    measured = asyncio.run(_measure())
    emit({**measured, "worst_ms": max(ms for name, ms in measured.items() if name.endswith("thread"))})

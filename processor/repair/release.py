"""Releases or ends waiting requests: says so in the repairs topic, and sees what becomes of them.

No record is moved: the lane that holds one starts it at once (``stream/releases.py``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from processor.repair.delayed import DelayedProgress, progress_of
from processor.repair.delayed_index import DelayedIndex
from processor.repair.model import DelayedRecord
from processor.settings import Settings
from processor.stream.releases import OFFSETS_MAX, Release, encode_release
from processor.stream.topics import topic_names
from processor.stream.writer import RecordWriter

_WRITE_S = 30.0
_LOOK_S = 0.5


def releases_of(records: Sequence[DelayedRecord], run_id: str, *, end: bool = False) -> list[Release]:
    """The records to write, bounded in size, each partition's in the given order; ``end``: they are to end, not to be tried."""
    by_position: dict[tuple[str, int], list[int]] = {}
    for r in records:
        by_position.setdefault((r.topic, r.partition), []).append(r.offset)
    return [
        Release(topic, partition, tuple(offsets[at : at + OFFSETS_MAX]), run_id, end=end)
        for (topic, partition), offsets in sorted(by_position.items())
        for at in range(0, len(offsets), OFFSETS_MAX)
    ]


async def publish_releases(settings: Settings, releases: Sequence[Release], *, by: str, at_ms: int) -> None:
    """Write releases and wait until the brokers have them. Written twice they do no harm.

    Raises:
        KafkaFailedError: if one was not acknowledged.
    """
    async with RecordWriter.of_one_act(settings) as writer:
        values = [(None, encode_release(release, at_ms=at_ms, by=by)) for release in releases]
        await writer.send_all(topic_names(settings).repairs, values, _WRITE_S)


async def follow(
    named: Sequence[DelayedRecord], indices: Sequence[DelayedIndex], within_s: float, notify: Callable[[DelayedProgress], None]
) -> DelayedProgress:
    """Look until all are done with, for ``within_s`` at most; ``notify`` hears of each look.

    Raises:
        KafkaFailedError: if the brokers do not answer.
    """
    until, records = time.monotonic() + within_s, [index.records for index in indices]
    while True:
        await _refresh(indices)
        if not progress_of(named, *records).left:
            await _refresh(indices)  # the commits are looked at last: what waits again since the same transaction was not read yet
        progress = progress_of(named, *records)
        notify(progress)
        if not progress.left or time.monotonic() >= until:
            return progress
        await asyncio.sleep(min(_LOOK_S, max(0.0, until - time.monotonic())))


async def _refresh(indices: Sequence[DelayedIndex]) -> None:
    for index in indices:
        await index.refresh()

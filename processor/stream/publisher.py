"""Publishes a lane's finished outcomes, one transaction after the other, until the lane closes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from processor.contract.records import Output
from processor.stream.counters import count_published, count_unpublished
from processor.stream.lane import Lane
from processor.stream.publish_pace import PublishPace

# An idle lane commits now and then: the broker forgets a transactional id that is idle for a week, and the position of the
# journal that a new owner has to read back to must not fall behind what every replica remembers anyway.
_RENEW_S = 20 * 60.0

Commit = Callable[[Iterable[Output], int, str], Awaitable[None]]


async def publish(
    lane: Lane, commit: Commit, count_max: int, pace: PublishPace, saved_floor: int, on_published: Callable[[int], None]
) -> None:
    """Run until ``lane.closing`` and nothing is left to publish.

    Args:
        lane: where outcomes come from.
        commit: makes one transaction of outputs, an offset and its metadata, see ``OutcomeWriter.commit``.
        count_max: records completed in one transaction.
        pace: of this lane.
        saved_floor: the offset that is committed already.
        on_published: told how many records each transaction completed.

    Raises:
        KafkaFailedError: if a transaction failed; the life of the group member ends then.
    """
    while True:
        renew = not await _woken(lane.wake)
        lane.wake.clear()
        while True:
            batch = lane.take_finished(count_max)
            records = [record for record, _ in batch]
            floor, metadata = lane.view(records)
            if not batch and floor <= saved_floor and not renew:
                break
            began = time.monotonic()
            try:
                await commit((output for _, outputs in batch for output in outputs), floor, metadata)
            except BaseException:
                count_unpublished()
                raise
            lane.published(records, floor, metadata)
            done = time.monotonic()
            count_published(lane.partition.topic, batch, done - began)
            saved_floor, renew = floor, False
            on_published(len(records))
            pause_s = pace.published(len(records), began, done)
            if not lane.closing and not lane.is_full:
                await asyncio.sleep(pause_s)
        if lane.closing:
            return


async def _woken(event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(_RENEW_S):
            await event.wait()
    except TimeoutError:
        return False
    return True

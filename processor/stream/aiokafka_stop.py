"""Ends aiokafka clients within a time, whatever they do: stop() may hang, and leave tasks that run as long as the process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors


async def stop_client(client: AIOKafkaConsumer | AIOKafkaProducer, deadline_s: float) -> None:
    """Stop a client within ``deadline_s``, whatever it does: stop() may hang, fail, or raise a CancelledError of its own."""
    task = asyncio.ensure_future(client.stop())
    done, _ = await asyncio.wait({task}, timeout=deadline_s)
    await end_task(task, 1.0)
    if done and not task.cancelled() and task.exception() is None:
        return
    # it did not come to what it ends last: a consumer would fetch, and send heartbeats, for as long as the process lives
    inner: Any = client._client if isinstance(client, AIOKafkaConsumer) else client.client  # noqa: SLF001 - stop() did not reach its own close()
    left = _tasks_of(client)
    for still_running in left:
        still_running.cancel()
    closing = asyncio.ensure_future(inner.close())  # a cancelled stop() leaves it cancelled futures of connections to wait for
    await asyncio.wait({closing, *left}, timeout=1.0)
    await asyncio.gather(end_task(closing, 1.0), *(end_task(task, 1.0) for task in left))


def _tasks_of(client: AIOKafkaConsumer | AIOKafkaProducer) -> set[asyncio.Task[None]]:
    """The tasks that a client has begun, but for those of its connections."""
    if isinstance(client, AIOKafkaProducer):
        found = [client._sender.sender_task]  # noqa: SLF001 - no public way
    else:
        names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task")
        found = [getattr(client._coordinator, name, None) for name in names]  # noqa: SLF001 - no public way
        if (fetcher := client._fetcher) is not None:  # noqa: SLF001 - no public way
            found += [fetcher._fetch_task, *fetcher._pending_tasks]  # noqa: SLF001 - no public way
    return {task for task in found if task is not None}


async def end_task(task: asyncio.Future[Any], within_s: float) -> None:
    """Cancel a task that is not needed any more, and wait for its end for ``within_s`` at most; what it raises is of no interest."""
    task.cancel()
    await asyncio.wait({task}, timeout=within_s)
    if task.done() and not task.cancelled():
        task.exception()  # read, so that it is not reported as lost


async def run_until(stop: asyncio.Event, work: Awaitable[object], cancel_s: float) -> None:
    """Wait for what looks at no stop signal itself, but no longer than until ``stop``; then it is cancelled, for ``cancel_s`` at most."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        await end_task(working, cancel_s)
        await end_task(stopping, cancel_s)


async def drop_producer(producer: AIOKafkaProducer, deadline_s: float) -> None:
    """End a producer and forget what it has not written: stop() alone would flush first, and then leave its sender behind."""
    sender: asyncio.Task[None] | None = producer._sender.sender_task  # noqa: SLF001 - no public way
    if sender is not None and not sender.done():
        sender.cancel()
        await asyncio.wait({sender}, timeout=deadline_s)
    accumulator = producer._message_accumulator  # noqa: SLF001 - no public way
    left = [batch for batches in accumulator._batches.values() for batch in batches] + list(accumulator._pending_batches)  # noqa: SLF001 - no public way
    accumulator._pending_batches.update(left)  # noqa: SLF001 - of one that was to be sent again aiokafka takes for granted that it is there
    accumulator.fail_all(errors.ProducerClosed())  # a cancelled sender fails nothing by itself
    told = [waiter for batch in left for waiter in (batch.future, batch._drain_waiter)]  # noqa: SLF001 - no public way
    waiters = [sender, getattr(producer._txn_manager, "_transaction_waiter", None), *told]  # noqa: SLF001 - no public way
    for waiter in waiters:
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()  # looked at, so that it is not reported as lost
    await stop_client(producer, deadline_s)

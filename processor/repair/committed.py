"""Which records of the input topics are done: what the group has committed, with its gap maps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from processor.settings import Settings
from processor.stream.offsets import Finished, finished_of

_DEADLINE_S = 30.0
_CLOSE_S = 3.0


async def read_finished(settings: Settings, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Finished]:
    """Where the group stands; of a partition without a committed offset nothing is done.

    Raises:
        KafkaError, TimeoutError: if the brokers cannot be asked.
    """
    admin = AIOKafkaAdminClient(**settings.kafka.client_options(), request_timeout_ms=15_000)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await admin.start()
            committed = await admin.list_consumer_group_offsets(settings.kafka.group)
    finally:
        await asyncio.wait({asyncio.ensure_future(admin.close())}, timeout=_CLOSE_S)
    found = {}
    for tp in partitions:
        at = committed.get(tp)
        found[tp] = finished_of(at.offset, at.metadata or "") if at is not None and at.offset >= 0 else Finished()
    return found

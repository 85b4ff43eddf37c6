"""Which records of the input topics are not done: what the group has committed, with its gap maps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from processor.settings import Settings
from processor.stream.ledger import GapMapError, decode_metadata

_DEADLINE_S = 30.0
_CLOSE_S = 3.0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Of one partition: everything from ``floor`` on that is not in ``done``."""

    floor: int
    done: frozenset[int] = frozenset()

    def holds(self, offset: int) -> bool:
        """Whether the record at an offset is not done."""
        return offset >= self.floor and offset not in self.done


async def read_unfinished(settings: Settings, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Unfinished]:
    """Where the group stands; a partition without a committed offset is unfinished from its beginning.

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
        found[tp] = _unfinished(at.offset, at.metadata or "") if at is not None and at.offset >= 0 else Unfinished(0)
    return found


def _unfinished(floor: int, metadata: str) -> Unfinished:
    try:
        return Unfinished(floor, frozenset(decode_metadata(floor, metadata).done))
    except GapMapError:
        return Unfinished(floor)  # somebody else has committed: more may seem unfinished than is

"""What a group member asks of Kafka. The real Kafka is the default; tests give a consumer and writers in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError

from processor.contract.records import Output, Record
from processor.settings import Settings
from processor.stream import aiokafka_stop, clients, recovery
from processor.stream.ownerless import ownerless_partitions, rejoin
from processor.stream.start_offset import FoundStart
from processor.stream.topics import TopicNames
from processor.stream.transactions import LaneWriter

_ASK_S = 5.0


class GroupConsumer(Protocol):
    """The consumer of one life. Errors of aiokafka pass through: the member translates them, and has the deadlines."""

    def subscribe(self, topics: Sequence[str], listener: ConsumerRebalanceListener) -> None:
        """Say what to read and who is told of assignments; before ``start``."""
        ...

    async def start(self) -> None:
        """Join the group. Waits without a bound."""
        ...

    async def stop(self, deadline_s: float) -> None:
        """End within the deadline, whatever happens."""
        ...

    def leave_on_stop(self) -> None:
        """Let ``stop`` leave the group although the member is static."""
        ...

    def membership(self) -> tuple[int, str]:
        """Generation and member id."""
        ...

    def check_membership(self) -> None:
        """Raise the error that ``poll`` would raise before it looks for records."""
        ...

    async def check_rights(self) -> None:
        """See that the brokers let us do what a processor does.

        Raises:
            RightsMissingError: if not; it names all that is missing.
        """
        ...

    async def ownerless(self) -> frozenset[TopicPartition]:
        """Partitions of our topics that no member of the group has, see ``stream.ownerless``; none if that is not known."""
        ...

    def rejoin(self) -> None:
        """Join the group again, soon."""
        ...

    async def is_led(self, partition: TopicPartition) -> bool:
        """Whether a broker leads it, as the brokers say now."""
        ...

    async def find_start(self, partition: TopicPartition) -> FoundStart:
        """Where to begin, as ``recovery.find_start``."""
        ...

    async def offset_at(self, partition: TopicPartition, stamp_ms: int) -> int | None:
        """The first record that was stamped at or after a time, epoch ms; None if there is none."""
        ...

    async def poll(self, partitions: Sequence[TopicPartition], wait_ms: int, count_max: int) -> Mapping[TopicPartition, Sequence[Record]]:
        """The next records of these partitions (at least one). Has no deadline of its own during a rebalance."""
        ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch nothing of these partitions."""
        ...

    def resume_at(self, partition: TopicPartition, offset: int) -> None:
        """Deliver from this offset on."""
        ...

    def read_position(self, partition: TopicPartition) -> int | None:
        """The next offset to fetch, beyond transaction markers; None while it is not known."""
        ...

    def known_end(self, partition: TopicPartition) -> int:
        """The partition's end as the last fetch told it; 0 before the first one."""
        ...


class OutcomeWriter(Protocol):
    """The one writer of a partition's outcomes, see ``transactions.LaneWriter``."""

    async def start(self, on_held_up: Callable[[Sequence[TopicPartition]], None]) -> None:
        """Fence the former owner. Waits while its transaction cannot be ended; tells it each time, with the partitions without a leader.

        Raises:
            KafkaFailedError: if it cannot be done.
        """
        ...

    async def commit(self, outputs: Iterable[Output], floor: int, metadata: str) -> None:
        """One transaction.

        Raises:
            KafkaFailedError: if anything failed.
        """
        ...

    async def unwritable(self) -> Sequence[TopicPartition]:
        """After a commit that raised: of the partitions that it wrote to, those that take no records now. Asks until a broker tells.

        Raises:
            KafkaFailedError: if it cannot be known.
        """
        ...

    async def stop(self, deadline_s: float) -> None:
        """Close the producer within the deadline."""
        ...


class KafkaGroupConsumer:
    """The real ``GroupConsumer``."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._policy = settings, settings.kafka.on_missing_offsets
        self._consumer = clients.build_consumer(settings)

    def subscribe(self, topics: Sequence[str], listener: ConsumerRebalanceListener) -> None:
        """See ``GroupConsumer``."""
        clients.listen(self._consumer, list(topics), listener)

    async def start(self) -> None:
        """See ``GroupConsumer``."""
        await self._consumer.start()

    async def stop(self, deadline_s: float) -> None:
        """See ``GroupConsumer``."""
        await aiokafka_stop.stop_client(self._consumer, deadline_s)

    def leave_on_stop(self) -> None:
        """See ``GroupConsumer``."""
        clients.leave_on_stop(self._consumer)

    def membership(self) -> tuple[int, str]:
        """See ``GroupConsumer``."""
        return clients.membership(self._consumer)

    def check_membership(self) -> None:
        """See ``GroupConsumer``."""
        clients.check_membership(self._consumer)

    async def check_rights(self) -> None:
        """See ``GroupConsumer``."""
        await clients.check_member_rights(self._consumer, self._settings)

    async def ownerless(self) -> frozenset[TopicPartition]:
        """See ``GroupConsumer``."""
        try:
            async with asyncio.timeout(_ASK_S):
                return await ownerless_partitions(self._consumer, self._settings.kafka.group)
        except (KafkaError, TimeoutError):
            return frozenset()

    def rejoin(self) -> None:
        """See ``GroupConsumer``."""
        rejoin(self._consumer)

    async def is_led(self, partition: TopicPartition) -> bool:
        """See ``GroupConsumer``."""
        await clients.refresh_metadata(self._consumer)
        return not clients.is_leaderless(self._consumer, partition)

    async def find_start(self, partition: TopicPartition) -> FoundStart:
        """See ``GroupConsumer``."""
        return await recovery.find_start(self._consumer, partition, self._policy)

    async def offset_at(self, partition: TopicPartition, stamp_ms: int) -> int | None:
        """See ``GroupConsumer``."""
        return await recovery.offset_at(self._consumer, partition, stamp_ms)

    async def poll(self, partitions: Sequence[TopicPartition], wait_ms: int, count_max: int) -> Mapping[TopicPartition, Sequence[Record]]:
        """See ``GroupConsumer``."""
        clients.set_fetch_wait(self._consumer, wait_ms)
        try:
            found = await self._consumer.getmany(*partitions, timeout_ms=wait_ms, max_records=count_max)
        except NoOffsetForPartitionError:
            return {}  # raised for the time before our seek
        return {tp: [clients.record_of(r) for r in batch] for tp, batch in found.items()}

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """See ``GroupConsumer``."""
        self._consumer.pause(*partitions)

    def resume_at(self, partition: TopicPartition, offset: int) -> None:
        """See ``GroupConsumer``."""
        self._consumer.seek(partition, offset)
        self._consumer.resume(partition)

    def read_position(self, partition: TopicPartition) -> int | None:
        """See ``GroupConsumer``."""
        return clients.read_position(self._consumer, partition)

    def known_end(self, partition: TopicPartition) -> int:
        """See ``GroupConsumer``."""
        return clients.known_end(self._consumer, partition)


@dataclass(frozen=True, slots=True)
class MemberPorts:
    """The ports of a group member: consumer and writers."""

    consumer: Callable[[Settings], GroupConsumer] = KafkaGroupConsumer
    writer: Callable[[Settings, TopicPartition, TopicNames], OutcomeWriter] = LaneWriter
    monotonic: Callable[[], float] = time.monotonic  # seconds


KAFKA_PORTS = MemberPorts()

"""Creates aiokafka clients as we need them, and asks them what they have no public way to tell.

aiokafka's private attributes are touched here and in the modules ``aiokafka_*``.

Pinned to aiokafka 0.14: tests/integration/test_integration_clients.py fails if one of these attributes is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from sys import intern
from typing import Any, Literal, NamedTuple

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
    errors,
)
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, OffsetResetStrategy
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from processor.contract.records import Record, Source
from processor.settings import Settings
from processor.stream.aiokafka_clients import AdminClient, Consumer, GatheringConsumer, Producer
from processor.stream.aiokafka_fence import FencingSender
from processor.stream.aiokafka_records import UnreadValue
from processor.stream.aiokafka_rights import check_rights_by
from processor.stream.login import connect_options
from processor.stream.partitions import ReplicaCount
from processor.stream.start_offset import Committed

_REQUEST_TIMEOUT_MS = 10_000
METADATA_AGE_MS = 30_000  # partitions that are added are seen after this time at the latest
_LOG_TIMEOUT_MS = 5_000  # a leader that hangs keeps its connections open: only this finds the new one
REPAIR_TRANSACTION_S = 15.0  # deadline of one transaction of a repair
FIRST, END = OffsetResetStrategy.EARLIEST, OffsetResetStrategy.LATEST
_ASK_AGAIN_S = 0.1
_BROKER_MARGIN_S = 15.0  # the broker aborts a transaction later than our own deadline ends it


def build_consumer(settings: Settings) -> AIOKafkaConsumer:
    """The group member of this process: static, manual offsets, only committed records."""
    lanes = settings.lanes
    return GatheringConsumer(
        **connect_options(settings.kafka),
        group_id=settings.kafka.group,
        group_instance_id=settings.kafka.instance_id,
        enable_auto_commit=False,
        auto_offset_reset="none",  # we seek; a position that is gone must be an error, not a jump
        isolation_level="read_committed",  # an aborted retry record must not be worked on
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),  # one only: a second one costs a join each rebalance
        session_timeout_ms=_ms(lanes.session_timeout_s),
        heartbeat_interval_ms=_ms(lanes.heartbeat_s),
        rebalance_timeout_ms=_ms(lanes.rebalance_timeout_s),
        max_poll_interval_ms=2**31 - 1,  # the client-side leave only does harm; our own watchdog looks at the poll
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        fetch_max_wait_ms=100,  # until the first poll, see ``set_fetch_wait``
        metadata_max_age_ms=METADATA_AGE_MS,
    )


def build_reader(settings: Settings, *, if_gone: Literal["latest", "earliest"] = "latest", wait_ms: int = 500) -> AIOKafkaConsumer:
    """A reader of whole topics, of no group.

    Args:
        settings: how to reach Kafka.
        if_gone: where it goes on when a position was deleted.
        wait_ms: a broker without news answers after so long; a reader that is moved to other partitions waits for that answer.
    """
    return Consumer(
        **connect_options(settings.kafka),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset=if_gone,
        fetch_max_wait_ms=wait_ms,
        isolation_level="read_committed",
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        metadata_max_age_ms=METADATA_AGE_MS,
    )


def build_onlooker(settings: Settings) -> AIOKafkaConsumer:
    """A reader that can see what the group has committed and never joins it; partitions are assigned by hand."""
    return Consumer(
        **connect_options(settings.kafka),
        group_id=settings.kafka.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # what retention has removed waits no more
        isolation_level="read_committed",
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        max_partition_fetch_bytes=262_144,
        metadata_max_age_ms=METADATA_AGE_MS,
    )


def build_lane_producer(settings: Settings, partition: TopicPartition) -> AIOKafkaProducer:
    """The transactional producer of one lane; its id is the fence between owners of the partition."""
    lanes = settings.lanes
    return Producer(
        **connect_options(settings.kafka),
        transactional_id=f"{settings.kafka.group}-{partition.topic}-{partition.partition}",
        acks="all",
        transaction_timeout_ms=_ms(lanes.transaction_s + _BROKER_MARGIN_S),
        max_batch_size=262_144,
        max_request_size=lanes.output_bytes_max + 65_536,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        retry_backoff_ms=20,  # the default of 100 ms doubles the time of a transaction
    )


def build_repair_producer(settings: Settings) -> AIOKafkaProducer:
    """The one transactional producer of all repairs; starting it fences every other one.

    A transaction that was left open holds up the delay topics, so the broker ends it soon.
    """
    return Producer(
        **connect_options(settings.kafka),
        transactional_id=f"{settings.kafka.group}-repairs",
        acks="all",
        transaction_timeout_ms=_ms(REPAIR_TRANSACTION_S + 5.0),
        max_batch_size=262_144,
        max_request_size=settings.lanes.output_bytes_max + 65_536,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        retry_backoff_ms=20,
    )


def build_log_consumer(settings: Settings) -> AIOKafkaConsumer:
    """A reader of the budget log: no group, no jump over what is missing."""
    return Consumer(
        **connect_options(settings.kafka),
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=500,  # costs no latency: a broker answers as soon as there is a byte
        request_timeout_ms=_LOG_TIMEOUT_MS,
    )


def build_log_producer(settings: Settings) -> AIOKafkaProducer:
    """A writer of the budget log. Idempotent, because it then finds the new leader sooner; the budget needs no idempotence."""
    return Producer(**connect_options(settings.kafka), acks="all", linger_ms=0, enable_idempotence=True, request_timeout_ms=_LOG_TIMEOUT_MS)


def build_request_producer(settings: Settings) -> AIOKafkaProducer:
    """A writer of the requests topic, for many records."""
    return Producer(**connect_options(settings.kafka), acks="all", enable_idempotence=True, linger_ms=5, max_batch_size=131_072)


def build_group_consumer(settings: Settings) -> AIOKafkaConsumer:
    """A client that can commit offsets of the group while nobody is a member of it."""
    return Consumer(**connect_options(settings.kafka), group_id=settings.kafka.group, enable_auto_commit=False)


def build_admin(settings: Settings, answer_s: float) -> AdminClient:
    """An admin client. ``answer_s``: a broker must answer within."""
    admin: AdminClient = AdminClient(**connect_options(settings.kafka), request_timeout_ms=_ms(answer_s))
    return admin


class ToldSettings(NamedTuple):
    """What the brokers say of the settings of a topic, or of a broker."""

    name: str
    error_code: int  # of Kafka; 0: ``values`` are all that there are
    values: dict[str, str]


async def settings_of(admin: AdminClient, kind: ConfigResourceType, names: Iterable[str]) -> list[ToldSettings]:
    """The settings of some topics or brokers, in no certain order.

    Raises:
        KafkaError: of aiokafka, if no broker answers.
    """
    responses = await admin.describe_configs([ConfigResource(kind, name) for name in names])
    return [
        ToldSettings(name, error_code, {entry[0]: entry[1] for entry in entries})
        for response in responses
        for error_code, _message, _type, name, entries in response.resources
    ]


async def partitions_of(user: AIOKafkaConsumer | AIOKafkaProducer, topic: str) -> list[TopicPartition]:
    """All partitions of a topic, in order; none if it does not exist. ``user``: of the connections that are asked.

    Raises:
        TopicAuthorizationFailedError, KafkaConnectionError: if that cannot be known.
    """
    client = _client_of(user)
    numbers = client.cluster.partitions_for_topic(topic)
    for ask in (lambda: client.add_topic(topic), client.force_metadata_update):
        if numbers is None:  # not in its metadata yet; the first answer may be that to a question of before, which did not name it
            if not await ask():
                raise errors.KafkaConnectionError("no broker gives its metadata")
            numbers = client.cluster.partitions_for_topic(topic)
    if numbers is None and topic in client.cluster.unauthorized_topics:
        raise errors.TopicAuthorizationFailedError(topic)
    return [TopicPartition(topic, number) for number in sorted(numbers or ())]


async def refresh_metadata(user: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Refresh the metadata: which topics there are, and which broker leads which partition."""
    await _client_of(user).force_metadata_update()


def _client_of(user: AIOKafkaConsumer | AIOKafkaProducer) -> Any:
    return user.client if isinstance(user, AIOKafkaProducer) else user._client  # noqa: SLF001 - no public way without a subscription


def set_fetch_wait(consumer: AIOKafkaConsumer, wait_ms: int) -> None:
    """How long a broker without news may keep the next fetches; a partition that is resumed meanwhile waits for that answer."""
    consumer._fetcher._fetch_max_wait_ms = wait_ms  # noqa: SLF001 - no public way


def is_leaderless(consumer: AIOKafkaConsumer, partition: TopicPartition) -> bool:
    """Whether the last metadata says that no broker leads a partition; not if it does not know the partition."""
    return bool(consumer._client.cluster.leader_for_partition(partition) == -1)  # noqa: SLF001 - no public way


async def offsets_of(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition], which: int) -> dict[TopicPartition, int]:
    """First offsets of partitions, their ends for who reads as this consumer does, or the first of a time. Asks until leaders answer.

    Unlike ``end_offsets()`` it does not give up after the time of one request, in which a leader that hangs is not replaced yet.

    Args:
        consumer: it need not read them.
        partitions: whose.
        which: ``FIRST``, ``END``, or a time of records, epoch ms (not negative): the first one since, -1 if there is none.

    Raises:
        LeaderNotAvailableError: of one of them (its argument): nobody leads it; or its leader is new and does not know yet where it ends
            (KIP-207). To versions of the question that do not know OFFSET_NOT_AVAILABLE, as aiokafka's, brokers say this. It lasts
            for as long as too few replicas are in sync.
        KafkaError: of aiokafka, if it is refused.
    """
    wanted = dict.fromkeys(partitions, which)
    while True:
        try:
            found = await consumer._fetcher._proc_offset_requests(wanted)  # noqa: SLF001 - what end_offsets() calls
            return {tp: int(offset) for tp, (offset, _) in found.items()}
        except errors.KafkaError as exc:
            if isinstance(exc, errors.LeaderNotAvailableError) or not exc.retriable:
                raise
            await asyncio.sleep(_ASK_AGAIN_S)
            await refresh_metadata(consumer)


def lacking_replicas(consumer: AIOKafkaConsumer, partition: TopicPartition) -> ReplicaCount | None:
    """How many replicas of a partition are in sync, as the last metadata says; None if all are."""
    told = consumer._client.cluster._partitions.get(partition.topic, {}).get(partition.partition)  # noqa: SLF001 - no public way
    return ReplicaCount(len(told.isr), len(told.replicas)) if told is not None and len(told.isr) < len(told.replicas) else None


def on_fence_held_up(producer: AIOKafkaProducer, note: Callable[[Sequence[TopicPartition]], None]) -> None:
    """Have it told, while a transactional producer starts, that what its id has open cannot be ended; see ``FencingSender``."""
    producer._sender.on_held_up = note  # noqa: SLF001 - ours


async def unwritable_of(producer: AIOKafkaProducer) -> Sequence[TopicPartition]:
    """Of the partitions that its open transaction writes to, those that take no records now; see ``FencingSender``."""
    sender: FencingSender = producer._sender  # noqa: SLF001 - ours
    return await sender.unwritable()


def end_of_sender(producer: AIOKafkaProducer) -> BaseException | None:
    """What a broker has refused, if a producer has ended of it: aiokafka tells others only that it has."""
    sender: asyncio.Task[None] | None = producer._sender.sender_task  # noqa: SLF001 - no public way
    end = sender.exception() if sender is not None and sender.done() and not sender.cancelled() else None
    return end.__cause__ if end is not None and isinstance(end.__cause__, errors.BrokerResponseError) else None


def failure_of_transaction(producer: AIOKafkaProducer) -> BaseException | None:
    """Why an open transaction has failed: aiokafka tells it to whoever waits for its end, and to others only that they may not send now."""
    waiter: asyncio.Future[None] | None = producer._txn_manager._transaction_waiter  # noqa: SLF001 - no public way
    return waiter.exception() if waiter is not None and waiter.done() and not waiter.cancelled() else None


async def high_watermarks(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """The ends of partitions with what is not committed: as ``end_offsets()`` of a consumer that reads everything."""
    asking = copy(consumer._fetcher)  # noqa: SLF001 - end_offsets() asks at the consumer's own isolation level
    asking._isolation_level = READ_UNCOMMITTED  # noqa: SLF001 - of the copy alone
    found = await asking._retrieve_offsets(dict.fromkeys(partitions, OffsetResetStrategy.LATEST))  # noqa: SLF001 - what end_offsets() calls
    return {tp: int(offset) for tp, (offset, _) in found.items()}


def build_event_producer(settings: Settings) -> AIOKafkaProducer:
    """A writer of the events topic. Idempotent: one that waits out a broker's absence writes its record once."""
    return Producer(
        **connect_options(settings.kafka),
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_request_size=settings.webhooks.event_bytes_max + 65_536,
        request_timeout_ms=_LOG_TIMEOUT_MS,
    )


def record_of(r: ConsumerRecord) -> Record:
    """A record as the rest of the program knows it."""
    if isinstance(r.value, UnreadValue):
        return Record(Source(r.topic, r.partition, r.offset), None, None, (), r.timestamp, r.value.unread)
    headers = tuple([(intern(name), value) for name, value in r.headers])  # thousands that wait have the same names
    return Record(Source(r.topic, r.partition, r.offset), r.key, r.value, headers, r.timestamp)


def membership(consumer: AIOKafkaConsumer) -> tuple[int, str]:
    """Generation and member id. Both: a static member that joins again keeps its generation."""
    coordinator = consumer._coordinator  # noqa: SLF001 - no public way
    return getattr(coordinator, "generation", -1), getattr(coordinator, "member_id", "")


def check_membership(consumer: AIOKafkaConsumer) -> None:
    """Raise the error that ended the membership, if any. aiokafka joins no more until somebody has heard of it, by a poll or this."""
    consumer._coordinator.check_errors()  # noqa: SLF001 - a poll without partitions would be one of all


async def check_member_rights(consumer: AIOKafkaConsumer, settings: Settings) -> None:
    """See that the brokers let a processor do its work, over the consumer's own connections.

    Raises:
        RightsMissingError: if not.
    """
    await check_rights_by(consumer._client, settings)  # noqa: SLF001 - no public way


async def check_admin_rights(admin: AdminClient, settings: Settings) -> None:
    """The same, by an admin client.

    Raises:
        RightsMissingError: if not.
    """
    await check_rights_by(admin._client, settings)  # noqa: SLF001 - no public way


async def committed_offsets(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Committed]:
    """Committed offsets with their metadata, which ``consumer.committed()`` drops. Partitions without one are absent."""
    found: dict[TopicPartition, OffsetAndMetadata] = await consumer._coordinator.fetch_committed_offsets(list(partitions))  # noqa: SLF001 - no public way
    return {tp: Committed(o.offset, o.metadata or "") for tp, o in found.items() if o.offset >= 0}


def read_position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """The next offset to fetch, beyond markers that were skipped; None while it is not known."""
    state = _state(consumer, partition)
    return int(state.position) if state is not None and state.has_valid_position else None


def known_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """The end of an assigned partition (its last stable offset) as the last fetch told it; 0 before the first one."""
    state = _state(consumer, partition)
    return max(0, state.lso if state is not None and state.lso is not None else 0)


def listen(consumer: AIOKafkaConsumer, topics: list[str], listener: ConsumerRebalanceListener) -> None:
    """Subscribe by name."""
    consumer.subscribe(topics, listener=listener)


def leave_on_stop(consumer: AIOKafkaConsumer) -> None:
    """Let ``stop()`` leave the group although the member is static: others take over at once."""
    if (coordinator := consumer._coordinator) is not None:  # noqa: SLF001 - no public way
        coordinator._group_instance_id = None  # noqa: SLF001 - no public way


def _state(consumer: AIOKafkaConsumer, partition: TopicPartition) -> Any:
    subscription = consumer._subscription.subscription  # noqa: SLF001 - position() is a coroutine that may wait
    assignment = subscription.assignment if subscription is not None else None
    return assignment.state_value(partition) if assignment is not None and partition in assignment.tps else None


def _ms(seconds: float) -> int:
    return int(seconds * 1000)

"""A transactional producer's start, in place of aiokafka's own: it fences only when what it fences can be ended whole.

A coordinator ends a former transaction by a marker in each of its partitions. Of a partition that no broker leads, Kafka since 4.1
forgets that marker and says that all is done (seen with 4.3.1); older ones hold every fence back until it is written. A forgotten
marker hides what stands behind it from readers of committed records, and the next commit under the same transactional id makes what
the former owner had never committed visible. So the coordinator is first asked what is open (DescribeTransactions, KIP-664).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import CoordinationType
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import (
    ConcurrentTransactions,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    NoError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    UnknownError,
)
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.producer.sender import EndTxnHandler, InitPIDHandler, Sender, SendProduceReqHandler
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from processor.stream.aiokafka_names import with_names
from processor.stream.errors import NO_COORDINATOR, InvalidRecordError

_TRIES = 10  # before the pause doubles: an honest transaction ends within a few
_PAUSE_S_MAX = 1.0
_ENDS_AGAIN_MAX = 3


class DescribeTransactionsResponse(Response):  # type: ignore[misc]
    """Version 0, as Kafka's protocol guide has it."""

    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transaction_states",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString("utf-8")),
                ("transaction_state", CompactString("utf-8")),
                ("transaction_timeout_ms", Int32),
                ("transaction_start_time_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeTransactionsStruct(RequestStruct):  # type: ignore[misc]
    """The request."""

    FLEXIBLE_VERSION = True
    API_KEY = 65
    API_VERSION = 0
    RESPONSE_TYPE = DescribeTransactionsResponse
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString("utf-8"))), ("tags", TaggedFields))


class DescribeTransactionsRequest(Request[DescribeTransactionsStruct]):  # type: ignore[misc]
    """What is open under a transactional id."""

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, request_struct_class: type[DescribeTransactionsStruct]) -> DescribeTransactionsStruct:
        """See ``Request.build``."""
        return request_struct_class([self._transactional_id], {})


class _Fence(InitPIDHandler):  # type: ignore[misc]
    """Ends what is open under a transactional id."""

    def handle_response(self, resp: Any) -> float | None:
        """As aiokafka's; seconds until it is to be asked again, None when it is done."""
        pause_s: float | None = super().handle_response(resp)
        return self._sender.note_held_up(()) if resp.error_code == ConcurrentTransactions.errno else pause_s


class _End(EndTxnHandler):  # type: ignore[misc]
    """Ends a transaction.

    A commit that comes to its coordinator at the moment at which another producer fences it is answered with an internal error: the
    coordinator gives the former epoch up only with the abort that follows, and throws at a commit before it (seen with 4.3.1: "already a
    pending state PREPARE_EPOCH_FENCE"). Nothing is done by it, and who asks again is told that it was fenced.
    """

    def handle_response(self, resp: Any) -> float | None:
        """As aiokafka's."""
        if self._sender.may_end_again(resp.error_code):
            return float(self._default_backoff)
        pause_s: float | None = super().handle_response(resp)
        return pause_s


class _Produce(SendProduceReqHandler):  # type: ignore[misc]
    """Notes which partitions have too few replicas in sync. aiokafka sends their records again for ever, and tells nobody.

    An error that it does not know has its name here.
    """

    def handle_response(self, response: Any) -> None:
        """As aiokafka's."""
        waited = self._sender.short_of_replicas & self._batches.keys()
        self._sender.short_of_replicas -= waited
        self._name_errors(response)
        super().handle_response(response)
        for batch in map(self._batches.__getitem__, waited):  # whoever sent one that fails now may have given up long ago
            for told in (batch.future, batch._drain_waiter):  # noqa: SLF001 - no public way
                if told.done() and not told.cancelled():
                    told.exception()

    def _name_errors(self, response: Any) -> None:
        for topic, partitions in response.topics:
            for number, code, *_ in partitions:
                if code == InvalidRecordError.errno and (batch := self._batches.get(TopicPartition(topic, number))) is not None:
                    batch.failure(InvalidRecordError())

    def _can_retry(self, error: KafkaError, batch: MessageBatch) -> bool:
        if isinstance(error, NotEnoughReplicasError | NotEnoughReplicasAfterAppendError):
            self._sender.short_of_replicas.add(batch.tp)
        return bool(super()._can_retry(error, batch))


class FencingSender(Sender):  # type: ignore[misc]
    """Waits for the leaders of a former transaction's partitions before it fences; asks less and less often: it may last for hours.

    ``on_held_up`` is called each time, with the partitions that have no leader; with none if the brokers only say that the former
    transaction is not ended yet. ``short_of_replicas`` are the partitions that have refused what is to be sent to them, as fewer of
    their replicas are in sync than ``min.insync.replicas``.
    """

    on_held_up: Callable[[Sequence[TopicPartition]], None] | None = None
    _held_up_count = 0
    _ends_again = 0
    _fence = with_names(Sender._do_init_pid, InitPIDHandler=_Fence)  # noqa: SLF001 - what is replaced
    _do_txn_commit = with_names(Sender._do_txn_commit, EndTxnHandler=_End)  # noqa: SLF001 - what is replaced
    _send_produce_req = with_names(Sender._send_produce_req, SendProduceReqHandler=_Produce)  # noqa: SLF001 - what is replaced

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.short_of_replicas: set[TopicPartition] = set()
        self._told_gone: set[TopicPartition] = set()

    async def _do_init_pid(self, node_id: Any) -> bool:
        if self._txn_manager.transactional_id is not None:
            try:
                pause_s = self.note_held_up(leaderless) if (leaderless := _leaderless(*await self._open_now(node_id))) else 0.0
            except KafkaError:  # not known: ask again, whoever the coordinator is then
                pause_s = self._retry_backoff
                self._coordinator_dead(CoordinationType.TRANSACTION)
            if pause_s:
                await asyncio.sleep(pause_s)
                return False
        return bool(await self._fence(node_id))

    async def unwritable(self) -> Sequence[TopicPartition]:
        """Of the partitions that a transaction writes to that cannot be ended, those that take no records, as the brokers say now.

        No broker leads them, they have too few replicas in sync, or their topic was deleted, also before the transaction could begin there.
        If it was created again with fewer partitions, what is there no more is named once: another producer will choose another one. Asks
        until brokers say something: to be called with a deadline.
        """
        while True:
            node_id = await self._find_coordinator(CoordinationType.TRANSACTION, self._txn_manager.transactional_id)
            try:
                wanted = self.client._topics  # noqa: SLF001 - no public way
                now, partitions = await self._open_now(node_id, wanted)
                gone = {tp for tp in partitions if self._is_gone(now, tp)}
                gone |= {TopicPartition(topic, 0) for topic in wanted if now.partitions_for_topic(topic) is None}
                return sorted({*_leaderless(now, partitions), *gone, *self._short_of_replicas()})
            except KafkaError:
                self._coordinator_dead(CoordinationType.TRANSACTION)
                await asyncio.sleep(self._retry_backoff)

    def _short_of_replicas(self) -> set[TopicPartition]:
        ended = self.sender_task is None or self.sender_task.done()
        return set() if ended else self.short_of_replicas  # what is sent no more is refused no more

    def _is_gone(self, now: ClusterMetadata, tp: TopicPartition) -> bool:
        if now.leader_for_partition(tp) is not None:
            return False
        told = tp in self._told_gone
        self._told_gone.add(tp)
        return not told or now.partitions_for_topic(tp.topic) is None

    async def _open_now(self, node_id: Any, wanted: Iterable[str] = ()) -> tuple[ClusterMetadata, Sequence[TopicPartition]]:
        """What is part of the open transaction, and what the brokers say of it, and of further topics."""
        partitions, now = await self._open_partitions(node_id), ClusterMetadata(metadata_max_age_ms=300_000)
        topics = sorted({tp.topic for tp in partitions} | {*wanted})
        if topics and not await self.client._metadata_update(now, topics):  # noqa: SLF001 - no public way
            raise KafkaConnectionError("no broker gives its metadata")
        return now, sorted(partitions)

    async def _open_partitions(self, node_id: Any) -> set[TopicPartition]:
        """What is part of the open transaction, for its coordinator and for this producer."""
        ours: set[TopicPartition] = self._txn_manager.txn_partitions | self._txn_manager.partitions_to_add()
        try:
            told = await self.client.send(node_id, DescribeTransactionsRequest(self._txn_manager.transactional_id))
        except IncompatibleBrokerVersion:  # brokers before 3.0
            return ours
        for state in told.transaction_states:  # a coordinator that has just begun names no partition, and may fence a moment later
            if (unknown := next((kind for kind in NO_COORDINATOR if kind.errno == state[0]), None)) is not None:
                raise unknown
        theirs = {TopicPartition(t, number) for state in told.transaction_states for t, numbers, _ in state[7] or () for number in numbers}
        return ours | theirs

    def may_end_again(self, error_code: int) -> bool:
        """Whether to ask once more for the end of a transaction, as it was answered with an internal error; a few times for each."""
        if error_code == NoError.errno:  # the next one begins, perhaps weeks later
            self._ends_again = 0
        if error_code != UnknownError.errno:
            return False
        self._ends_again += 1
        return self._ends_again <= _ENDS_AGAIN_MAX

    def note_held_up(self, leaderless: Sequence[TopicPartition]) -> float:
        """The former transaction cannot be ended now; seconds until it is to be tried again."""
        if self.on_held_up is not None:
            self.on_held_up(leaderless)
        self._held_up_count += 1
        return float(min(_PAUSE_S_MAX, self._retry_backoff * 2.0 ** min(10, self._held_up_count // _TRIES)))


def _leaderless(now: ClusterMetadata, partitions: Sequence[TopicPartition]) -> Sequence[TopicPartition]:
    return [tp for tp in partitions if now.leader_for_partition(tp) == -1]

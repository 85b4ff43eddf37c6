"""A transactional producer fences nobody while the brokers could not end what it would fence."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import (
    ConcurrentTransactions,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    NotCoordinatorError,
    NotEnoughReplicasAfterAppendError,
    NotEnoughReplicasError,
    OffsetMetadataTooLargeError,
    ProducerFenced,
    RequestTimedOutError,
    UnknownError,
)
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.producer.transaction_manager import TransactionResult, TransactionState
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v8
from aiokafka.protocol.transaction import EndTxnRequest, EndTxnResponse_v0, InitProducerIdRequest, InitProducerIdResponse_v0
from virtual_time import run_virtual

from processor.settings import load_settings
from processor.stream import aiokafka_stop, clients
from processor.stream.aiokafka_fence import DescribeTransactionsRequest, DescribeTransactionsResponse, FencingSender
from processor.stream.errors import InvalidRecordError

RESULTS = TopicPartition("v.results", 1)


class Brokers:
    """What a producer's start asks them: partitions of an open transaction, and who leads them."""

    _client_id = "test"  # for aiokafka's log

    def __init__(self) -> None:
        self.open: list[TopicPartition] = []
        self.leaderless: set[TopicPartition] = set()
        self.partitions: dict[str, list[int]] = {}  # of topics that are not as the open transaction knows them
        self._topics: set[str] = set()  # that the producer was to write to
        self.fails: dict[type, list[Exception]] = {}
        self.fence_errors: list[int] = []
        self.unknown: list[int] = []  # with these errors a coordinator answers what is open, and names nothing
        self.end_errors: list[int] = []
        self.asked: list[type] = []
        self.searches = 0

    async def send(self, node_id: int, request: Any, **_: Any) -> Any:
        await asyncio.sleep(0)
        assert node_id == 7
        self.asked.append(type(request))
        if errors := self.fails.get(type(request)):
            raise errors.pop(0) if len(errors) > 1 else errors[0]
        if isinstance(request, DescribeTransactionsRequest):
            if self.unknown:
                return DescribeTransactionsResponse(0, [(self.unknown.pop(0), "id", "", 0, 0, 0, 0, [], {})], {})
            topics: list[Any] = [(tp.topic, [tp.partition], {}) for tp in self.open]
            return DescribeTransactionsResponse(0, [(0, "id", "Ongoing", 1, 1, 1, 1, topics, {})], {})
        if isinstance(request, EndTxnRequest):
            return EndTxnResponse_v0(0, self.end_errors.pop(0))
        return InitProducerIdResponse_v0(0, self.fence_errors.pop(0) if self.fence_errors else 0, 3, 1)

    async def _metadata_update(self, cluster: ClusterMetadata, topics: Sequence[str]) -> bool:
        await asyncio.sleep(0)
        assert topics == sorted({*(tp.topic for tp in self.open), *self._topics})
        known = {topic: self.partitions.get(topic, [0]) for topic in self._topics}
        known |= {tp.topic: self.partitions.get(tp.topic, [tp.partition]) for tp in self.open}
        told: list[Any] = [
            (0, topic, False, [(0, n, -1 if TopicPartition(topic, n) in self.leaderless else 7, [7], [7], []) for n in numbers])
            for topic, numbers in known.items()
            if numbers
        ]
        cluster.update_metadata(MetadataResponse_v5(0, [(7, "localhost", 9092, None)], "c", 7, told))
        return True

    async def force_metadata_update(self) -> bool:
        await asyncio.sleep(0)
        return True


class Scene:
    """A producer that starts."""

    def __init__(self) -> None:
        self.brokers, self.told = Brokers(), list[tuple[float, list[TopicPartition]]]()
        self.producer = clients.build_lane_producer(load_settings(), TopicPartition("v.requests", 0))
        self.producer._closed = True  # noqa: SLF001 - it is never started
        self.sender = cast("FencingSender", self.producer._sender)  # noqa: SLF001 - what fences
        self.sender.client = self.brokers

        async def find(*_: object) -> int:
            await asyncio.sleep(0)
            self.brokers.searches += 1
            return 7

        self.sender._find_coordinator = find  # noqa: SLF001 - brokers that are not there
        clients.on_fence_held_up(self.producer, lambda leaderless: self.told.append((self._now(), list(leaderless))))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def fence(self) -> None:
        await self.sender._maybe_wait_for_pid()  # noqa: SLF001 - what start() waits for


def test_nobody_is_fenced_while_a_partition_of_the_open_transaction_has_no_leader() -> None:
    async def main() -> None:
        scene = Scene()
        scene.brokers.open, scene.brokers.leaderless = [TopicPartition("v.retry.10s", 0), RESULTS], {RESULTS}
        fence = asyncio.ensure_future(scene.fence())
        await asyncio.sleep(600)
        assert InitProducerIdRequest not in scene.brokers.asked, "since Kafka 4.1 that would lose the marker"
        assert {tuple(leaderless) for _, leaderless in scene.told} == {(RESULTS,)}
        assert 600 < len(scene.told) < 700, "about once a second"
        scene.brokers.leaderless.clear()
        await asyncio.sleep(2)
        fence.result()
        assert scene.brokers.asked[-2:] == [DescribeTransactionsRequest, InitProducerIdRequest]

    run_virtual(main())


@pytest.mark.parametrize("leaders", [[], [RESULTS]])
def test_what_is_open_with_all_leaders_there_is_fenced_at_once(leaders: list[TopicPartition]) -> None:
    async def main() -> None:
        scene = Scene()
        scene.brokers.open = leaders
        await scene.fence()
        assert (scene.brokers.asked, scene.told) == ([DescribeTransactionsRequest, InitProducerIdRequest], [])

    run_virtual(main())


def test_brokers_that_cannot_tell_what_is_open_are_not_asked_for_it() -> None:
    async def main() -> None:
        scene = Scene()
        scene.brokers.fails[DescribeTransactionsRequest] = [IncompatibleBrokerVersion("older than 3.0")]
        await scene.fence()
        assert scene.brokers.asked[-1] is InitProducerIdRequest

    run_virtual(main())


def test_what_is_not_known_is_asked_again_and_nobody_is_fenced_meanwhile() -> None:
    async def main() -> None:
        scene = Scene()
        scene.brokers.fails[DescribeTransactionsRequest] = [RequestTimedOutError("silent")]
        fence = asyncio.ensure_future(scene.fence())
        await asyncio.sleep(60)
        assert InitProducerIdRequest not in scene.brokers.asked
        assert scene.brokers.searches > 1, "the coordinator may be another one by then"
        assert scene.told == [], "silence is no answer: the deadline of the takeover goes on"
        scene.brokers.fails.clear()
        await fence

    run_virtual(main())


@pytest.mark.parametrize("error", [CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError])
def test_a_coordinator_that_does_not_know_what_is_open_is_asked_again_and_nobody_is_fenced_meanwhile(error: type[Exception]) -> None:
    """One that has just taken the place of a broker that died knows it a moment later, and by then it would fence."""

    async def main() -> None:
        scene = Scene()
        scene.brokers.open, scene.brokers.leaderless = [RESULTS], {RESULTS}
        scene.brokers.unknown = [error.errno, error.errno]  # type: ignore[attr-defined]
        fence = asyncio.ensure_future(scene.fence())
        await asyncio.sleep(60)
        assert InitProducerIdRequest not in scene.brokers.asked, "since Kafka 4.1 that would lose the marker"
        assert scene.brokers.searches > 1, "the coordinator may be another one by then"
        scene.brokers.leaderless.clear()
        await fence

    run_virtual(main())


def test_a_fence_that_the_brokers_hold_back_is_told_and_tried_less_and_less_often() -> None:
    async def main() -> None:
        scene = Scene()
        scene.brokers.fence_errors = [CoordinatorLoadInProgressError.errno, *[ConcurrentTransactions.errno] * 100]
        await scene.fence()
        assert [leaderless for _, leaderless in scene.told] == [[]] * 100, "only for an answer about the transaction"
        times = [at for at, _ in scene.told]
        assert times[19] - times[0] < 1.0, "an honest transaction is not waited for much longer than it lasts"
        assert times[-1] - times[-2] == pytest.approx(1.0, abs=0.1)

    run_virtual(main())


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([UnknownError.errno, InvalidProducerEpoch.errno], ProducerFenced),
        ([UnknownError.errno, 0], None),
        ([UnknownError.errno] * 9, UnknownError),
    ],
)
def test_a_commit_that_meets_a_fence_in_the_coordinator_is_told_of_it(errors: list[int], told: type[Exception] | None) -> None:
    async def main() -> None:
        scene = Scene()
        manager = scene.producer._txn_manager  # noqa: SLF001 - what the sender goes by
        await scene.fence()
        manager.begin_transaction()
        manager.maybe_add_partition_to_txn(RESULTS)
        manager.partition_added(RESULTS)
        manager.committing_transaction()
        scene.brokers.end_errors, ended = list(errors), None
        while ended is None and manager.state is TransactionState.COMMITTING_TRANSACTION:
            try:
                await scene.sender._do_txn_commit(TransactionResult.COMMIT)  # noqa: SLF001 - what the sender does, again and again
            except KafkaError as exc:
                ended = type(exc)
        assert ended is told
        assert len(errors) - len(scene.brokers.end_errors) <= 4, "not for ever"

    run_virtual(main())


def test_internal_errors_are_counted_for_each_commit_and_not_for_the_weeks_of_a_producer() -> None:
    async def main() -> None:
        scene = Scene()
        manager = scene.producer._txn_manager  # noqa: SLF001 - what the sender goes by
        await scene.fence()
        for _ in range(9):
            manager.begin_transaction()
            manager.maybe_add_partition_to_txn(RESULTS)
            manager.partition_added(RESULTS)
            manager.committing_transaction()
            scene.brokers.end_errors = [UnknownError.errno, 0]
            while manager.state is TransactionState.COMMITTING_TRANSACTION:
                await scene.sender._do_txn_commit(TransactionResult.COMMIT)  # noqa: SLF001 - what the sender does, again and again

    run_virtual(main())


def test_a_topic_that_was_deleted_is_named_until_it_is_there_and_partitions_that_it_lacks_then_no_more() -> None:
    async def main() -> None:
        scene = Scene()
        scene.brokers.open, gone = [RESULTS], [RESULTS]
        for numbers, named in (([1], []), ([], gone), ([], gone), ([0], []), ([0, 1], [])):
            scene.brokers.partitions[RESULTS.topic] = numbers
            assert await clients.unwritable_of(scene.producer) == named
        scene = Scene()
        scene.brokers.open, scene.brokers.partitions = [RESULTS], {RESULTS.topic: [0]}
        assert [await clients.unwritable_of(scene.producer) for _ in range(2)] == [gone, []], "another producer chooses another partition"
        await scene.fence()

    run_virtual(main())


def test_a_topic_that_was_deleted_before_the_transaction_came_to_it_is_named_until_it_is_there() -> None:
    """Metadata that is read in time leaves the transaction empty: its deadline ended the life of all lanes."""

    async def main() -> None:
        scene = Scene()
        scene.brokers._topics = {RESULTS.topic, "v.retry.10s"}  # noqa: SLF001 - as aiokafka notes them
        for numbers, named in (([0, 1], []), ([], [TopicPartition(RESULTS.topic, 0)]), ([0], [])):
            scene.brokers.partitions[RESULTS.topic] = numbers
            assert await clients.unwritable_of(scene.producer) == named

    run_virtual(main())


@pytest.mark.parametrize("error", [NotEnoughReplicasError, NotEnoughReplicasAfterAppendError])
def test_a_partition_with_too_few_replicas_in_sync_is_named_until_it_takes_what_is_sent(error: type[Exception]) -> None:
    async def main() -> None:
        scene = Scene()
        builder = scene.producer.create_batch()
        builder.append(timestamp=1, key=None, value=b"v")
        batch = MessageBatch(RESULTS, builder, 60.0, 0.0)
        codes = [error.errno, error.errno, 0]  # type: ignore[attr-defined]

        ask = scene.brokers.send

        async def answer(node_id: int, request: Any, **_: Any) -> Any:
            if not isinstance(request, ProduceRequest):
                return await ask(node_id, request)
            return ProduceResponse_v8([(RESULTS.topic, [(RESULTS.partition, codes.pop(0), 5, -1, 0, [], None)])], 0)

        async def wait() -> None:
            await asyncio.sleep(0)

        scene.brokers.send, scene.brokers._maybe_wait_metadata = answer, wait  # type: ignore[method-assign, attr-defined] # noqa: SLF001 - brokers that are not there
        scene.sender._message_accumulator.reenqueue = lambda _: None  # noqa: SLF001 - sent again below
        scene.sender._sender_task = asyncio.ensure_future(asyncio.sleep(60))  # noqa: SLF001 - it works
        for short in (True, True, False):
            scene.sender._in_flight.add(7)  # noqa: SLF001 - as the sender does
            scene.sender._muted_partitions.add(RESULTS)  # noqa: SLF001 - as the sender does
            await scene.sender._send_produce_req(7, {RESULTS: batch})  # noqa: SLF001 - what the sender does
            assert await clients.unwritable_of(scene.producer) == [RESULTS] * short
        assert batch.future.done()

    run_virtual(main())


def test_a_producer_that_is_dropped_with_records_that_were_to_be_sent_again_reports_nothing() -> None:
    async def main() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        producer = clients.build_lane_producer(load_settings(), TopicPartition("v.requests", 0))
        producer._closed = True  # noqa: SLF001 - it is never started
        builder, accumulator = producer.create_batch(), producer._message_accumulator  # noqa: SLF001 - what holds the records
        builder.append(timestamp=1, key=None, value=b"v")
        producer._txn_manager.set_pid_and_epoch(1, 1)  # noqa: SLF001 - as the sender does
        accumulator._batches[RESULTS].append(MessageBatch(RESULTS, builder, 60.0, 0.0))  # noqa: SLF001 - as a send does
        accumulator.reenqueue(accumulator._pop_batch(RESULTS))  # noqa: SLF001 - as the sender does with what is refused for now
        await aiokafka_stop.drop_producer(producer, 0.1)
        del accumulator
        await asyncio.sleep(0.1)
        gc.collect()
        assert reported == []

    run_virtual(main())


@pytest.mark.parametrize("refusal", [InvalidProducerIdMapping(), OffsetMetadataTooLargeError(), None])
def test_a_producer_that_has_ended_tells_what_was_refused(refusal: Exception | None) -> None:
    async def main() -> None:
        scene = Scene()
        assert clients.end_of_sender(scene.producer) is None

        async def end() -> None:
            await asyncio.sleep(0)
            raise KafkaError("Unexpected error during batch delivery") from refusal

        scene.sender._sender_task = task = asyncio.ensure_future(end())  # noqa: SLF001 - as aiokafka's ends
        await asyncio.wait({task})
        assert clients.end_of_sender(scene.producer) is refusal

    run_virtual(main())


def test_a_record_that_a_compacted_topic_refuses_has_an_error_of_its_own() -> None:
    async def main() -> None:
        scene = Scene()
        builder = scene.producer.create_batch()
        builder.append(timestamp=1, key=None, value=b"v")
        batch = MessageBatch(RESULTS, builder, 60.0, 0.0)

        async def answer(*_: object, **__: object) -> Any:
            await asyncio.sleep(0)
            return ProduceResponse_v8([(RESULTS.topic, [(RESULTS.partition, InvalidRecordError.errno, -1, -1, 0, [], None)])], 0)

        scene.brokers.send = answer  # type: ignore[method-assign]
        scene.sender._in_flight.add(7)  # noqa: SLF001 - as the sender does
        scene.sender._muted_partitions.add(RESULTS)  # noqa: SLF001 - as the sender does
        await scene.sender._send_produce_req(7, {RESULTS: batch})  # noqa: SLF001 - what the sender does
        assert isinstance(batch.future.exception(), InvalidRecordError)

    run_virtual(main())

"""The private attributes of aiokafka that we lean on: they are there, and mean what we think. A new version has to pass this first."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from processor.devkit.kafka_cluster import LocalKafka
from processor.settings import Settings, load_settings
from processor.stream import aiokafka_stop, clients
from processor.stream.errors import ProducerFencedError
from processor.stream.topics import topic_names, topic_specs
from processor.stream.topics_admin import apply_topics, check_rights, check_topics
from processor.stream.transactions import LaneWriter

pytestmark = pytest.mark.broker


class Quiet(ConsumerRebalanceListener):  # type: ignore[misc]
    async def on_partitions_revoked(self, revoked: object) -> None:
        pass

    async def on_partitions_assigned(self, assigned: object) -> None:
        pass


@asynccontextmanager
async def topic_of(kafka: LocalKafka) -> AsyncIterator[tuple[Settings, str]]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
    finally:
        await admin.close()
    yield load_settings(kafka={"bootstrap": kafka.bootstrap, "topic_prefix": name, "group": f"{name}-group"}), name


async def member(settings: Settings, name: str, instance: str) -> AIOKafkaConsumer:
    consumer = clients.build_consumer(settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"instance_id": instance})}))
    clients.listen(consumer, [name], Quiet())
    await consumer.start()
    return consumer


async def test_membership_offsets_and_positions(kafka: LocalKafka) -> None:
    async with topic_of(kafka) as (settings, name):
        consumer = await member(settings, name, "a")
        partition = TopicPartition(name, 0)
        try:
            generation, member_id = clients.membership(consumer)
            assert generation >= 1
            assert member_id
            await consumer.commit({partition: OffsetAndMetadata(5, "gap map")})
            found = await clients.committed_offsets(consumer, [partition, TopicPartition(name, 1)])
            assert (found[partition].offset, found[partition].metadata, list(found)) == (5, "gap map", [partition])
            assert clients.read_position(consumer, TopicPartition("elsewhere", 0)) is None
            consumer.seek(partition, 0)
            assert clients.read_position(consumer, partition) == 0
            assert consumer._fetcher._fetch_max_wait_ms == 100  # noqa: SLF001 - pinned: what it is at the start ...
            clients.set_fetch_wait(consumer, 500)
            assert consumer._fetcher._fetch_max_wait_ms == 500  # noqa: SLF001 - ... and while nothing comes
            assert await clients.partitions_of(consumer, name) == [partition, TopicPartition(name, 1)]
        finally:
            await aiokafka_stop.stop_client(consumer, 5.0)


async def test_a_static_member_that_leaves_is_gone_at_once(kafka: LocalKafka) -> None:
    async with topic_of(kafka) as (settings, name):
        leaver = await member(settings, name, "a")
        clients.leave_on_stop(leaver)
        await aiokafka_stop.stop_client(leaver, 5.0)
        began = time.monotonic()
        heir = await member(settings, name, "b")
        try:
            async with asyncio.timeout(settings.lanes.session_timeout_s):
                while len(heir.assignment()) < 2:
                    await heir.getmany(timeout_ms=50)
            assert time.monotonic() - began < settings.lanes.session_timeout_s / 2, "nobody waited for its session to end"
        finally:
            await aiokafka_stop.stop_client(heir, 5.0)


async def test_clients_stop_within_their_deadline_whatever_hangs(kafka: LocalKafka) -> None:
    """And nothing of them goes on: a member whose broker had hung sent heartbeats ten times a second for as long as the process lived."""
    async with topic_of(kafka) as (settings, name):
        before = asyncio.all_tasks()
        producer, reader = clients.build_log_producer(settings), clients.build_reader(settings)
        await asyncio.gather(producer.start(), reader.start())
        for client in (producer, reader, await member(settings, name, "a")):

            async def hang() -> None:
                await asyncio.sleep(60)

            client.stop = hang
            began = time.monotonic()
            await aiokafka_stop.stop_client(client, 0.2)
            assert time.monotonic() - began < 30, "its own stop() hangs for a minute"
        left = [task for task in asyncio.all_tasks() - before if not task.done()]
        assert left == [], "all that it had begun is ended although its own stop() never came so far"


async def topics_of(kafka: LocalKafka) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        return {name for name in await admin.list_topics() if not name.startswith("__")}
    finally:
        await admin.close()


async def test_nothing_makes_a_topic_but_apply_also_where_the_broker_would(own_kafka: LocalKafka) -> None:
    prefix, before = f"v-{uuid.uuid4().hex[:8]}", await topics_of(own_kafka)
    settings = load_settings(kafka={"bootstrap": own_kafka.bootstrap, "topic_prefix": prefix})
    assert len((await check_topics(settings)).faults) == len(topic_specs(settings, partitions=1, replication=1))
    reader, producer = clients.build_reader(settings), clients.build_event_producer(settings)
    try:
        for client in (reader, producer):
            await client.start()
        assert await clients.partitions_of(reader, f"{prefix}.results") == []
        with pytest.raises(KafkaError):
            await producer.send_and_wait(f"{prefix}.events", b"x")
    finally:
        await asyncio.gather(*(aiokafka_stop.stop_client(client, 5.0) for client in (reader, producer)))
    assert await topics_of(own_kafka) == before
    applied = await apply_topics(settings, partitions=2, replication=1, ask_broker=True)
    assert not applied.report.faults, "the broker's defaults would not do"
    assert await topics_of(own_kafka) - before == set(applied.created)
    assert applied.report.lifetimes
    assert applied.report == await check_topics(settings, ask_broker=True), "one judgement"


async def test_asking_for_rights_fences_nobody(kafka: LocalKafka) -> None:
    """Nor any lane: the id that is tried is one that a producer works under here, with a transaction that is open."""
    async with topic_of(kafka) as (settings, name):
        writer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{settings.kafka.group}-rights")
        await writer.start()
        try:
            async with writer.transaction():
                await writer.send_and_wait(name, b"1")
                await check_rights(settings)
                await writer.send_and_wait(name, b"2")
        finally:
            await writer.stop()


async def test_what_a_fenced_writer_of_a_lane_leaves_behind_is_looked_at(kafka: LocalKafka) -> None:
    """aiokafka gives the error to the future of the transaction's end as well, for which nobody waits who has not come so far."""
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
    async with topic_of(kafka) as (settings, name):
        former, heir = (LaneWriter(settings, TopicPartition(name, 0), topic_names(settings)) for _ in range(2))
        try:
            await former.start(lambda _: None)
            await heir.start(lambda _: None)
            with pytest.raises(ProducerFencedError):
                await former.commit((), 0, "gap map")
        finally:
            await former.stop(5.0)
            await heir.stop(5.0)
        del former, heir
        gc.collect()  # an error that nobody has looked at is reported when its future is gone
        await asyncio.sleep(0)
        assert reported == []
